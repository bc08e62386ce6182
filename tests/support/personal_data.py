"""Settings of `curate.pii`, and what is recognised with them."""

from retune.config.personal_data import Pii
from retune.data.pii import spans
from retune.data.pii.detection import find

PII = Pii(
    **dict.fromkeys(spans.TYPES, "redact"),
    keep=[],
    phone_regions=["US", "GB", "DE", "FR", "ES", "IT", "NL", "PL", "BR", "IN"],
    secret_env=None,
    names_model=None,
)


def values(text, config=PII):
    return [(span.type, span.value) for span in find(text, config)]
