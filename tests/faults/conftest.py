"""A road that can be begun at several places, killed anywhere, gone again, and looked at afterwards.

A run of the sample's slice takes half a minute. So the folder is kept as it was before each phase, and a test of a
point in `register` begins behind the stages. Everything stands in one folder, whose absolute path the registry knows:
a place is entered by copying it back there. `retune run` goes a `Road`, `retune retrain` a `Retraining`.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

QUEUES = ["billing", "delivery", "sign_in", "refunds"]
INGEST = ["ingest", "slice.csv", "--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id"]
INGEST += ["--licence", "CC0-1.0"]
SMALL = {
    "train.method": "probe",
    "train.max_tokens": 32,
    "validate.max_truncated_share": 1.0,
    "train.probe.c": 10.0,
    "train.batch_size": 16,
    "train.refit": False,
    "evaluate.bootstrap": 100,
    "promote.bootstrap": 200,
    "promote.confidence": 0.6,
    "promote.latency_ratio": 100.0,
    "promote.calibration_error_rise": 1.0,  # a champion that guesses among four queues is well calibrated, and knows it
    "register.reload_rows": 8,
}
FIRST = {**SMALL, "train.max_tokens": 8, "train.probe.c": 0.3, "promote.confidence": 0.51}  # a weak champion


def words(settings):
    return ["run", *(word for key, value in settings.items() for word in ("-S", f"{key}={value}"))]


RUN = words(SMALL)
# Where a road may begin, in its order: what a command there does from then on.
COMMANDS = {"empty": INGEST, "ingested": RUN, "split": RUN, "trained": RUN, "scored": RUN}
RETRAIN = {"delivered": ["retrain", "--json"]}
NOT_THE_SAME_TWICE = {  # by their nature: they hold seconds, dates or the random ids of their tool
    "models/reports/train.json",
    "models/reports/data_docs",
    "models/reports/report.html",
    "models/reports/evaluate.json",
}
LOOK = """
import json, sys
from tasks.trace import verify
from retune.lineage import history
from retune.registry import backend, versions
versions = versions.versions("classifier")
runs = backend.client().search_runs([backend.client().get_experiment_by_name("classifier").experiment_id])
champion = versions.champion("classifier")
links = [*verify.model(champion).links, *verify.chain("classifier")]
print(json.dumps({
    "versions": sorted(map(str, versions)),
    "fingerprints": {str(version): version.tags.get("fingerprint") for version in versions},
    "decisions": {str(version): version.tags.get("decision") for version in versions},
    "aliases": {alias: str(version) for version in versions for alias in version.aliases},
    "history": {str(v): history.read("classifier").aliases(v.version) for v in versions},
    "events": [f"{entry.event} {entry.version}" for entry in history.read("classifier").entries
               if entry.event in ("registered", "champion")],
    "broken": [f"{link.name}: {link.expected} != {link.found}" for link in links if not link.ok],
    "statuses": sorted(run.info.status for run in runs),
    "metrics": {str(version): sorted(versions.metrics(version)) for version in versions},
    "told": sorted({entry.facts["About"] for entry in history.read("classifier").entries if "About" in entry.facts}),
}))
"""


@dataclass
class StagedRun:
    """One clone, and what it looked like at each place of the road."""

    clone: object
    snapshots: Path
    seconds: dict[str, float] = field(default_factory=dict)  # of the command at a place
    bits: dict[str, str] = field(default_factory=dict)  # path -> md5 after an undisturbed road
    undisturbed_state: dict = field(default_factory=dict)  # what `look` told after it
    rows: list[str] = field(default_factory=list)  # the ids of all that came in
    commands = COMMANDS

    @property
    def folder(self):
        return self.clone.folder

    def undisturbed(self):
        """Remember what a road comes to that nobody has killed."""
        self.bits, self.undisturbed_state, self.rows = self.hashes(), self.look(), self.ids()
        assert (
            self.undisturbed_state["aliases"] == {"champion": "classifier/2"} and not self.undisturbed_state["broken"]
        )

    def keep(self, place):
        subprocess.run(["cp", "-a", str(self.folder), str(self.snapshots / place)], check=True)

    def begin(self, place):
        shutil.rmtree(self.folder)
        subprocess.run(["cp", "-a", str(self.snapshots / place), str(self.folder)], check=True)

    def go(self, arguments, **env):
        """The command to its end."""
        self.clone.env |= env
        try:
            return self.clone.retune(*arguments, timeout=300)
        finally:
            for name in env:
                del self.clone.env[name]

    def lasts(self, place):
        """How long the command of a place takes, undisturbed; measured once."""
        if place not in self.seconds:
            self.begin(place)
            began = time.monotonic()
            assert self.go(self.commands[place]).returncode == 0
            self.seconds[place] = time.monotonic() - began
        return self.seconds[place]

    def kill_after(self, arguments, seconds):
        """kill -9 of the command alone, that many seconds after it began. Whether it was still at work."""
        process = self.clone.start(*arguments)
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.stdout.close()
        return process.wait() == -signal.SIGKILL

    def left_alive(self, seconds=4):
        """What is still there after so many seconds: processes of this folder, and GPU memory of dead ones."""
        until = time.monotonic() + seconds
        while (leftovers := family(self.folder) + held_by_the_dead()) and time.monotonic() < until:
            time.sleep(0.1)
        return leftovers

    def look(self):
        process = self.clone.python("-c", LOOK)
        assert process.returncode == 0, process.stdout + process.stderr
        return json.loads(process.stdout.splitlines()[-1])

    def hashes(self):
        """path -> md5 of what the stages made, as DVC has it, and of the rows that came in."""
        stages = yaml.safe_load(self.file_text("dvc.lock"))["stages"]
        md5s = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
        return {path: md5 for path, md5 in md5s.items() if path not in NOT_THE_SAME_TWICE} | self.raw()

    def raw(self):
        return {"data/raw": yaml.safe_load(self.file_text("data/raw.dvc"))["outs"][0]["md5"]}

    def file_text(self, path):
        """The text of a file that DVC writes, as the last command left it."""
        return (self.folder / path).read_text("utf-8")

    def ids(self):
        """Those of all rows that came in, as often as they came."""
        parts = (self.folder / "data/raw").glob("*.parquet")
        return sorted(row for part in parts for row in pd.read_parquet(part, columns=["id"])["id"])

    def untidy(self):
        """What DVC finds changed where the command worked; nothing."""
        return json.loads(self.clone.dvc("status", "--json").stdout)

    def torn(self):
        """Files that cannot be read to their end, and those that were left under another name."""
        torn_files = [str(path) for path in self.folder.glob(".*.tmp")]
        for path in [*(self.folder / "data").rglob("*"), *(self.folder / "models").rglob("*")]:
            try:
                if path.name.startswith(".") and path.suffix == ".tmp":
                    torn_files.append(str(path))
                elif path.suffix == ".json":
                    json.loads(path.read_text("utf-8"))
                elif path.suffix == ".parquet":
                    pd.read_parquet(path)
            except ValueError as error:
                torn_files.append(f"{path}: {error}")
        return torn_files

    def wrong(self):
        """What does not hold after a road was killed and gone again: the same as of an undisturbed one must."""
        state = self.look()
        faults = [f"{process} is still there" for process in self.left_alive()]
        faults += [*state["broken"], *(f"torn: {path}" for path in self.torn())]
        same = ["versions", "aliases", "history", "events", "decisions", "metrics", "told"]
        expected = {
            **{name: (state[name], self.undisturbed_state[name]) for name in same},
            "ids": (self.ids(), self.rows),
            "one version a fingerprint": (len(set(state["fingerprints"].values())), len(state["fingerprints"])),
            "open runs": ([status for status in state["statuses"] if status == "RUNNING"], []),
            "bits": (self.hashes(), self.bits),
            "untidy": (self.untidy(), {}),
        }
        return faults + [f"{name}: {one} instead of {other}" for name, (one, other) in expected.items() if one != other]

    def champion(self):
        """The version that answers to `champion` now; asked of the file, since whoever would ask has just died."""
        with closing(sqlite3.connect(self.folder / ".retune/mlflow.db")) as database:
            rows = database.execute("select version from registered_model_aliases where alias = 'champion'")
            return [version for (version,) in rows]


@dataclass
class StagedRetraining(StagedRun):
    """Its stages run in a folder of their own, so what they made is in what git keeps of a version; the checkout, whose
    source lies beside it, stays as it was."""

    retraining_clone: object = None
    commands = RETRAIN

    def file_text(self, path):
        if path == "data/raw.dvc":
            return self.clone.git("show", f"retune/intake:{path}")
        registrations = [
            entry for entry in self.retraining_clone.query("history", "classifier") if entry["event"] == "registered"
        ]
        return self.clone.git("show", f"{registrations[-1]['commit']}:{path}")

    def ids(self):
        return sorted(self.retraining_clone.row_ids())

    def untidy(self):
        """Files of the checkout that changed, and folders that are left once those of killed runs are swept."""
        self.retraining_clone.query("clean", "--days", "0")
        leftovers = {
            "checkout": self.clone.git("status", "--porcelain"),
            "worktrees": self.clone.git("worktree", "list"),
        }
        leftovers["runs"] = [path.name for path in (self.folder / ".retune/runs").iterdir() if path.is_dir()]
        leftovers["worktrees"] = leftovers["worktrees"].splitlines()[1:]
        return {name: value for name, value in leftovers.items() if value}


def family(folder):
    """Processes that run in the folder, or with its code."""
    folder_bytes, processes = str(folder).encode(), []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            where = f"PYTHONPATH={folder}".encode()
            environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            if where in environ or (process.cwd() + "/").encode().startswith(folder_bytes + b"/"):
                processes.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
        except (psutil.Error, OSError):
            continue
    return processes


def held_by_the_dead():
    """GPU memory that the driver still counts for a process that has ended."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [f"{line} on the GPU" for line in output.splitlines() if not psutil.pid_exists(int(line.split(",")[0]))]


def tickets(clone, first, last):
    """Those of the sample's tickets that come at these places in their queue, of four queues."""
    table = pd.read_csv(clone.folder / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    queues = table[table["queue"].isin(QUEUES)].groupby("queue")
    return table.loc[queues.head(last).index.difference(queues.head(first).index)]


@pytest.fixture(scope="session")
def staged_run(new_clone, prefect_url, tmp_path_factory):
    base = tmp_path_factory.mktemp("road")
    clone = new_clone(base / "clone", PREFECT_API_URL=prefect_url)
    staged = StagedRun(clone, base / "kept")
    staged.snapshots.mkdir()
    tickets(clone, 0, 65).to_csv(clone.folder / "slice.csv", index=False)
    clone.python("-m", "dvc", "remote", "add", "--default", "store", ".retune/remote")
    clone.git("commit", "-qam", "a remote")
    staged.keep("empty")
    assert staged.go(INGEST).returncode == 0
    first = staged.go(words(FIRST))
    assert first.returncode == 0, first.stdout + first.stderr
    staged.keep("ingested")
    done = staged.go(RUN)
    assert "Registered classifier/2: champion." in done.stdout, done.stdout + done.stderr
    staged.undisturbed()
    staged.begin("ingested")
    settings = [f"{key}={value}" for key, value in SMALL.items()]
    process = clone.python("-c", f"from flows.project import params_editor; params_editor.write({settings!r})")
    assert process.returncode == 0, process.stderr
    for place, stage in (("split", "split"), ("trained", "train"), ("scored", "evaluate")):
        made_so_far = clone.dvc("repro", stage)
        assert made_so_far.returncode == 0, made_so_far.stdout + made_so_far.stderr
        staged.keep(place)
    return staged


@pytest.fixture(scope="session")
def staged_retraining(new_clone, prefect_url, make_retraining_clone, tmp_path_factory):
    base = tmp_path_factory.mktemp("retraining")
    clone = new_clone(base / "clone", PREFECT_API_URL=prefect_url)
    (base / "kept").mkdir()
    (base / "inbox").mkdir()
    clone.python("-m", "dvc", "remote", "add", "--default", "store", ".retune/remote")
    staged = StagedRetraining(
        clone, base / "kept", retraining_clone=make_retraining_clone(clone, base / "inbox", QUEUES, **FIRST)
    )
    staged.retraining_clone.deliver("first.csv", tickets(clone, 0, 65))
    assert staged.retraining_clone.retrain_report()["outcome"] == "promoted"
    settings = [f"{key}={value}" for key, value in SMALL.items()]
    assert (
        clone.python("-c", f"from flows.project import params_editor; params_editor.write({settings!r})").returncode
        == 0
    )
    clone.git("commit", "-qam", "a better model")
    staged.retraining_clone.deliver("then.csv", tickets(clone, 65, 80))
    staged.keep("delivered")
    assert staged.retraining_clone.retrain_report()["outcome"] == "promoted"
    staged.undisturbed()
    return staged
