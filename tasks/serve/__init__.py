"""`retune serve`: registered versions answer over HTTP."""
