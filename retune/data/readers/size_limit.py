"""How large a file may be that is read whole: what it unpacks to has to fit into memory, several times.

A file of some kilobytes can unpack to terabytes, by accident or on purpose. Whoever unpacks counts, and stops here.
"""

from dataclasses import dataclass
from pathlib import Path

from retune.errors import Refused
from retune.system import free_memory

MOST_TIMES = 300  # the size of the file, to which records unpack at most; tables of a few words reach a tenth of it
HARMLESS = 256 << 20  # bytes, up to which nobody minds
COPIES = 2  # of its bytes at least, that a table needs in memory


@dataclass(frozen=True)
class SizeLimit:
    path: Path
    packed: int  # bytes of the file
    free: int  # bytes of memory

    @classmethod
    def of(cls, path: Path) -> "SizeLimit":
        return cls(path, path.stat().st_size, free_memory.of_machine().free)

    def check(self, unpacked: int, cause: str = "it unpacks to") -> None:
        """Raises Refused for this many bytes, or more."""
        if unpacked <= HARMLESS:
            return
        if unpacked > MOST_TIMES * self.packed:
            raise Refused(
                f"{self.path} is no table: {cause} more than {MOST_TIMES} times its {self.packed:,} bytes. "
                "Look at what it holds, and export the records again"
            )
        if unpacked * COPIES > self.free:
            raise Refused(
                f"{self.path} does not fit into memory: {cause} {_gib(unpacked)} or more, which needs "
                f"{_gib(unpacked * COPIES)}, and {_gib(self.free)} are free. Ingest it in parts, or on a larger machine"
            )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
