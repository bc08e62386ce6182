import getpass
import json
import os
import time
from pathlib import Path

import psutil
import pytest

from flows.execution import dvc
from retune.errors import Broken, Refused, WrongUse, to_line


def fails_with(tiny_pipeline, code, *lines):
    """Let the stage `cook` print `lines` and end with `code`."""
    program = "".join(f"print({line!r}, file=sys.stderr)\n" for line in lines)
    tiny_pipeline.write("cook.py", f"import sys\n{program}sys.exit({code})\n")


@pytest.mark.slow
def test_the_lines_of_a_stage_are_handed_on_as_they_come(tiny_pipeline):
    tiny_pipeline.write(
        "cook.py", "import time\nprint('peeled')\ntime.sleep(2)\nprint('cooked')\nopen('models/meal.txt', 'w')\n"
    )
    lines = {}
    dvc.run("cook", lambda line: lines.setdefault(line, time.monotonic()))
    assert lines["cooked"] - lines["peeled"] > 1


def test_a_stage_tells_its_lines_and_not_dvcs_advice(tiny_pipeline):
    tiny_pipeline.write("data/raw/two.txt", "leek\n")
    lines = []
    assert dvc.run("cook", lines.append) is True
    assert lines == ["Running stage 'cook':", "> python cook.py data/raw models/meal.txt", "peeled", "cooked"]


def test_progress_goes_to_whoever_draws_it_and_not_to_the_log(tiny_pipeline):
    tiny_pipeline.write("data/raw/two.txt", "leek\n")
    lines, drawn = [], []
    dvc.run("cook", lines.append, lambda *values: drawn.append(values))
    assert drawn == [(1, 2, {"heat": 0.5}), (2, 2, {"heat": 0.25, "salt": 1e-5})]
    assert not [line for line in lines if line.startswith("progress")]


def test_a_rebuild_says_its_progress_in_words(tiny_pipeline):
    tiny_pipeline.write("data/raw/two.txt", "peas\n")
    lines = []
    dvc._stream("cook", [*dvc.DVC, "repro", "--force"], lines.append, dvc.progress_in_words(lines.append))
    assert "step 2 of 2 heat=0.25 salt=1e-05" in lines


def test_a_stage_that_depends_on_nothing_new_does_not_run(tiny_pipeline):
    lines = []
    assert dvc.run("cook", lines.append) is False
    assert lines == []


def test_only_the_named_stage_runs(tiny_pipeline):
    tiny_pipeline.write("data/raw/two.txt", "leek\n")
    before = Path("models/reports/serve.json").read_text("utf-8")
    dvc.run("cook", lambda line: None)
    assert Path("models/reports/serve.json").read_text("utf-8") == before


@pytest.mark.parametrize("error", [Refused, WrongUse, Broken])
def test_a_stages_own_error_comes_out_as_that_error_with_its_fields(tiny_pipeline, error):
    line = to_line(error("the data fails:\n  2 rows", remedy="mend them", paths=[Path("/a/report.json")]))
    fails_with(tiny_pipeline, error.exit_code, "two rows are wrong", line)
    lines = []
    with pytest.raises(error) as raised:
        dvc.run("cook", lines.append)
    assert type(raised.value) is error
    assert raised.value.paths == (Path("/a/report.json"),) and raised.value.remedy == "mend them"
    assert str(raised.value) == "cook: the data fails:\n  2 rows: mend them; see /a/report.json"
    assert any(line.startswith(f"{error.__name__}: the data fails") for line in lines) and line not in lines


def test_a_crash_is_broken_and_shows_the_last_lines(tiny_pipeline):
    tiny_pipeline.write(
        "cook.py", "for n in range(100): print('line', n, flush=True)\nraise ValueError('no such pan')\n"
    )
    with pytest.raises(Broken) as raised:
        dvc.run("cook", lambda line: None)
    message = str(raised.value)
    assert "cook failed" in message
    assert "ValueError: no such pan" in message
    assert "line 99" in message
    assert "line 50" not in message


def test_a_killed_stage_is_broken(tiny_pipeline):
    tiny_pipeline.write("cook.py", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    with pytest.raises(Broken, match="cook failed"):
        dvc.run("cook", lambda line: None)


def test_an_unknown_stage_is_broken_and_named(tiny_pipeline):
    with pytest.raises(Broken, match="dessert"):
        dvc.run("dessert", lambda line: None)


FAMILY = """\
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = "import time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf])
print("pids", os.getpid(), child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_ends_the_stage_and_all_its_children(tiny_pipeline, stop):
    tiny_pipeline.write("cook.py", FAMILY)
    pids = []

    def say(line):
        if line.startswith("pids"):
            pids.extend(map(int, line.split()[1:]))
            raise stop

    try:
        with pytest.raises(stop):
            dvc.run("cook", say)
        assert len(pids) == 2
        assert [pid for pid in pids if alive(pid)] == []
    finally:
        for pid in filter(alive, pids):
            psutil.Process(pid).kill()


def alive(pid):
    """Whether a process still works: what was killed and not yet buried does not."""
    for _ in range(20):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.timeout(60)
def test_a_stage_never_waits_for_the_keyboard(tiny_pipeline):
    tiny_pipeline.write("cook.py", "print(repr(input()))\n")
    with pytest.raises(Broken, match="EOFError"):
        dvc.run("cook", lambda line: None)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("progress step=3 of=10", (3, 10, {})),
        (
            "progress step=3 of=10 train_loss=0.41 learning_rate=8.1e-05",
            (3, 10, {"train_loss": 0.41, "learning_rate": 8.1e-5}),
        ),
        ("progress is good", None),
        ("in progress step=3 of=10", None),
        ("", None),
    ],
)
def test_a_line_of_progress_is_told_from_other_lines(line, expected):
    assert dvc.parse_progress(line) == expected


def test_the_bridge_reads_what_the_stages_print(capsys):
    from retune.system import stage_io

    stage_io.progress(120, 900, train_loss=0.4121, learning_rate=8.1e-05)
    assert dvc.parse_progress(capsys.readouterr().out.strip()) == (
        120,
        900,
        {"train_loss": 0.4121, "learning_rate": 8.1e-05},
    )


def test_any_model_is_scored_by_the_evaluate_stages_own_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/evaluate.py").write_text("import sys\nprint('scored', *sys.argv[1:])\n", "utf-8")
    (tmp_path / "tasks/__init__.py").touch()
    lines = []
    dvc.score(Path("old"), Path("rows.parquet"), Path("out"), lines.append)
    assert lines == ["scored old rows.parquet out"]


def test_a_tracked_folder_has_a_pointer_with_its_hash(tiny_pipeline):
    tiny_pipeline.write("data/other/one.txt", "rice\n")
    dvc.track("data/other")
    assert "md5: " in Path("data/other.dvc").read_text("utf-8")


def test_a_folder_that_is_not_there_cannot_be_tracked(tiny_pipeline):
    with pytest.raises(Broken, match="nowhere"):
        dvc.track("data/nowhere")


def test_status_names_what_has_changed_and_nothing_else(tiny_pipeline):
    assert dvc.status() == {}
    tiny_pipeline.write("serve.py", "print('cold')\n")
    assert list(dvc.status()) == ["serve"]


def test_a_record_holds_everything_that_made_the_model(tiny_pipeline):
    tiny_pipeline.write("params.yaml", Path("params.yaml").read_text("utf-8").replace("blue", "green"))
    tiny_pipeline.dvc("repro", "-q")
    commit = dvc.save_record("run-1")
    for name in ("dvc.lock", "data/raw.dvc", "params.yaml", "models/reports/serve.json", "cook.py"):
        assert tiny_pipeline.git("show", f"{commit}:{name}") == Path(name).read_text("utf-8"), name
    assert commit in tiny_pipeline.git("for-each-ref", "--format=%(objectname)", "refs/exps")


def test_a_record_leaves_branch_index_and_files_as_they_were(tiny_pipeline):
    tiny_pipeline.write("params.yaml", Path("params.yaml").read_text("utf-8").replace("blue", "green"))
    tiny_pipeline.dvc("repro", "-q")
    tiny_pipeline.write("notes.txt", "mine, not in git")
    tiny_pipeline.write("cook.py", Path("cook.py").read_text("utf-8") + "# staged\n")
    tiny_pipeline.write("menu.txt", "staged, and new to git")
    tiny_pipeline.git("add", "cook.py", "menu.txt")
    tiny_pipeline.write("menu.txt", "staged, and edited since")
    tiny_pipeline.dvc("commit", "-q", "-f")
    before = picture(tiny_pipeline)
    dvc.save_record("run-1")
    assert picture(tiny_pipeline) == before


def picture(tiny_pipeline):
    commands = (
        ("rev-parse", "HEAD"),
        ("symbolic-ref", "HEAD"),
        ("branch", "--list"),
        ("stash", "list"),
        ("status", "--porcelain"),
        ("diff", "--cached"),
    )
    return [tiny_pipeline.git(*words) for words in commands], tiny_pipeline.file_contents()


def test_a_record_needs_no_user_that_git_knows(tiny_pipeline, tmp_path, monkeypatch):
    tiny_pipeline.git("config", "--unset", "user.name")
    tiny_pipeline.git("config", "--unset", "user.email")
    (tmp_path / "nobody").mkdir()
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "nobody"))
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    assert tiny_pipeline.git("show", "-s", "--format=%an", dvc.save_record("run-1")) == f"{getpass.getuser()}\n"


def test_a_record_is_signed_by_the_user_that_git_knows(tiny_pipeline):
    assert (
        tiny_pipeline.git("show", "-s", "--format=%an <%ae>", dvc.save_record("run-1"))
        == "A. Tester <tester@example.com>\n"
    )


def test_the_same_record_may_be_saved_twice(tiny_pipeline):
    dvc.save_record("run-1")
    assert dvc.save_record("run-1")


def test_stages_run_with_this_interpreter_and_without_telemetry(monkeypatch):
    monkeypatch.setenv("SOMETHING_OF_THE_CALLER", "kept")
    env = dvc.environment()
    first = Path(env["PATH"].split(os.pathsep)[0])
    assert (first / "python").exists() and first == Path(dvc.DVC[0]).parent
    assert env["DVC_NO_ANALYTICS"] == "1"
    assert env["SOMETHING_OF_THE_CALLER"] == "kept"


def test_status_is_json_for_other_programs(tiny_pipeline):
    tiny_pipeline.write("data/raw/two.txt", "leek\n")
    json.dumps(dvc.status())
