"""Retune for data scientists: registered versions, their predictions and their lineage.

    import retune

    retune.load("classifier@champion").predict(["Where is my parcel?"])   # text, label, confidence, route
    retune.versions("classifier")                                         # newest first
    retune.lineage("classifier@champion")["data"]                         # the record of what made it

Works in a clone and its subfolders; elsewhere MLFLOW_TRACKING_URI names the registry. A reference is NAME@ALIAS or
NAME/VERSION. Every call verifies what it reads: files that differ from what was registered are refused.

Importing this takes milliseconds: each function imports what it needs. `retune.lineage` is also the package of that
name, which can be called (see its `__init__`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import pandas as pd

    from retune.lineage.record import Record
    from retune.models.routing import Routing
    from retune.registry.versions import Version

__all__ = ["Model", "lineage", "load", "versions"]


class Model:
    """A registered version, loaded: `predict` answers texts."""

    def __init__(self, version: Version, network: Any, routing: Routing) -> None:
        self.version, self._network, self._routing = version, network, routing

    def __repr__(self) -> str:
        return f"Model({str(self.version)!r})"

    def predict(self, texts: Sequence[str], batch_size: int = 32) -> pd.DataFrame:
        """One row a text, in the order of the texts: `text`, `label`, `confidence` (0 to 1) and `route`: `auto`,
        or `human` where the version does not promise that the answer may go out unread.

        Of a generative model the text is a prompt, plain or as JSON messages, and `label` is the answer.
        Raises WrongUse for a single string instead of a sequence of them.
        """
        import pandas as pd

        from retune.errors import WrongUse

        if isinstance(texts, str):
            raise WrongUse(f"predict takes a list of texts, not one text: predict([{texts[:40]!r}])")
        answers = self._network.predict(list(texts), batch_size)
        routes = self._routing.routes(answers.labels, answers.confidence)
        columns = {"label": answers.labels, "confidence": answers.confidence, "route": routes}
        return pd.DataFrame({"text": list(texts), **columns})


def load(reference: str, device: str = "auto") -> Model:
    """Load a registered version, after its files and its base were verified.

    device: cpu, cuda or auto. Raises WrongUse for a malformed reference, Refused for a version that is missing or
    whose files differ from what was registered, Broken where the registry does not answer.
    """
    from retune.models import loading, routing
    from retune.registry import versions as registered

    version = registered.resolve(reference)
    folder = registered.model_folder(version)
    return Model(version, loading.load(folder, device), routing.read(folder))


def versions(name: str | None = None) -> list[Version]:
    """Every registered version, of one model or of all, newest first. Raises Broken where the registry is away."""
    from retune.registry import versions as registered

    return registered.versions(name)


def record_of(reference: str) -> Record:
    """What made a version, from its verified files: `retune.lineage(reference)`. Raises as `load`."""
    from retune.lineage import record
    from retune.registry import versions as registered

    return record.read(registered.checked_folder(registered.resolve(reference)) / record.FILE)


if TYPE_CHECKING:
    lineage = record_of
else:

    def __getattr__(name: str) -> Any:
        """`retune.lineage` is there without an import of its own."""
        if name == "lineage":
            import retune.lineage

            return retune.lineage
        raise AttributeError(f"module 'retune' has no attribute {name!r}")
