"""What is stated of a source, tracking, crashes, and several ingests at once."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retune.errors import Broken, WrongUse
from tasks import ingest as ingest_module
from tasks.ingest import Columns, Origin
from tests.support.ingesting import RAW, bytes_of_raw, column, ingest, put, refused, take

pytestmark = pytest.mark.usefixtures("scratch_folder")

STATED = RAW / "sources.json"


def test_licence_and_window_are_kept_only_if_they_are_stated():
    take("text,label\na,b\n")
    assert not STATED.exists()
    take("text,label\nc,d\n", name="b.csv", licence=" CC-BY-4.0 ", collected="2026-01/2026-03")
    take("text,label\ne,f\n", name="a.csv", collected="2025")
    assert STATED.read_text("utf-8") == (
        '{\n  "a": {\n    "collected": "2025"\n  },\n'
        '  "b": {\n    "collected": "2026-01/2026-03",\n    "licence": "CC-BY-4.0"\n  }\n}\n'
    )


def test_the_same_ingest_twice_changes_nothing_and_a_new_word_replaces_the_old_one():
    text = "text,label\na,b\n"
    take(text, licence="MIT", collected="2026")
    before = bytes_of_raw()
    take(text, licence="MIT", collected="2026")
    take(text)
    assert bytes_of_raw() == before
    report = take(text, licence="CC0-1.0")
    assert (report.added, report.part) == (0, None)
    assert json.loads(STATED.read_text("utf-8")) == {"tickets": {"licence": "CC0-1.0", "collected": "2026"}}


@pytest.mark.parametrize("error", [Broken("no store"), KeyboardInterrupt()])
def test_when_an_ingest_fails_what_was_stated_is_as_before(error):
    def fail():
        assert STATED.exists()
        raise error

    with pytest.raises(type(error)):
        take("text,label\na,b\n", licence="MIT", track=fail)
    assert not RAW.exists()
    take("text,label\na,b\n", licence="MIT")
    before = bytes_of_raw()
    for text in ("text,label\na,b\n", "text,label\nc,d\n"):
        with pytest.raises(type(error)):
            take(text, licence="CC0-1.0", track=fail)
        assert bytes_of_raw() == before


def test_a_word_that_is_no_window_stops_the_ingest_before_anything_is_read():
    for more in ({"collected": "last spring"}, {"licence": " "}, {"collected": ""}):
        with pytest.raises(WrongUse):
            ingest("nowhere.csv", RAW, Columns(), origin=Origin(**more))
    assert not RAW.exists()


def test_a_damaged_file_of_sources_stops_the_ingest():
    take("text,label\na,b\n", licence="MIT")
    STATED.write_text('{"tickets": ', "utf-8")
    refused(Broken, "text,label\nc,d\n", "sources.json", "dvc checkout")


def test_tracking_follows_every_ingest_even_when_nothing_is_new():
    calls = []
    for _ in range(2):
        take("text,label\na,b\n", track=lambda: calls.append(len(list(RAW.glob("*.parquet")))))
    assert calls == [1, 1]


@pytest.mark.parametrize("error", [Broken("no store"), KeyboardInterrupt()])
def test_when_tracking_fails_data_raw_is_as_before(error):
    def fail():
        raise error

    with pytest.raises(type(error)):
        take("text,label\na,b\n", track=fail)
    assert not RAW.exists()
    take("text,label\na,b\n")
    before = bytes_of_raw()
    with pytest.raises(type(error)):
        take("text,label\nc,d\n", track=fail)
    assert bytes_of_raw() == before


def test_parts_that_dvc_made_read_only_are_left_alone():
    part = take("text,label\na,b\n").part
    part.chmod(0o444)
    before = part.stat()
    take("text,label\nc,d\n")
    assert (part.stat().st_mtime_ns, part.stat().st_mode) == (before.st_mtime_ns, before.st_mode)


def test_rows_that_dvc_knows_of_but_are_not_here_stop_the_ingest():
    Path("data").mkdir()
    Path("data/raw.dvc").write_text("outs: []\n")
    refused(Broken, "text,label\na,b\n", "dvc pull")


def test_a_foreign_or_torn_file_in_data_raw_stops_the_ingest():
    take("text,label\na,b\n")
    for content in (b"torn", Path(put_parquet({"x": ["y"]})).read_bytes()):
        (RAW / "00002-x.parquet").write_bytes(content)
        refused(Broken, "text,label\nc,d\n", "data/raw", "dvc checkout")


def put_parquet(columns):
    pq.write_table(pa.table(columns), "foreign.parquet")
    return "foreign.parquet"


def test_an_ingest_that_was_killed_is_finished_by_the_next():
    put("text,label\na,b\n")
    killed = (
        "import os, signal; from pathlib import Path; from tasks.ingest import Columns, Rules, ingest;"
        "kill = lambda: os.kill(os.getpid(), signal.SIGKILL);"
        "ingest('tickets.csv', Path('data/raw'), Columns(), Rules('classify', 0.1), track=kill)"
    )
    root = Path(ingest_module.__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", killed], env={**os.environ, "PYTHONPATH": str(root)})
    assert ended.returncode == -signal.SIGKILL
    (RAW / ".00002-x.parquet.123.tmp").write_bytes(b"half")
    tracked = []
    report = take("text,label\na,b\n", track=lambda: tracked.append(True))
    assert (report.known, report.total, tracked) == (1, 1, [True])
    assert [path.suffix for path in RAW.iterdir()] == [".parquet"]


def test_two_ingests_at_once_take_turns():
    inside = []

    def track():
        inside.append("in")
        time.sleep(0.05)
        inside.append("out")

    for name in "abcd":
        put(f"text,label\nshared,x\n{name},x\n", f"{name}.csv")
    jobs = [
        threading.Thread(target=ingest, args=(f"{name}.csv", RAW, Columns()), kwargs={"track": track})
        for name in "abcd"
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert inside == ["in", "out"] * 4
    assert sorted(column("text")) == ["a", "b", "c", "d", "shared"]
    assert [path.name[:5] for path in sorted(RAW.iterdir())] == ["00001", "00002", "00003", "00004"]


def test_an_ingest_that_waits_too_long_says_for_what(monkeypatch):
    monkeypatch.setattr(ingest_module, "PATIENCE", 0.05)

    def meanwhile():
        with pytest.raises(Broken, match="another ingest"):
            ingest(put("text,label\nc,d\n", "other.csv"), RAW, Columns())

    job_errors = []

    def track():
        job = threading.Thread(target=lambda: job_errors.append(meanwhile()))
        job.start()
        job.join()

    take("text,label\na,b\n", track=track)
    assert job_errors == [None]
