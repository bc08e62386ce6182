"""What several tests need: a scratch clone of this repository, and one real Prefect server a session."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from filelock import FileLock

pytest_plugins = ("tests.support.small_models",)

ROOT = Path(__file__).resolve().parent.parent
MADE_HERE = ("dvc.lock", "data/", "models/")  # by a run in this very clone; a fresh one has none of it
SHIPPED = (".gitignore", "data/suppressed.json", "models/start.json")  # below those folders, and in every clone
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
}

if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():  # as flows/home.py does, before torch reads it
    os.environ["GOMP_SPINCOUNT"] = "1000"


def pytest_addoption(parser):
    parser.addoption("--moments", type=int, default=5, help="how many random moments to kill at (tests/faults)")
    parser.addoption("--seed", type=int, default=None, help="of those moments; printed when it is chosen")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What is long is slow too: `pytest -m slow` is all that `pytest` leaves out."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


TESTER = ("-c", "user.name=A. Tester", "-c", "user.email=tester@example.com")  # a fresh machine has no identity
A_PERSON = {"GIT_AUTHOR_NAME": "A. Tester", "GIT_AUTHOR_EMAIL": "tester@example.com"}
OF_A_PERSON = ("promote", "rollback", "approve", "reject", "forget")  # all else works where nobody has said who he is


@dataclass
class Clone:
    """A clone in a scratch folder, and the `retune` command of its own code in a process of its own."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def retune(self, *arguments, said=None, timeout=120, cwd=None):
        return self.python("-m", "flows.cli", *arguments, said=said, timeout=timeout, cwd=cwd, **self.by(arguments))

    def python(self, *arguments, said=None, timeout=300, cwd=None, **env):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd or self.folder,
            env={**env, **self.environment()},
            input=said,
            stdin=None if said is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            cwd=self.folder,
            env={**self.by(arguments), **self.environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def dvc(self, *arguments, timeout=300):
        return self.python("-m", "dvc", *arguments, timeout=timeout)

    def git(self, *arguments):
        done = subprocess.run(["git", *TESTER, *arguments], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def by(self, arguments):
        return A_PERSON if arguments and arguments[0] in OF_A_PERSON else {}

    def environment(self):
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "MLFLOW_", "PYTHONPATH", "DVC_"))
        }
        beside_python = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        return {**inherited, **QUIET, "PATH": beside_python, "PYTHONPATH": str(self.folder), **self.env}


def clone_to(folder, **env):
    """A fresh clone of the working tree, edits that are not committed yet included, with one commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        made_here = name.startswith(MADE_HERE) and not name.endswith(SHIPPED)
        if (ROOT / name).is_file() and not made_here:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    clone = Clone(folder, env)
    commit(clone)
    return clone


def commit(clone):
    clone.git("init", "-q", "-b", "main")
    clone.git("add", "-A")
    clone.git("commit", "-q", "-m", "start")


@dataclass
class Desk:
    """A clone that retrains, and the folder into which its source puts files."""

    clone: Clone
    inbox: Path
    rows: pd.DataFrame

    def deliver(self, name, rows):
        rows.to_csv(self.inbox / name, index=False)

    def retrain(self, *words, timeout=600, **env):
        began = time.monotonic()
        done = subprocess.run(
            [*self.command, "retrain", *words, "--json"],
            cwd=self.clone.folder,
            env={**self.clone.environment(), **env},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        print(
            f"retrain {' '.join(words)}: {done.returncode} in {time.monotonic() - began:.1f} s\n{done.stderr[-3000:]}"
        )
        return done

    def told(self, *words, code=0, **env):
        done = self.retrain(*words, **env)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def ask(self, *words, code=0):
        done = self.clone.retune(*words, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    @property
    def command(self):
        return [sys.executable, "-m", "flows.cli"]

    def decisions(self):
        return [
            entry["facts"]["Decision"] for entry in self.ask("history", "classifier") if entry["event"] == "decided"
        ]

    def as_it_was(self):
        """The user's checkout: branch, index, files."""
        return self.clone.git("status", "--porcelain"), self.clone.git("rev-parse", "HEAD")

    def is_whole(self):
        """What holds whatever has happened: one version a fingerprint, a champion that verifies, one whole history."""
        versions = self.ask("models")
        prints = [each["fingerprint"] for each in versions]
        assert len(prints) == len(set(prints)), "one version a fingerprint"
        assert self.ask("history", "--verify")["ok"]
        assert self.ask("verify", "classifier@champion")["ok"]
        return versions

    def ids(self):
        """The ids of all rows that have come in, those set aside left out."""
        pointer = yaml.safe_load(self.clone.git("show", "retune/intake:data/raw.dvc"))["outs"][0]["md5"]
        listed = json.loads(self.kept(pointer).read_text("utf-8"))
        parts = [self.kept(each["md5"]) for each in listed if each["relpath"].endswith(".parquet")]
        return pd.concat([pd.read_parquet(part, columns=["id"])["id"] for part in parts])

    def kept(self, md5):
        """What the DVC cache keeps under a hash."""
        return self.clone.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]

    def no_folder_is_left(self):
        assert len(self.clone.git("worktree", "list").splitlines()) == 1
        runs = self.clone.folder / ".retune/runs"
        assert [path for path in runs.iterdir() if path.is_dir()] == []

    def nothing_is_left(self):
        self.no_folder_is_left()
        mine = str(self.clone.folder)
        for process in Path("/proc").glob("[0-9]*/cwd"):
            try:
                assert not str(process.readlink()).startswith(mine), process
            except OSError:
                continue


SMALL = {
    "train.method": "probe",
    "train.max_tokens": 32,
    "evaluate.bootstrap": 100,
    "promote.bootstrap": 200,
    "promote.confidence": 0.6,
    "register.reload_rows": 8,
}
DESK = {
    "promote.latency_ratio": 100.0,  # a busy machine must not decide a story
    "trigger.new_rows": 40,
    "fetch.settle_seconds": 0.0,
}
COLUMNS = {"text": "body", "label": "queue", "id": "ticket_id", "group": "customer_id", "split": None}


@pytest.fixture(scope="session")
def small():
    """Parameters with which a run takes seconds, and its gate lets pass what is better by a little."""
    return SMALL


@pytest.fixture(scope="session")
def desk_at():
    """Makes a clone into one that retrains on a slice of the sample; further settings by their dotted names."""

    def make(clone, inbox, queues=("billing", "delivery", "sign_in", "refunds"), **more):
        values = yaml.safe_load((clone.folder / "params.yaml").read_text("utf-8"))
        for key, value in {**SMALL, **DESK, **more}.items():
            *parents, name = key.split(".")
            section = values
            for parent in parents:
                section = section[parent]
            section[name] = value
        source = {"kind": "files", "name": "desk", "path": str(inbox), "columns": COLUMNS}
        values["fetch"]["sources"] = [{**source, "licence": "Apache-2.0", "collected": None}]
        (clone.folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")
        clone.git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qam", "params")
        rows = pd.read_csv(clone.folder / "tests/samples/tickets.csv", dtype=str, keep_default_na=False)
        rows = rows[rows["queue"].isin(queues) & (rows["body"].str.len() > 20)].drop_duplicates("body")
        return Desk(clone, inbox, rows.reset_index(drop=True))

    return make


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address, process, seconds=120):
    """Wait until `address` answers 200; fail if the process that should answer has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"{address} did not answer within {seconds} s")


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Fills a folder once a session, for all workers: the first that asks does it, the others wait for it.

    Who is given a folder leaves it as it is.
    """
    own = tmp_path_factory.getbasetemp()
    common = own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own

    def make(name, fill):
        folder = common / name
        with FileLock(common / f"{name}.lock"):
            if not (common / f"{name}.full").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                (common / f"{name}.full").touch()
        return folder

    return make


@pytest.fixture(scope="session")
def prefect_url(once):
    """A real Prefect server for the whole session, and for all its workers. `pytest_sessionfinish` stops it."""
    return json.loads((once("prefect", start_prefect) / "server.json").read_text("utf-8"))["url"]


def start_prefect(home):
    port = free_port()
    env = {**os.environ, **QUIET, "PREFECT_HOME": str(home)}
    env.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    server = {"url": f"http://127.0.0.1:{port}/api", "pid": process.pid}
    (home / "server.json").write_text(json.dumps(server), "utf-8")
    wait_for(f"http://127.0.0.1:{port}/api/health", process)


def pytest_sessionfinish(session):
    """Last of all, and where no worker is left, so the server may go."""
    factory = session.config._tmp_path_factory
    if hasattr(session.config, "workerinput") or not factory._basetemp:
        return
    for path in factory.getbasetemp().glob("prefect/server.json"):
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(json.loads(path.read_text("utf-8"))["pid"])
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="session")
def new_clone():
    """Makes a fresh clone in a folder; further arguments are its environment."""
    return clone_to


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A fresh clone, for tests that leave it as they found it."""
    return clone_to(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def own_clone(tmp_path):
    """A fresh clone for one test."""
    return clone_to(tmp_path)


@pytest.fixture(scope="session")
def make_writer():
    return write_writer


def write_writer(folder, texts):
    """A base that writes: a Llama of two layers with random weights, and a byte-level tokenizer trained on `texts`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    own = Tokenizer(models.BPE())
    own.pre_tokenizer, own.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    own.train_from_iterator(texts, trainer)
    words = PreTrainedTokenizerFast(tokenizer_object=own, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    words.save_pretrained(folder)
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def mailbox():
    with open_mailbox() as opened:
        yield opened


@pytest.fixture(scope="module")
def mailbox_of_all():
    """One for all tests of a module."""
    with open_mailbox() as opened:
        yield opened


@contextmanager
def open_mailbox():
    """The port of a server that takes notifications, and what it took: slowly below /slow/, nothing below /no/."""
    taken = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "/slow/" in self.path:
                time.sleep(3)
            if "/no/" not in self.path:
                taken.append(said)
            self.send_response(403 if "/no/" in self.path else 200)
            self.end_headers()

    opened = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    opened.daemon_threads = True
    threading.Thread(target=opened.serve_forever, args=(0.01,), daemon=True).start()
    yield opened.server_address[1], taken
    opened.shutdown()
    opened.server_close()


@pytest.fixture
def until_it_answers():
    return wait_for


@pytest.fixture(scope="session")
def register_tiny():
    """Registers, in the repository and registry of the current folder, a version that holds a record and no model.

    Its first entry stands in the history, in the future: each entry is a second after the one before, and nobody
    waits for one that is to come. Without `enter`, it is left to the caller to admit the version.
    """

    def make(name, decision="champion", champion=None, fingerprint=None, enter=True):
        from datetime import UTC, datetime

        from retune.lineage import checksums, history, record
        from retune.registry import reload_check, runs, versions
        from retune.system.files import file_sha256

        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        whole = json.loads((ROOT / "tests/support/record.json").read_text("utf-8"))
        gate = {**whole["gate"], "decision": decision, "champion": champion}
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "MLmodel").write_text("{}")
            record.write({**whole, "name": name, "gate": gate}, folder / record.FILE)
            evidence, seal = file_sha256(folder / record.FILE), checksums.write(folder)
            tags = {
                "fingerprint": fingerprint or folder.name,
                "evidence": evidence,
                "seal": seal,
                reload_check.RELOADED: "yes",
            }
            with runs.run(name, "run", {}) as run_id:
                if not enter:
                    data = {f"data.{part}": fingerprint for part in ("raw", "train", "val", "test")}
                    more = {"record.commit": commit, "signer": "unsigned", **data}
                    return versions.add_version(name, run_id, folder, {**tags, **more})
                made = versions.add_version(name, run_id, folder, tags)
        sides = {side.capitalize(): told["md5"] for side, told in whole["data"]["sides"].items()}
        facts = {"Record": commit, "Evidence": evidence, "Seal": seal, **sides}
        future = datetime(2060, 1, 1, tzinfo=UTC)
        history.append(name, made.version, history.REGISTERED, ["why"], facts, versions.anchor, future)
        versions.set_alias(made, versions.CHALLENGER)
        return versions.find(name, version=made.version)

    return make


@pytest.fixture(scope="session")
def make_repository(once):
    """Makes a folder a fresh git and DVC repository without a commit, as a copy: `dvc init` takes a second."""

    def init(folder):
        for command in (["git", "init", "-q", "-b", "main"], [sys.executable, "-m", "dvc", "init", "-q"]):
            subprocess.run(command, cwd=folder, env={**os.environ, **QUIET}, check=True)

    template = once("repository", init)
    return lambda folder: shutil.copytree(template, folder, dirs_exist_ok=True)


@dataclass(frozen=True)
class TinyPipeline:
    """A scratch DVC repository with two small stages in a row, for tests of the bridge and the plan."""

    folder: Path

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def run(self, *command):
        beside_python = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, env={**os.environ, **QUIET, "PATH": beside_python}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def git(self, *arguments):
        return self.run("git", *arguments)

    def dvc(self, *arguments):
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def everything(self):
        """name -> bytes of every file that is no tool's own."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not {".git", ".dvc"} & set(path.relative_to(self.folder).parts)
        }


@pytest.fixture(scope="session")
def ran_once(once):
    return TinyPipeline(once("tiny", run_tiny))


def run_tiny(folder):
    tiny = TinyPipeline(folder)
    tiny.write("params.yaml", "# two knobs and a list\ncook:\n  minutes: 3\n  salt: [a, b]\nserve:\n  plate: blue\n")
    tiny.write("cook.py", COOK)
    tiny.write("serve.py", SERVE)
    tiny.write("dvc.yaml", TWO_STAGES)
    tiny.write("data/raw/one.txt", "potato\n")
    tiny.write("data/.gitignore", "/raw\n")
    tiny.write("models/.gitignore", "/meal.txt\n")
    tiny.git("init", "-q", "-b", "main")
    tiny.git("config", "user.name", "A. Tester")
    tiny.git("config", "user.email", "tester@example.com")
    tiny.dvc("init", "-q")
    tiny.git("add", "-A")
    tiny.git("commit", "-q", "-m", "start")
    tiny.dvc("add", "-q", "data/raw")
    tiny.dvc("repro", "-q")


@pytest.fixture
def tiny(ran_once, tmp_path, monkeypatch):
    """A copy of the tiny pipeline whose stages have run once, entered. dvc.lock and raw.dvc are not in git yet."""
    folder = tmp_path / "tiny"
    shutil.copytree(ran_once.folder, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return TinyPipeline(folder)


TWO_STAGES = """\
stages:
  cook:
    cmd: python cook.py data/raw models/meal.txt
    deps: [data/raw, cook.py]
    params: [cook]
    outs: [models/meal.txt]
  serve:
    cmd: python serve.py models/meal.txt models/reports/serve.json
    deps: [models/meal.txt, serve.py]
    params: [serve]
    metrics:
      - models/reports/serve.json: {cache: false}
"""
COOK = """\
import pathlib, sys
print("peeled", flush=True)
print("progress step=1 of=2 heat=0.5", flush=True)
print("progress step=2 of=2 heat=0.25 salt=1e-05", flush=True)
print("cooked", file=sys.stderr, flush=True)
raw, meal = map(pathlib.Path, sys.argv[1:])
meal.write_text("".join(sorted(file.read_text() for file in raw.glob("*.txt"))).upper())
"""
SERVE = """\
import json, pathlib, sys
meal, report = map(pathlib.Path, sys.argv[1:])
report.parent.mkdir(parents=True, exist_ok=True)
report.write_text(json.dumps({"letters": len(meal.read_text())}))
"""


@pytest.fixture
def continued():
    """What a record says of a training that continued from tickets/6."""
    return {
        "from": "tickets/6",
        "seal": "6" * 64,
        "record_commit": "c6" * 20,
        "fingerprint": "f6" * 32,
        "model_md5": "a6" * 16 + ".dir",
        "train_md5": "b6" * 16,
        "val_md5": "d6" * 16,
        "refit": True,
        "new_rows": 1234,
        "corrected_rows": 56,
        "old_rows": 78,
        "gone_rows": 9,
        "new_labels": ["refunds"],
        "gone_labels": ["faxes"],
    }


@dataclass(frozen=True)
class Told:
    """What the lineage page of tickets/7 is made from."""

    record: dict
    links: list
    entries: list


@pytest.fixture
def told():
    """A record whose data, model and base were all recomputed, and a history in which version 7 follows version 6."""
    from retune.lineage.check import Check
    from retune.lineage.history import Entry

    record = json.loads((ROOT / "tests/support/record.json").read_text("utf-8"))
    hashes = {**record["pipeline"]["hashes"], **record["files"], **record["base"]["files"]}
    facts = {"Record": record["code"]["record_commit"], "Evidence": "e" * 64, "Seal": "5" * 64, "Signer": "9" * 64}
    steps = [
        (1, "tickets@v6.0.0#1", "registered", 6, "2026-10-02T08:00:00+00:00", ("data/raw is new",)),
        (2, "tickets#champion#2", "champion", 6, "2026-10-02T08:01:00+00:00", ("macro_f1 beats the base",)),
        (3, "tickets@v7.0.0#3", "registered", 7, "2026-11-24T10:15:20+00:00", tuple(record["started"]["why"])),
        (4, "tickets#champion#4", "champion", 7, "2026-11-24T10:16:01+00:00", ("macro_f1 beats the champion",)),
    ]
    chain = ["none", *(str(number) * 64 for number in (1, 2, 3))]
    entries = [
        Entry(
            number, tag, event, "tickets", version, at, "A. Tester <tester@example.com>", why,
            facts if version == 7 else {"Seal": "6" * 64}, before, str(number) * 64, facts["Record"],
        )
        for before, (number, tag, event, version, at, why) in zip(chain, steps, strict=True)
    ]  # fmt: skip
    return Told(record, [Check(name, digest, digest, True) for name, digest in hashes.items()], entries)


EVIL = (
    "</style><script>document.title='taken'</script>\"'><img src=https://example.com/x.png onerror=alert(1)>"
    "{{7*7}} \u202eשלום עולם\u202c مرحبا \x00\ud800\n`$(touch taken)` '; DROP TABLE " + "longword" * 40
)
MADE_TO_BE_TRUE = re.compile(r"[0-9a-f]{32,64}(\.dir)?|\d{4}-\d\d-\d\dT.*|champion|held|accepted|base|registered|none")


@pytest.fixture
def hostile(told, continued):
    """The same, with every text and name a stranger's worst, 200 labels, 60 sources and 300 files; two links fail."""

    def worse(value, path=()):
        if isinstance(value, dict):
            fixed = not path or path[-1] not in NAMES_OF_STRANGERS
            return {key if fixed else f"{key} {EVIL}": worse(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(worse(each, path) for each in value)
        return f"{value} {EVIL}" if isinstance(value, str) and not MADE_TO_BE_TRUE.fullmatch(value) else value

    told.record["training"]["start"] = continued
    told.record["files"] |= {f"more/{number}.bin": f"{number:064x}" for number in range(300)}
    source = told.record["data"]["sources"]["desk"]
    told.record["data"]["sources"] |= {f"desk {number}": source for number in range(60)}
    for side in told.record["data"]["sides"].values():
        side["labels"] |= {f"label {number}": number for number in range(200)}
    told.record["scores"]["candidate"]["lift"] = {"value": -3.5, "low": float("nan"), "high": 1e9, "n": 1}
    record = worse(told.record)
    entries = [
        replace(each, **{name: worse(getattr(each, name), (name,)) for name in ("tag", "by", "why", "facts")})
        for each in told.entries
    ]
    entries = [replace(each, model=record["name"]) for each in entries]
    links = [
        replace(link, name=worse(link.name), found=EVIL if place < 2 else link.found, ok=place > 1)
        for place, link in enumerate(told.links)
    ]
    return Told(record, links, entries)


NAMES_OF_STRANGERS = ("sources", "reasons", "labels", "files", "modules", "hashes", "params", "inputs", "facts")
