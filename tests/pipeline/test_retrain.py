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
def retraining_clone(new_clone, prefect_url, make_retraining_clone, tmp_path_factory):
    clone = new_clone(tmp_path_factory.mktemp("desk"), PREFECT_API_URL=prefect_url)
    return make_retraining_clone(clone, tmp_path_factory.mktemp("inbox"))


def test_a_dry_run_says_what_would_be_done_and_keeps_nothing(retraining_clone):
    retraining_clone.deliver("start.csv", retraining_clone.rows[:400])
    before = retraining_clone.checkout_state()
    report = retraining_clone.retrain_report("--dry-run")
    assert (report["outcome"], report["why"]) == ("train", ["there is no version yet"])
    assert report["rows"] == {"desk": 400}
    assert retraining_clone.checkout_state() == before
    assert retraining_clone.clone.git("branch", "--list", "retune/intake") == ""


def test_the_first_run_makes_a_champion_and_leaves_the_checkout_alone(retraining_clone):
    before = retraining_clone.checkout_state()
    report = retraining_clone.retrain_report()
    assert (report["outcome"], report["version"]) == ("promoted", "classifier/1"), report
    assert retraining_clone.checkout_state() == before
    retraining_clone.assert_nothing_left()
    record_facts = retraining_clone.query("lineage", "model", "classifier@champion")["record"]
    assert (
        record_facts["started"]["command"] == "retune retrain"
        and "there is no version yet" in record_facts["started"]["why"]
    )
    assert record_facts["data"]["sources"]["desk"]["licence"] == "Apache-2.0"
    assert record_facts["code"]["dirty"] is False
    assert retraining_clone.decisions() == ["train", "promoted"]
    assert retraining_clone.query("verify", "classifier/1")["ok"]


def test_when_nothing_changed_nothing_is_done_and_that_is_kept_too(retraining_clone, prefect_url):
    report = retraining_clone.retrain_report()
    assert report["outcome"] == "nothing to do" and "nothing differs" in report["why"][-1]
    assert retraining_clone.decisions() == ["train", "promoted", "nothing to do"]
    entry = retraining_clone.query("history", "classifier")[-1]
    assert json.loads(entry["facts"]["Thresholds"])["new_rows"] == 40
    assert json.loads(entry["facts"]["Inputs"])["newest"] == "classifier/1"
    import httpx

    artifacts = httpx.post(
        f"{prefect_url}/artifacts/filter", json={"artifacts": {"key": {"any_": ["retune-classifier"]}}}
    )
    assert "nothing to do" in artifacts.json()[0]["data"] or any(
        "nothing to do" in each["data"] for each in artifacts.json()
    )


def test_too_few_rows_are_taken_in_and_wait(retraining_clone):
    retraining_clone.deliver("few.csv", retraining_clone.rows[400:420])
    report = retraining_clone.retrain_report()
    assert (report["outcome"], report["rows"]) == ("nothing to do", {"desk": 20})
    assert report["why"] == ["20 new or corrected rows since classifier/1, 40 asked"]
    assert retraining_clone.retrain_report()["rows"] == {}, "each row comes in once"


def test_enough_rows_are_trained_on_and_the_same_work_is_never_done_twice(retraining_clone):
    retraining_clone.deliver("more.csv", retraining_clone.rows[420:450])
    assert retraining_clone.retrain_report("--dry-run")["why"] == [
        "50 new or corrected rows since classifier/1, 40 asked"
    ]
    done = retraining_clone.retrain()
    report = json.loads(done.stdout)
    assert report["version"] == "classifier/2" and report["outcome"] in ("promoted", "held")
    assert done.returncode == (report["outcome"] == "held")
    assert retraining_clone.retrain_report("--reason", "somebody is impatient")["outcome"] == "nothing to do"
    retraining_clone.assert_nothing_left()


def test_a_request_outlives_the_retraining_that_it_had_begun(retraining_clone):
    retraining_clone.deliver("request.csv", retraining_clone.rows[1259:])
    killed = retraining_clone.retrain("--reason", "the desk asks", RETUNE_FAIL_AT="retrain:in-worktree")
    assert killed.returncode == -signal.SIGKILL
    assert retraining_clone.retrain_report("--dry-run")["why"] == ["asked for: the desk asks"]
    done = retraining_clone.retrain()
    assert json.loads(done.stdout)["version"] == "classifier/3", done.stderr
    assert retraining_clone.decisions()[-3:-1] == ["train", "train"]
    assert retraining_clone.retrain_report()["outcome"] == "nothing to do"
    retraining_clone.clone.retune("clean", "--days", "0")


def test_poisoned_rows_make_no_champion_and_are_set_aside(retraining_clone):
    champion = retraining_clone.query("lineage", "model", "classifier@champion")["version"]
    turned = dict(zip(QUEUES, QUEUES[1:] + QUEUES[:1], strict=True))
    poison = retraining_clone.rows[450:700]
    retraining_clone.deliver("poison.csv", poison.assign(queue=poison["queue"].map(turned)))
    report = retraining_clone.retrain_report(exit_code=1)
    assert report["outcome"] == "held"
    assert retraining_clone.query("lineage", "model", "classifier@champion")["version"] == champion
    (part,) = retraining_clone.query("quarantine", "list")["aside"]
    assert f"retune quarantine release {part} --reason TEXT" in report["why"][-1]
    assert "worse" in retraining_clone.query("quarantine", "list")["aside"][part]["why"]
    assert retraining_clone.retrain_report()["outcome"] == "nothing to do"
    assert retraining_clone.query("quarantine", "release", part, "--reason", "try it")["rows"] == 250
    assert retraining_clone.query("quarantine", "list")["aside"] == {}


@pytest.fixture
def retrain_and_notifications(retraining_clone, webhook):
    """Retrains, and returns how that ended with the titles of what people were told."""
    port, notifications = webhook

    def run():
        del notifications[:]
        done = retraining_clone.retrain(RETUNE_NOTIFY_URLS=f"json://127.0.0.1:{port}")
        return done.returncode, [notification["title"] for notification in notifications]

    return run


def test_wrong_parameters_end_it_as_failed_which_is_told(retraining_clone, retrain_and_notifications):
    path = retraining_clone.clone.folder / "params.yaml"
    right = path.read_text("utf-8")
    path.write_text(right.replace("confidence: 0.6", "confidence: 6"), "utf-8")
    assert retrain_and_notifications() == (2, ["classifier: failed"])
    entry = retraining_clone.query("history", "classifier")[-1]
    assert entry["facts"]["Decision"] == "failed" and "promote.confidence" in entry["why"][0]
    path.write_text(right, "utf-8")
    assert retrain_and_notifications() == (0, ["classifier: recovered"])


def test_what_nobody_thought_of_ends_it_as_failed_too(retraining_clone, retrain_and_notifications):
    (retraining_clone.clone.folder / ".retune/scratch").rename(retraining_clone.clone.folder / ".retune/aside")
    (retraining_clone.clone.folder / ".retune/scratch").write_text("in the way")
    assert retrain_and_notifications() == (3, ["classifier: failed"])
    assert retraining_clone.decisions()[-1] == "failed"
    (retraining_clone.clone.folder / ".retune/scratch").unlink()
    (retraining_clone.clone.folder / ".retune/aside").rename(retraining_clone.clone.folder / ".retune/scratch")


def test_rows_are_not_set_aside_because_the_champion_is_damaged(retraining_clone, retrain_and_notifications):
    heads = list((retraining_clone.clone.folder / ".retune/artifacts").rglob("head.safetensors"))
    for file in heads:
        file.rename(file.with_suffix(".away"))
    retraining_clone.deliver("good.csv", retraining_clone.rows[1150:1195])
    assert retrain_and_notifications() == (1, ["classifier: failed"])
    assert retraining_clone.query("quarantine", "list")["aside"] == {}
    for file in heads:
        file.with_suffix(".away").rename(file)
    assert json.loads(retraining_clone.retrain().stdout)["outcome"] in ("promoted", "held")
    retraining_clone.clone.retune("clean", "--days", "0")


def test_refused_data_is_set_aside_too_and_said(retraining_clone):
    junk = retraining_clone.rows[:1]
    flood = pd.concat([junk] * 900).assign(ticket_id=[f"D-{number}" for number in range(900)])
    retraining_clone.deliver("flood.csv", flood)
    killed = retraining_clone.retrain(RETUNE_FAIL_AT="retrain:refused")
    assert killed.returncode == -signal.SIGKILL and retraining_clone.decisions()[-1] == "refused"
    assert not any("refused" in each["why"] for each in retraining_clone.query("quarantine", "list")["aside"].values())
    retraining_clone.clone.retune("clean", "--days", "0")
    done = retraining_clone.retrain()
    assert done.returncode == 1 and "validate" in done.stderr and "Traceback" not in done.stderr
    aside = retraining_clone.query("quarantine", "list")["aside"]
    (part,) = (part for part, each in aside.items() if "refused" in each["why"])
    (report,) = re.findall(r"see (\S+validate\.json)", aside[part]["why"])
    assert report in done.stderr and json.loads(Path(report).read_text("utf-8"))["verdict"] == "refused"
    command = f"retune quarantine release {part} --reason TEXT"
    assert command in done.stderr and command in retraining_clone.query("history", "classifier")[-1]["why"][0]
    assert retraining_clone.decisions()[-1] == "refused"


def test_a_forgotten_row_that_the_champion_learned_from_is_a_reason(retraining_clone):
    row = retraining_clone.query("quarantine", "list")
    assert row["raw"]
    retraining_clone.clone.git("checkout", "-q", "retune/intake", "--", "data/raw.dvc")
    assert retraining_clone.clone.dvc("checkout", "data/raw.dvc").returncode == 0
    record_facts = retraining_clone.query("lineage", "model", "classifier@champion")["record"]
    train = retraining_clone.clone.folder / ".dvc/cache/files/md5" / record_facts["data"]["sides"]["train"]["md5"][:2]
    ids = pd.read_parquet(train / record_facts["data"]["sides"]["train"]["md5"][2:])["id"]
    retraining_clone.query("forget", ids.iloc[0], "--reason", "asked to be forgotten")
    why = retraining_clone.retrain_report("--dry-run")["why"]
    assert any("learned from 1 rows that are suppressed now" in each for each in why), why
    retraining_clone.clone.git("checkout", "-q", "--", "data/suppressed.json")


def test_a_source_that_fails_stops_no_other_and_is_told(retraining_clone, prefect_url):
    (retraining_clone.inbox / "rubbish.csv").write_bytes(os.urandom(3000))
    for words in (["--dry-run"], []):
        done = retraining_clone.retrain(*words)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "rubbish.csv" in json.loads(done.stdout)["failures"]["desk"]
    assert "the source desk failed" in retraining_clone.query("history", "classifier")[-1]["why"][-1]
    import httpx

    query = {"flows": {"name": {"any_": ["retrain"]}}, "sort": "START_TIME_DESC", "limit": 1}
    (run,) = httpx.post(f"{prefect_url}/flow_runs/filter", json=query).json()
    assert run["state_type"] == "FAILED" and "rubbish.csv" in run["state"]["message"], "it ends no silence"
    (retraining_clone.inbox / "rubbish.csv").unlink()


def test_what_failed_runs_left_is_swept(retraining_clone):
    folders_kept = retraining_clone.query("clean")["kept"]
    assert len(folders_kept) == 1 and "Refused" in folders_kept[0]["why"], "that of the refused data"
    assert len(retraining_clone.query("clean", "--days", "0")["removed"]) == 1
    reports = retraining_clone.clone.folder / ".retune/refusals"
    assert list(reports.glob("*/validate.json")), "kept for as long as rows are set aside"
    retraining_clone.assert_nothing_left()


def test_two_at_once_both_finish_and_make_one_version(retraining_clone):
    retraining_clone.deliver("pair.csv", retraining_clone.rows[700:760])
    environment = retraining_clone.clone.environment()
    both = [
        subprocess.Popen(
            [*retraining_clone.command, "retrain", "--json"],
            cwd=retraining_clone.clone.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=600) for process in both]
    for process, (out, err) in zip(both, outputs, strict=True):
        assert process.returncode in (0, 1), err
        assert json.loads(out)["outcome"] in ("promoted", "held", "nothing to do"), err
    retraining_clone.assert_consistent()
    retraining_clone.assert_nothing_left()


POINTS = ["retrain:fetched", "retrain:before-intake", "retrain:after-intake", "retrain:decided", "workspace:laid"]
POINTS += ["retrain:in-worktree", "register:version", "admit:history", "admit:challenger", "run:decided"]
POINTS += ["workspace:before-removal", "retrain:before-settle", "retrain:told"]


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_the_next_run_comes_to_the_same_end(retraining_clone, point):
    at = 760 + 50 * POINTS.index(point) % max(len(retraining_clone.rows) - 810, 1)
    rows = retraining_clone.rows[at : at + 45].assign(
        ticket_id=lambda frame: [f"K{point}-{n}" for n in range(len(frame))]
    )
    rows["body"] = [f"{body} ({point} {n})" for n, body in enumerate(rows["body"])]
    retraining_clone.deliver(f"{point.replace(':', '-')}.csv", rows)
    killed = retraining_clone.retrain(RETUNE_FAIL_AT=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = retraining_clone.retrain()
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert json.loads(done.stdout)["outcome"] in ("promoted", "held", "nothing to do")
    retraining_clone.clone.retune("clean", "--days", "0")
    retraining_clone.assert_nothing_left()
    raw = retraining_clone.query("quarantine", "list")
    ids = retraining_clone.row_ids()
    aside = sum(each["rows"] for each in raw["aside"].values())
    mine = ids[ids.str.startswith(f"K{point}")]
    assert len(mine) in (0, 45) and not mine.duplicated().any() and (len(mine) or aside), "no row lost or doubled"
    retraining_clone.assert_consistent()
    entries = retraining_clone.query("history", "classifier")
    versions_registered = {f"classifier/{entry['version']}" for entry in entries if entry["event"] == "registered"}
    assert versions_registered <= {entry["facts"].get("About") for entry in entries}, (
        "of each version it was told what came of it"
    )


def test_a_version_whose_retraining_was_killed_is_decided_by_the_next_and_what_came_since_waits_for_nobody(
    new_clone, prefect_url, make_retraining_clone, tmp_path_factory
):
    clone = new_clone(tmp_path_factory.mktemp("killed"), PREFECT_API_URL=prefect_url)
    retraining_clone = make_retraining_clone(clone, tmp_path_factory.mktemp("inbox"))
    retraining_clone.deliver("start.csv", retraining_clone.rows[:400])
    assert retraining_clone.retrain_report()["version"] == "classifier/1"
    turned = dict(zip(QUEUES, QUEUES[1:] + QUEUES[:1], strict=True))
    poison = retraining_clone.rows[450:700]
    retraining_clone.deliver("poison.csv", poison.assign(queue=poison["queue"].map(turned)))
    assert retraining_clone.retrain(RETUNE_FAIL_AT="admit:reloaded").returncode == -signal.SIGKILL
    retraining_clone.deliver("few.csv", retraining_clone.rows[400:420])
    why = retraining_clone.retrain_report("--dry-run")["why"]
    assert "classifier/2 was made, but its retraining was interrupted" in why[0]
    heads = list((clone.folder / ".retune/artifacts").rglob("head.safetensors"))
    for file in heads:
        file.rename(file.with_suffix(".away"))
    broken = retraining_clone.retrain()
    assert broken.returncode == 1 and "classifier/2 is not what was registered" in broken.stderr, broken.stderr
    assert retraining_clone.query("history", "classifier")[-1]["facts"]["About"] == "classifier/2"
    for file in heads:
        file.with_suffix(".away").rename(file)
    assert (
        "classifier/2 was made, but its retraining was interrupted"
        in retraining_clone.retrain_report("--dry-run")["why"][0]
    ), "what broke is gone on with"
    report = retraining_clone.retrain_report(exit_code=1)
    assert (report["outcome"], report["version"]) == ("held", "classifier/2"), "the next run had nothing else to do"
    (part,) = retraining_clone.query("quarantine", "list")["aside"]
    assert f"retune quarantine release {part} --reason TEXT" in report["why"][-1]
    assert len(retraining_clone.row_ids()) == 420, "what came since was taken in"
    assert retraining_clone.decisions()[2:] == ["train", "failed", "held", "nothing to do"]
    assert retraining_clone.query("lineage", "model", "classifier@champion")["version"] == 1
    assert retraining_clone.retrain_report()["outcome"] == "nothing to do"
    clone.python("-c", DELETE, "2")
    assert "20 new or corrected rows since classifier/1" in retraining_clone.retrain_report("--dry-run")["why"][-1], (
        "what was deleted counts no more"
    )
    assert (
        retraining_clone.retrain("--reason", "the desk", RETUNE_FAIL_AT="admit:reloaded").returncode == -signal.SIGKILL
    )
    path = clone.folder / "params.yaml"
    path.write_text(path.read_text("utf-8").replace("max_tokens: 32", "max_tokens: 31"), "utf-8")
    assert json.loads(retraining_clone.retrain().stdout)["version"] == "classifier/4"
    why = [entry["why"] for entry in retraining_clone.query("history", "classifier") if entry["event"] == "decided"][-2]
    assert why[0].startswith("classifier/3 has no decision, and its inputs have changed since")
