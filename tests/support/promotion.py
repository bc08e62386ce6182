"""What tests of promotion share: gate facts, checks, acts in processes of their own."""

import os
import subprocess
import sys
from dataclasses import replace

from retune.config import params
from retune.lineage import history
from retune.registry import versions
from tests.support.environment import ROOT

SHIPPED = params.load(ROOT / "params.yaml").promote
ASKED = replace(SHIPPED, approval=True)
REASONS = ("beats the base", "beats the champion")
FINE = {"Checked": "64 test rows, confidence off by 0 at most"}


def gate_facts(decision="champion", champion=None):
    """As much of a record as the gate needs."""
    return {"gate": {"decision": decision, "champion": champion, "rivals": [{"reason": reason} for reason in REASONS]}}


def check(version):
    versions.checked_folder(version)
    return FINE


def again(version):
    return versions.find(version.name, version=version.version)


def crowned(version):
    return [entry.version for entry in history.read(version.name).entries if entry.event == history.CHAMPION]


def interrupted(*_):
    raise KeyboardInterrupt


def events_of(version):
    return [entry.event for entry in history.read(version.name).entries if entry.version == version.version]


ACT = """
import os, pathlib, sys
from retune.config import params
from retune.lineage import history, record
from retune.registry import versions
from tasks.promote import approval, gate_decision, manual
act, name, number, root = sys.argv[1:]
version = versions.find(name, version=int(number))
registered_record = record.read(versions.version_folder(version) / record.FILE)
check = lambda version: {"Checked": "fine"}
writing = history.writing


def looked():
    if "LOOKED" in os.environ:
        pathlib.Path(os.environ["LOOKED"]).touch()
    return writing()


history.writing = looked
{
    "promote": lambda: gate_decision.promote(version, registered_record, params.load(pathlib.Path(root)).promote),
    "by hand": lambda: manual.promote_manually(version, "by hand", check),
    "rollback": lambda: manual.roll_back(name, int(number), "back", check),
    "approve": lambda: approval.approve(approval.read_evidence(version, None), "yes", check),
    "reject": lambda: approval.reject(approval.read_evidence(version, None), "no"),
}[act]()
"""


def begin(act, version, **env):
    """One of the acts above in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", ACT, act, version.name, str(version.version), str(ROOT / "params.yaml")],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stderr=subprocess.PIPE,
        text=True,
    )


def agree(name):
    """The history is whole, and registry, aliases and tags say what it says."""
    chain = history.read(name)
    assert all(link.ok for link in history.check(chain, versions.heads()[name]))
    for version in versions.versions(name):
        assert list(version.aliases) == chain.aliases(version.version)
    return chain
