"""One training over two processes of this machine: the same model, whatever dies goes on. On GPUs if there are two."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from retune.config.generation import Parallel
from retune.data import row_table
from retune.errors import Broken, WrongUse
from retune.models.base_model import weights_sha256
from tasks.train.distributed import collectives, launcher
from tests.support.environment import ROOT

PATHS = ["train.parquet", "val.parquet", "general.parquet", "start.json", "model", "reports", "work"]
STAGE = [sys.executable, "-m", "tasks.train", *PATHS]
CPU = torch.device("cpu")
TINY = {
    "method": "lora",
    "device": "auto" if torch.cuda.device_count() > 1 else "cpu",
    "precision": "fp32",
    "template": "chatml",
    "max_tokens": 128,
    "epochs": 2,
    "batch_tokens": 256,
    "accumulate": 2,
    "warmup_share": 0.1,
    "checkpoint_seconds": 0.0,
    "compile": False,
    "lora": {"learning_rate": 1e-2, "rank": 8, "alpha": 16},
    "full": {"learning_rate": 3e-3},
}
TWO = {"processes": 2, "hosts": 1, "strategy": "ddp"}
PARTS = {**TWO, "strategy": "fsdp"}
LONG = {"epochs": 20, "patience": 20}


@pytest.fixture
def job_folder(tmp_path, tiny_causal_lm, make_replies):
    """A folder with all that the stage reads: `job_folder(name, **changes of train)`."""

    def make_folder(name, rows=36, task="instruct", **changes):
        folder = tmp_path / name
        folder.mkdir()
        settings = yaml.safe_load((ROOT / f"retune/config/defaults/{task}.yaml").read_text("utf-8"))
        base = {"name": f"folder:{tiny_causal_lm}", "sha256": weights_sha256(tiny_causal_lm)}
        for key, value in {**TINY, "base": base, **changes}.items():
            section = settings["train"].get(key)
            if section is not None:
                settings["train"][key] = {**section, **value} if isinstance(section, dict) else value
        (folder / "params.yaml").write_text(yaml.safe_dump(settings), "utf-8")
        for side, count in (("train", rows), ("val", 12)):
            row_table.write(make_replies(count, seed=len(side)), folder / f"{side}.parquet")
        row_table.write(make_replies(12)[:0], folder / "general.parquet")
        shutil.copy(ROOT / "models/start.json", folder)
        return folder

    return make_folder


def environment(**more):
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1", **more}


def go(folder, **more):
    done = subprocess.run(STAGE, cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=280)
    return done.returncode, done.stdout + done.stderr


def model_of(folder):
    code, output = go(folder)
    assert code == 0, output
    return weights(folder), json.loads((folder / "reports/train.json").read_text()), output


def weights(folder):
    (file,) = [*folder.glob("model/adapter/*.safetensors"), *folder.glob("model/decoder/*.safetensors")]
    return load_file(file)


def losses(folder):
    return [line.split(",") for line in (folder / "reports/learning_curve.csv").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "two", "rows"),
    [("lora", TWO, 36), ("full", PARTS, 36), ("lora", PARTS, 35)],
    ids=["ddp", "fsdp-full", "fsdp-lora"],
)
def test_two_processes_make_the_model_that_one_makes(job_folder, method, two, rows):
    """Also where the last step of an epoch leaves one of them without a batch."""
    one, report, _ = model_of(job_folder("one", rows, method=method))
    many, other, output = model_of(job_folder("two", rows, method=method, parallel=two))
    assert (report["processes"], other["processes"]) == (1, 2)
    assert one.keys() == many.keys()
    for name, value in one.items():
        assert torch.allclose(value, many[name], atol=2e-4, rtol=0), name
    assert (report["rows"], report["best_epoch"]) == (other["rows"], other["best_epoch"])
    assert (report["parameters"], report["trained_parameters"]) == (other["parameters"], other["trained_parameters"])
    assert output.count("progress step=1 of=") == 1, "one of them speaks"


PREFER = """
import sys
from pathlib import Path
from retune.models import classifier; from retune.data import row_table; from retune.config import params
from tasks.train.distributed import collectives; from tasks.train.decoder import preference
from tasks.train.context import train_context
section, sides = params.load().train, [row_table.read(Path(f"{side}.parquet")) for side in ("train", "val")]
for side in sides:
    side["rejected"] = "Never call us again."
with collectives.process_group(classifier.pick_device(section.device)):
    work = Path(f"work-{collectives.rank()}")
    context = train_context(section, work, lambda *_, **__: None)
    preference.fit(*sides, context, Path(sys.argv[1])).save(Path("model"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("method", "two"), [("dpo", TWO), ("kto", PARTS)], ids=["ddp", "fsdp"])
def test_preferences_are_learned_by_two_processes_as_by_one(job_folder, method, two):
    start = job_folder("start")
    model_of(start)
    models = []
    for name, section in (("one", {}), ("two", two)):
        folder = job_folder(name, task="prefer", method=method, parallel=section)
        (folder / "go.py").write_text(PREFER)
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if section else []
        command = [sys.executable, *launcher, "go.py", str(start / "model")]
        done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr
        models.append(weights(folder))
    one, many = models
    assert any(not torch.equal(value, weights(start)[name]) for name, value in one.items()), "it has learned"
    assert all(torch.allclose(value, many[name], atol=2e-4, rtol=0) for name, value in one.items())


@contextmanager
def start_job(folder, **more):
    """The stage, and a function that waits until it has said something."""
    stage = subprocess.Popen(
        STAGE, cwd=folder, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = []

    def until(what):
        for line in stage.stdout:
            lines.append(line)
            if what in line:
                return
        raise AssertionError("".join(lines))

    with stage:
        try:
            yield stage, until, lines
        finally:
            stage.kill()


def workers(stage):
    return [child for child in psutil.Process(stage.pid).children(recursive=True) if "tasks.train" in child.cmdline()]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "two", "which"), [("lora", TWO, 1), ("full", PARTS, 0)], ids=["ddp", "fsdp"])
def test_a_process_that_is_killed_ends_the_job_and_the_next_start_goes_on_to_the_same_bits(
    job_folder, method, two, which
):
    whole, _, _ = model_of(job_folder("whole", method=method, parallel=two, **LONG))
    folder = job_folder("killed", method=method, parallel=two, **LONG)
    with start_job(folder) as (stage, until, lines):
        until("progress step=1 ")
        both = sorted(workers(stage), key=lambda rank: int(rank.environ()["RANK"]))
        assert len(both) == 2
        until("progress step=10 ")
        began = time.monotonic()
        both[which].kill()
        lines += stage.stdout.readlines()
        assert stage.wait(30) == 3
    took = time.monotonic() - began
    assert took < 30
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in both)
    assert f'"Broken", "message": "process {which + 1} of 2 was ended by SIGKILL' in "".join(lines)
    assert "Traceback" not in "".join(lines)
    again, report, output = model_of(folder)
    assert int(re.search(r"going on from the checkpoint of step (\d+)", output)[1]) >= 9
    assert report["resumed_from_step"] >= 9
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


@pytest.mark.slow
def test_a_part_that_is_damaged_takes_all_back_to_the_newest_that_everybody_has(job_folder):
    folder = job_folder("parts", method="full", parallel=PARTS, **LONG)
    with start_job(folder) as (stage, until, _):
        until("progress step=10 ")
        stage.send_signal(signal.SIGTERM)
        stage.wait(30)
    (newest,) = sorted(folder.glob("work/*/process-1/choose/step-*"))[-1:]
    (newest / "tensors.safetensors").write_bytes(b"torn")
    before = int(newest.name.removeprefix("step-")) - 1
    _, _, output = model_of(folder)
    assert f"going on from the checkpoint of step {before} of" in output


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_stage(job_folder, how):
    with start_job(job_folder("ended", epochs=500, patience=500, parallel=TWO)) as (stage, until, _):
        until("progress step=1 ")
        both = workers(stage)
        stage.send_signal(how)
        stage.wait(10)
    _, alive = psutil.wait_procs(both, timeout=10)
    assert not alive


@pytest.mark.slow
def test_a_refusal_is_said_once(job_folder):
    code, output = go(job_folder("refused", max_tokens=8, batch_tokens=16, parallel=TWO))
    assert code == 1
    assert output.count('{"error": "Refused"') == 1
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_second_trainer_of_the_same_model_is_refused(job_folder):
    folder = job_folder("busy", epochs=500, patience=500, parallel=TWO)
    with start_job(folder) as (_, until, _):
        until("progress step=1 ")
        code, output = go(folder)
    assert (code, output.count("another trainer is at work")) == (3, 1)


@pytest.mark.parametrize(
    ("section", "accumulate", "message"),
    [
        (Parallel(2, 1, "ddp"), 3, "train.accumulate is 3 batches a step, and there are 2 processes"),
        (Parallel(1, 1, "fsdp"), 2, "train.parallel.strategy is fsdp, with one process"),
    ],
)
def test_what_cannot_be_spread_is_refused_before_anything_starts(section, accumulate, message):
    with pytest.raises(WrongUse, match=message):
        launcher.check(section, accumulate, CPU)


@pytest.mark.parametrize(("where", "node"), [("", ""), ("first", "0"), ("first:29500", "2"), ("first:29500", "x")])
def test_a_host_that_does_not_know_where_it_is_is_told_what_to_set(monkeypatch, where, node):
    monkeypatch.setenv(launcher.RENDEZVOUS, where)
    monkeypatch.setenv(launcher.NODE_RANK, node)
    with pytest.raises(WrongUse, match="RETUNE_RENDEZVOUS"):
        launcher.launch(Parallel(1, 2, "ddp"))


def test_a_host_that_nobody_knows_is_named(monkeypatch):
    monkeypatch.setenv(launcher.RENDEZVOUS, "nobody.invalid:29500")
    monkeypatch.setenv(launcher.NODE_RANK, "1")
    with pytest.raises(WrongUse, match=r"nobody\.invalid:29500', and that host is unknown"):
        launcher.launch(Parallel(1, 2, "ddp"))


def test_a_port_that_is_taken_is_told(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setenv(launcher.RENDEZVOUS, f"127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv(launcher.NODE_RANK, "0")
        monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which the launcher sets where nobody has
        with pytest.raises(Broken, match=r"did not meet at 127\.0\.0\.1"):
            launcher.launch(Parallel(1, 2, "ddp"))


@pytest.mark.slow
def test_two_hosts_that_share_no_folder_make_the_model_that_one_makes(job_folder):
    """Both on this machine, as a second one is not at hand: each has a folder, and meets the other over a port."""
    one, _, _ = model_of(job_folder("one"))
    hosts = {"processes": 1, "hosts": 2}
    first, second = job_folder("first", parallel=hosts), job_folder("second", parallel=hosts)
    meet = {launcher.RENDEZVOUS: f"127.0.0.1:{free_port()}"}
    other = subprocess.Popen(STAGE, cwd=second, env=environment(**meet, **{launcher.NODE_RANK: "1"}))
    code, output = go(first, **meet, **{launcher.NODE_RANK: "0"})
    assert (code, other.wait(60)) == (0, 0), output
    assert all(torch.allclose(value, weights(first)[name], atol=2e-4, rtol=0) for name, value in one.items())
    assert not (second / "model").exists(), "the first one writes"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("count", [1, 4, 5])
def test_every_batch_counts_once_and_all_take_equally_many_turns(monkeypatch, count):
    monkeypatch.setattr(collectives, "world_size", lambda: 2)
    turns_of_rank = []
    for rank in (0, 1):
        monkeypatch.setattr(collectives, "rank", lambda rank=rank: rank)
        turns_of_rank.append(list(collectives.local_batches([f"batch {number}" for number in range(count)])))
    assert len(turns_of_rank[0]) == len(turns_of_rank[1])
    counted = sorted(number for turns in turns_of_rank for number, batch, counts in turns if counts)
    assert counted == list(range(count))
    assert all(batch == f"batch {number}" for turns in turns_of_rank for number, batch, _ in turns)
