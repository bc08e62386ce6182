"""Personal and secret data in texts: where it stands, and texts without it. `detection.find`, `redaction.redact`."""
