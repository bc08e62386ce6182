"""How much memory this process may use: what the machine has, at most what its control groups leave."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True)
class AvailableMemory:
    free: int  # bytes
    where: str
    gpus: int = 0


def of_machine(root: Path = ROOT) -> AvailableMemory:
    """The available memory, at most what the control groups of this process leave. Swap does not count."""
    return min(_available(root), *_of_groups(root), key=lambda memory: memory.free)


def _available(root: Path) -> AvailableMemory:
    if (meminfo := root / "proc/meminfo").exists():
        lines = dict(line.split(":") for line in meminfo.read_text("ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    else:
        import psutil

        free = int(psutil.virtual_memory().available)
    return AvailableMemory(free, "in the memory of this machine")


def _of_groups(root: Path) -> Iterator[AvailableMemory]:
    """The limits of every control group above this process, version 1 and 2.

    In a container the own group is the root of the tree, even if /proc names another path.
    """
    groups = root / "proc/self/cgroup"
    for line in groups.read_text("utf-8").splitlines() if groups.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        tree = root / "sys/fs/cgroup" / controllers
        innermost = tree / path.lstrip("/")
        for group in [innermost, *innermost.parents]:
            if group.is_relative_to(tree):
                yield from _remaining(group, "max current" if not controllers else "limit_in_bytes usage_in_bytes")


def _remaining(group: Path, names: str) -> Iterator[AvailableMemory]:
    """What the limit of a group leaves. Cached files count as free, since the kernel frees them on demand."""
    try:
        limit, used = ((group / f"memory.{name}").read_text("ascii").strip() for name in names.split())
        lines = (line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
        cached = {name.removeprefix("total_"): int(value) for name, value in lines}
    except OSError:
        return
    if limit != "max":
        files = cached.get("inactive_file", 0) + cached.get("active_file", 0)
        yield AvailableMemory(int(limit) - int(used) + files, f"under the limit of the control group {group}")
