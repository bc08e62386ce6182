"""What is refused before a cluster starts. On a cluster it was tried by hand: it takes a minute to start."""

import sys

import pytest

from retune.errors import Broken, WrongUse
from tasks.serve import ray_deployment


def test_another_host_needs_keys_before_anything_starts(sqlite_registry):
    with pytest.raises(WrongUse, match="no API key"):
        ray_deployment.serve(["desk@champion"], "0.0.0.0", 8000, None, 2, print)


def test_a_missing_ray_serve_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Broken, match="pip install"):
        ray_deployment._connected()
