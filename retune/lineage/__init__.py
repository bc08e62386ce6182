"""What made a version: its record, its history, checksums and signatures.

`retune.lineage("classifier@champion")` is part of the public interface, and this package has that name: so the module
can be called.
"""

import sys
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    def __call__(self, reference: str) -> Any:
        """The record of a registered version, from its verified files."""
        import retune

        return retune.record_of(reference)


sys.modules[__name__].__class__ = _CallableModule
