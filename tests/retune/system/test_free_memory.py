"""How much memory a process may use."""

import pytest

from retune.system import free_memory

GIB = 2**30


def tree(root, groups, cgroup, available=10 * GIB):
    """A machine of files: what is available, and control groups with what they hold."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {available // 1024} kB\nHugePages_Total: 0\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    for group, files in groups.items():
        (root / "sys/fs/cgroup" / group).mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (root / "sys/fs/cgroup" / group / f"memory.{name}").write_text(f"{value}\n")
    return root


def second(limit, used, files=0):
    return {"max": limit, "current": used, "stat": f"anon 5\ninactive_file {files}\nactive_file 0"}


def first(limit, used, files=0):
    stat = f"cache 7\ninactive_file 0\ntotal_inactive_file {files}\ntotal_active_file 0"
    return {"limit_in_bytes": limit, "usage_in_bytes": used, "stat": stat}


def test_without_a_limit_it_is_what_the_machine_has_available(tmp_path):
    groups = {"a": second("max", GIB), "memory/b": first(2**63 - 4096, GIB)}
    available = free_memory.of_machine(tree(tmp_path, groups, "4:memory:/b\n0::/a\n"))
    assert (available.free, available.where) == (10 * GIB, "in the memory of this machine")


@pytest.mark.parametrize(
    ("groups", "cgroup"),
    [
        ({"a/b": second(5 * GIB, 3 * GIB, GIB)}, "0::/a/b\n"),
        ({"a/b": second("max", 0), "a": second(5 * GIB, 3 * GIB, GIB)}, "0::/a/b\n"),
        ({"memory/a/b": first(5 * GIB, 3 * GIB, GIB)}, "7:cpu,cpuacct:/x\n4:memory:/a/b\n0::/\n"),
        ({"memory": first(5 * GIB, 3 * GIB, GIB)}, "4:memory:/docker/of-the-host\n"),
        ({".": second(5 * GIB, 3 * GIB, GIB)}, "0::/\n"),
    ],
    ids=["version 2", "a group above", "version 1", "version 1 in a container", "version 2 in a container"],
)
def test_the_limit_of_a_control_group_counts_less_what_it_holds_that_is_no_cache(tmp_path, groups, cgroup):
    available = free_memory.of_machine(tree(tmp_path, groups, cgroup))
    assert available.free == 3 * GIB
    assert available.where.startswith("under the limit of the control group")


def test_this_machine_has_some_memory():
    assert 0 < free_memory.of_machine().free < 2**50
