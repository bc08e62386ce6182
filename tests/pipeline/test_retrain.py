"""Retraining as an on-call engineer meets it: real processes, a real Prefect server, a slice of the sample.

The tests tell one story in their order: they share one clone. What is fetched comes from a folder beside it.
"""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

DELETE = """
import sys
from retune.registry import backend
backend.client().delete_model_version("classifier", sys.argv[1])
"""
QUEUES = ["billing", "delivery", "sign_in", "refunds"]


@pytest.fixture(scope="module")
def desk(new_clone, prefect_url, make_retraining_clone, tmp_path_factory):
    clone = new_clone(tmp_path_factory.mktemp("desk"), PREFECT_API_URL=prefect_url)
    return make_retraining_clone(clone, tmp_path_factory.mktemp("inbox"))


def test_a_dry_run_says_what_would_be_done_and_keeps_nothing(desk):
    desk.deliver("start.csv", desk.rows[:400])
    before = desk.checkout_state()
    told = desk.retrain_report("--dry-run")
    assert (told["outcome"], told["why"]) == ("train", ["there is no version yet"])
    assert told["rows"] == {"desk": 400}
    assert desk.checkout_state() == before
    assert desk.clone.git("branch", "--list", "retune/intake") == ""


def test_the_first_run_makes_a_champion_and_leaves_the_checkout_alone(desk):
    before = desk.checkout_state()
    told = desk.retrain_report()
    assert (told["outcome"], told["version"]) == ("promoted", "classifier/1"), told
    assert desk.checkout_state() == before
    desk.assert_nothing_left()
    made = desk.query("lineage", "model", "classifier@champion")["record"]
    assert made["started"]["command"] == "retune retrain" and "there is no version yet" in made["started"]["why"]
    assert made["data"]["sources"]["desk"]["licence"] == "Apache-2.0"
    assert made["code"]["dirty"] is False
    assert desk.decisions() == ["train", "promoted"]
    assert desk.query("verify", "classifier/1")["ok"]


def test_when_nothing_changed_nothing_is_done_and_that_is_kept_too(desk, prefect_url):
    told = desk.retrain_report()
    assert told["outcome"] == "nothing to do" and "nothing differs" in told["why"][-1]
    assert desk.decisions() == ["train", "promoted", "nothing to do"]
    entry = desk.query("history", "classifier")[-1]
    assert json.loads(entry["facts"]["Thresholds"])["new_rows"] == 40
    assert json.loads(entry["facts"]["Inputs"])["newest"] == "classifier/1"
    import httpx

    found = httpx.post(f"{prefect_url}/artifacts/filter", json={"artifacts": {"key": {"any_": ["retune-classifier"]}}})
    assert "nothing to do" in found.json()[0]["data"] or any("nothing to do" in each["data"] for each in found.json())


def test_too_few_rows_are_taken_in_and_wait(desk):
    desk.deliver("few.csv", desk.rows[400:420])
    told = desk.retrain_report()
    assert (told["outcome"], told["rows"]) == ("nothing to do", {"desk": 20})
    assert told["why"] == ["20 new or corrected rows since classifier/1, 40 asked"]
    assert desk.retrain_report()["rows"] == {}, "each row comes in once"


def test_enough_rows_are_trained_on_and_the_same_work_is_never_done_twice(desk):
    desk.deliver("more.csv", desk.rows[420:450])
    assert desk.retrain_report("--dry-run")["why"] == ["50 new or corrected rows since classifier/1, 40 asked"]
    done = desk.retrain()
    told = json.loads(done.stdout)
    assert told["version"] == "classifier/2" and told["outcome"] in ("promoted", "held")
    assert done.returncode == (told["outcome"] == "held")
    assert desk.retrain_report("--reason", "somebody is impatient")["outcome"] == "nothing to do"
    desk.assert_nothing_left()


def test_a_request_outlives_the_retraining_that_it_had_begun(desk):
    desk.deliver("request.csv", desk.rows[1259:])
    killed = desk.retrain("--reason", "the desk asks", RETUNE_FAIL_AT="retrain:in-worktree")
    assert killed.returncode == -signal.SIGKILL
    assert desk.retrain_report("--dry-run")["why"] == ["asked for: the desk asks"]
    done = desk.retrain()
    assert json.loads(done.stdout)["version"] == "classifier/3", done.stderr
    assert desk.decisions()[-3:-1] == ["train", "train"]
    assert desk.retrain_report()["outcome"] == "nothing to do"
    desk.clone.retune("clean", "--days", "0")


def test_poisoned_rows_make_no_champion_and_are_set_aside(desk):
    champion = desk.query("lineage", "model", "classifier@champion")["version"]
    turned = dict(zip(QUEUES, QUEUES[1:] + QUEUES[:1], strict=True))
    poison = desk.rows[450:700]
    desk.deliver("poison.csv", poison.assign(queue=poison["queue"].map(turned)))
    told = desk.retrain_report(exit_code=1)
    assert told["outcome"] == "held"
    assert desk.query("lineage", "model", "classifier@champion")["version"] == champion
    (part,) = desk.query("quarantine", "list")["aside"]
    assert f"retune quarantine release {part} --reason TEXT" in told["why"][-1]
    assert "worse" in desk.query("quarantine", "list")["aside"][part]["why"]
    assert desk.retrain_report()["outcome"] == "nothing to do"
    assert desk.query("quarantine", "release", part, "--reason", "try it")["rows"] == 250
    assert desk.query("quarantine", "list")["aside"] == {}


@pytest.fixture
def heard(desk, webhook):
    """Retrains, and returns how that ended with the titles of what people were told."""
    port, taken = webhook

    def run():
        del taken[:]
        done = desk.retrain(RETUNE_NOTIFY_URLS=f"json://127.0.0.1:{port}")
        return done.returncode, [said["title"] for said in taken]

    return run


def test_wrong_parameters_end_it_as_failed_which_is_told(desk, heard):
    path = desk.clone.folder / "params.yaml"
    right = path.read_text("utf-8")
    path.write_text(right.replace("confidence: 0.6", "confidence: 6"), "utf-8")
    assert heard() == (2, ["classifier: failed"])
    entry = desk.query("history", "classifier")[-1]
    assert entry["facts"]["Decision"] == "failed" and "promote.confidence" in entry["why"][0]
    path.write_text(right, "utf-8")
    assert heard() == (0, ["classifier: recovered"])


def test_what_nobody_thought_of_ends_it_as_failed_too(desk, heard):
    (desk.clone.folder / ".retune/scratch").rename(desk.clone.folder / ".retune/aside")
    (desk.clone.folder / ".retune/scratch").write_text("in the way")
    assert heard() == (3, ["classifier: failed"])
    assert desk.decisions()[-1] == "failed"
    (desk.clone.folder / ".retune/scratch").unlink()
    (desk.clone.folder / ".retune/aside").rename(desk.clone.folder / ".retune/scratch")


def test_rows_are_not_set_aside_because_the_champion_is_damaged(desk, heard):
    heads = list((desk.clone.folder / ".retune/artifacts").rglob("head.safetensors"))
    for file in heads:
        file.rename(file.with_suffix(".away"))
    desk.deliver("good.csv", desk.rows[1150:1195])
    assert heard() == (1, ["classifier: failed"])
    assert desk.query("quarantine", "list")["aside"] == {}
    for file in heads:
        file.with_suffix(".away").rename(file)
    assert json.loads(desk.retrain().stdout)["outcome"] in ("promoted", "held")
    desk.clone.retune("clean", "--days", "0")


def test_refused_data_is_set_aside_too_and_said(desk):
    junk = desk.rows[:1]
    flood = pd.concat([junk] * 900).assign(ticket_id=[f"D-{number}" for number in range(900)])
    desk.deliver("flood.csv", flood)
    killed = desk.retrain(RETUNE_FAIL_AT="retrain:refused")
    assert killed.returncode == -signal.SIGKILL and desk.decisions()[-1] == "refused"
    assert not any("refused" in each["why"] for each in desk.query("quarantine", "list")["aside"].values())
    desk.clone.retune("clean", "--days", "0")
    done = desk.retrain()
    assert done.returncode == 1 and "validate" in done.stderr and "Traceback" not in done.stderr
    aside = desk.query("quarantine", "list")["aside"]
    (part,) = (part for part, each in aside.items() if "refused" in each["why"])
    (report,) = re.findall(r"see (\S+validate\.json)", aside[part]["why"])
    assert report in done.stderr and json.loads(Path(report).read_text("utf-8"))["verdict"] == "refused"
    command = f"retune quarantine release {part} --reason TEXT"
    assert command in done.stderr and command in desk.query("history", "classifier")[-1]["why"][0]
    assert desk.decisions()[-1] == "refused"


def test_a_forgotten_row_that_the_champion_learned_from_is_a_reason(desk):
    row = desk.query("quarantine", "list")
    assert row["raw"]
    desk.clone.git("checkout", "-q", "retune/intake", "--", "data/raw.dvc")
    assert desk.clone.dvc("checkout", "data/raw.dvc").returncode == 0
    made = desk.query("lineage", "model", "classifier@champion")["record"]
    train = desk.clone.folder / ".dvc/cache/files/md5" / made["data"]["sides"]["train"]["md5"][:2]
    ids = pd.read_parquet(train / made["data"]["sides"]["train"]["md5"][2:])["id"]
    desk.query("forget", ids.iloc[0], "--reason", "asked to be forgotten")
    why = desk.retrain_report("--dry-run")["why"]
    assert any("learned from 1 rows that are suppressed now" in each for each in why), why
    desk.clone.git("checkout", "-q", "--", "data/suppressed.json")


def test_a_source_that_fails_stops_no_other_and_is_told(desk, prefect_url):
    (desk.inbox / "rubbish.csv").write_bytes(os.urandom(3000))
    for words in (["--dry-run"], []):
        done = desk.retrain(*words)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "rubbish.csv" in json.loads(done.stdout)["failures"]["desk"]
    assert "the source desk failed" in desk.query("history", "classifier")[-1]["why"][-1]
    import httpx

    asked = {"flows": {"name": {"any_": ["retrain"]}}, "sort": "START_TIME_DESC", "limit": 1}
    (run,) = httpx.post(f"{prefect_url}/flow_runs/filter", json=asked).json()
    assert run["state_type"] == "FAILED" and "rubbish.csv" in run["state"]["message"], "it ends no silence"
    (desk.inbox / "rubbish.csv").unlink()


def test_what_failed_runs_left_is_swept(desk):
    kept = desk.query("clean")["kept"]
    assert len(kept) == 1 and "Refused" in kept[0]["why"], "that of the refused data"
    assert len(desk.query("clean", "--days", "0")["removed"]) == 1
    reports = desk.clone.folder / ".retune/refusals"
    assert list(reports.glob("*/validate.json")), "kept for as long as rows are set aside"
    desk.assert_nothing_left()


def test_two_at_once_both_finish_and_make_one_version(desk):
    desk.deliver("pair.csv", desk.rows[700:760])
    environment = desk.clone.environment()
    both = [
        subprocess.Popen(
            [*desk.command, "retrain", "--json"],
            cwd=desk.clone.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=600) for process in both]
    for process, (out, err) in zip(both, said, strict=True):
        assert process.returncode in (0, 1), err
        assert json.loads(out)["outcome"] in ("promoted", "held", "nothing to do"), err
    desk.assert_consistent()
    desk.assert_nothing_left()


POINTS = ["retrain:fetched", "retrain:before-intake", "retrain:after-intake", "retrain:decided", "workspace:laid"]
POINTS += ["retrain:in-worktree", "register:version", "admit:history", "admit:challenger", "run:decided"]
POINTS += ["workspace:before-removal", "retrain:before-settle", "retrain:told"]


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_the_next_run_comes_to_the_same_end(desk, point):
    at = 760 + 50 * POINTS.index(point) % max(len(desk.rows) - 810, 1)
    rows = desk.rows[at : at + 45].assign(ticket_id=lambda frame: [f"K{point}-{n}" for n in range(len(frame))])
    rows["body"] = [f"{body} ({point} {n})" for n, body in enumerate(rows["body"])]
    desk.deliver(f"{point.replace(':', '-')}.csv", rows)
    killed = desk.retrain(RETUNE_FAIL_AT=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = desk.retrain()
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert json.loads(done.stdout)["outcome"] in ("promoted", "held", "nothing to do")
    desk.clone.retune("clean", "--days", "0")
    desk.assert_nothing_left()
    raw = desk.query("quarantine", "list")
    ids = desk.row_ids()
    aside = sum(each["rows"] for each in raw["aside"].values())
    mine = ids[ids.str.startswith(f"K{point}")]
    assert len(mine) in (0, 45) and not mine.duplicated().any() and (len(mine) or aside), "no row lost or doubled"
    desk.assert_consistent()
    entries = desk.query("history", "classifier")
    made = {f"classifier/{entry['version']}" for entry in entries if entry["event"] == "registered"}
    assert made <= {entry["facts"].get("About") for entry in entries}, "of each version it was told what came of it"


def test_a_version_whose_retraining_was_killed_is_decided_by_the_next_and_what_came_since_waits_for_nobody(
    new_clone, prefect_url, make_retraining_clone, tmp_path_factory
):
    clone = new_clone(tmp_path_factory.mktemp("killed"), PREFECT_API_URL=prefect_url)
    desk = make_retraining_clone(clone, tmp_path_factory.mktemp("inbox"))
    desk.deliver("start.csv", desk.rows[:400])
    assert desk.retrain_report()["version"] == "classifier/1"
    turned = dict(zip(QUEUES, QUEUES[1:] + QUEUES[:1], strict=True))
    poison = desk.rows[450:700]
    desk.deliver("poison.csv", poison.assign(queue=poison["queue"].map(turned)))
    assert desk.retrain(RETUNE_FAIL_AT="admit:reloaded").returncode == -signal.SIGKILL
    desk.deliver("few.csv", desk.rows[400:420])
    why = desk.retrain_report("--dry-run")["why"]
    assert "classifier/2 was made, but its retraining was interrupted" in why[0]
    heads = list((clone.folder / ".retune/artifacts").rglob("head.safetensors"))
    for file in heads:
        file.rename(file.with_suffix(".away"))
    broken = desk.retrain()
    assert broken.returncode == 1 and "classifier/2 is not what was registered" in broken.stderr, broken.stderr
    assert desk.query("history", "classifier")[-1]["facts"]["About"] == "classifier/2"
    for file in heads:
        file.with_suffix(".away").rename(file)
    assert "classifier/2 was made, but its retraining was interrupted" in desk.retrain_report("--dry-run")["why"][0], (
        "what broke is gone on with"
    )
    told = desk.retrain_report(exit_code=1)
    assert (told["outcome"], told["version"]) == ("held", "classifier/2"), "the next run had nothing else to do"
    (part,) = desk.query("quarantine", "list")["aside"]
    assert f"retune quarantine release {part} --reason TEXT" in told["why"][-1]
    assert len(desk.row_ids()) == 420, "what came since was taken in"
    assert desk.decisions()[2:] == ["train", "failed", "held", "nothing to do"]
    assert desk.query("lineage", "model", "classifier@champion")["version"] == 1
    assert desk.retrain_report()["outcome"] == "nothing to do"
    clone.python("-c", DELETE, "2")
    assert "20 new or corrected rows since classifier/1" in desk.retrain_report("--dry-run")["why"][-1], (
        "what was deleted counts no more"
    )
    assert desk.retrain("--reason", "the desk", RETUNE_FAIL_AT="admit:reloaded").returncode == -signal.SIGKILL
    path = clone.folder / "params.yaml"
    path.write_text(path.read_text("utf-8").replace("max_tokens: 32", "max_tokens: 31"), "utf-8")
    assert json.loads(desk.retrain().stdout)["version"] == "classifier/4"
    why = [entry["why"] for entry in desk.query("history", "classifier") if entry["event"] == "decided"][-2]
    assert why[0].startswith("classifier/3 has no decision, and its inputs have changed since")
