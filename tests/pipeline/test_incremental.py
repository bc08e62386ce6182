"""A version that continues from the champion, for real: recorded, traced, refused where it must be, and rebuilt to the
bit; and retrainings that do so by themselves. On a slice of the sample, method full; the tests of each of the two
stories share one clone and stand in its order.
"""

import json
import shutil
from contextlib import contextmanager

import pandas as pd
import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

COLUMNS = ["--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id"]
SETTINGS = {
    "train.method": "full",
    "train.max_tokens": 32,
    "validate.max_truncated_share": 1.0,
    "train.epochs": 1,
    "train.incremental.epochs": 2,
    "evaluate.bootstrap": 100,
    "promote.bootstrap": 200,
    "promote.confidence": 0.6,
    "register.reload_rows": 8,
}
CONTINUE = """
from tasks.register import register
from retune.lineage import parent_version
from retune.registry import versions
version = versions.resolve("classifier/1")
parent_version.write(parent_version.start_of(str(version), version.tags["seal"], register.record_of_version(version)))
"""


@pytest.fixture(scope="module")
def version_clone(new_clone, prefect_url, tmp_path_factory):
    """Version 1 from the base, on three queues; version 2 continued from it, when more tickets of four had come."""
    version_clone = new_clone(tmp_path_factory.mktemp("house"), PREFECT_API_URL=prefect_url)
    (version_clone.folder / ".git/info/exclude").write_text("/*.csv\n")
    tickets = pd.read_csv(version_clone.folder / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    queues = tickets.groupby("queue", sort=False)
    first = pd.concat([queues.get_group(queue).head(50) for queue in ("billing", "delivery", "sign_in")])
    more = [queues.get_group(queue).iloc[50:80] for queue in ("billing", "delivery", "sign_in", "refunds")]
    first.to_csv(version_clone.folder / "first.csv", index=False)
    pd.concat(more).to_csv(version_clone.folder / "more.csv", index=False)
    assert version_clone.retune("ingest", "first.csv", *COLUMNS).returncode == 0
    words = [word for key, value in SETTINGS.items() for word in ("-S", f"{key}={value}")]
    run(version_clone, *words)
    done = version_clone.python("-c", CONTINUE)
    assert done.returncode == 0, done.stderr
    assert version_clone.retune("ingest", "more.csv", *COLUMNS).returncode == 0
    run(version_clone)
    return version_clone


def run(version_clone, *words, codes=(0, 1)):
    done = version_clone.retune("run", *words, timeout=600)
    assert done.returncode in codes, done.stdout + done.stderr
    return done


def ask(version_clone, *words, code=0):
    done = version_clone.retune(*words, "--json", timeout=600)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr
    return json.loads(done.stdout)


def record(version_clone, version):
    return ask(version_clone, "lineage", "model", f"classifier/{version}")["record"]


@pytest.fixture(scope="module")
def learned_first(version_clone):
    """The train side of version 1."""
    md5 = record(version_clone, 1)["data"]["sides"]["train"]["md5"]
    return pd.read_parquet(version_clone.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:])


def test_the_record_says_from_what_it_continued_and_with_which_rows(version_clone):
    first, second = record(version_clone, 1), record(version_clone, 2)
    assert first["training"]["start"] == {"from": "base"}
    begins = second["training"]["start"]
    assert begins["from"] == "classifier/1"
    assert begins["model_md5"] == first["pipeline"]["hashes"]["models/candidate"]
    assert begins["train_md5"] == first["data"]["sides"]["train"]["md5"]
    assert begins["new_labels"] == ["refunds"]
    both = {
        name: sum(record_facts["data"]["sides"][side]["rows"] for side in ("train", "val"))
        for name, record_facts in (("first", first), ("second", second))
    }
    assert begins["new_rows"] == both["second"] - both["first"]
    assert 0.2 * both["first"] <= begins["old_rows"] <= 0.2 * both["first"] + 3
    assert second["training"]["rows"] == begins["new_rows"] + begins["old_rows"]
    assert "train: models/start.json" in " ".join(second["started"]["why"])


def test_every_link_to_where_it_started_is_computed_again(version_clone):
    verification = ask(version_clone, "verify", "classifier/2")
    names = {link["name"] for link in verification["links"]}
    assert {"start", "start from classifier/1", "record of classifier/1", "start/models/candidate"} <= names
    assert {"suppressed rows learned by classifier/1", "test rows learned by classifier/1"} <= names
    with damaged(version_clone, record(version_clone, 2)["training"]["start"]["train_md5"]):
        wrong = [
            link["name"] for link in ask(version_clone, "verify", "classifier/2", code=1)["links"] if not link["ok"]
        ]
    assert "start/data/splits/train.parquet" in wrong


@contextmanager
def damaged(version_clone, md5):
    path = version_clone.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        yield
    finally:
        path.write_bytes(content)


def test_the_difference_names_both_starts(version_clone):
    start = ask(version_clone, "lineage", "diff", "classifier/1", "classifier/2")["start"]
    assert start["from"] == {"before": "base", "after": "classifier/1"}


def test_data_that_only_the_first_was_trained_on_taught_the_second_too(version_clone):
    versions_taught = ask(version_clone, "lineage", "data", record(version_clone, 1)["data"]["sides"]["train"]["md5"])[
        "versions"
    ]
    assert [(each["version"], each["side"], each["via"]) for each in versions_taught] == [
        (1, "train", None),
        (2, "train", "classifier/1"),
    ]


def test_it_is_rebuilt_to_the_bit(version_clone, tmp_path):
    done = version_clone.retune("reproduce", "classifier/2", "--into", tmp_path / "rebuilt", "--json", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["proved"] == "bit-identical"
    assert (
        "The model and splits of classifier/1, from which it continued, came from the store." in report["environment"]
    )


def test_it_cannot_be_rebuilt_once_the_bytes_it_started_from_are_gone(version_clone, tmp_path):
    md5 = record(version_clone, 2)["training"]["start"]["model_md5"]
    path = version_clone.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    path.rename(tmp_path / "kept")
    try:
        done = version_clone.retune("reproduce", "classifier/2", timeout=300)
    finally:
        shutil.move(tmp_path / "kept", path)
    assert done.returncode == 1
    assert "models/candidate of classifier/1: bytes gone, hashes kept" in done.stderr


def test_from_a_champion_that_learned_from_a_suppressed_row_nothing_continues_and_the_base_is_free(
    version_clone, learned_first
):
    """Stands last: it registers a third version."""
    name = learned_first["id"][7]
    report = ask(version_clone, "forget", name, "--reason", "asked to")
    assert report["learned"] == ["classifier/1", "classifier/2"]
    before = version_clone.git("for-each-ref")
    done = run(version_clone, codes=(1,))
    assert "cannot continue from classifier/1: classifier/1 (1) learned from rows that must not be" in done.stderr
    assert version_clone.git("for-each-ref") == before, "nothing was registered"
    (version_clone.folder / "models/start.json").write_text('{"from": "base"}\n')
    run(version_clone)
    report = ask(version_clone, "lineage", "row", name)
    assert [each["version"] for each in report["versions"]] == [1, 2]
    assert report["free"] == ["classifier/3"]
    assert ask(version_clone, "verify", "classifier/3")["ok"]


def test_a_run_with_a_start_that_says_nothing_is_refused_in_words(version_clone):
    path = version_clone.folder / "models/start.json"
    content = path.read_bytes()
    path.write_text('{"from": "classifier/1"}\n')
    try:
        done = version_clone.retune("run", timeout=300)
    finally:
        path.write_bytes(content)
    assert done.returncode == 1
    assert "models/start.json says no start" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def retraining_clone(new_clone, prefect_url, make_retraining_clone, tmp_path_factory):
    clone = new_clone(tmp_path_factory.mktemp("desk"), PREFECT_API_URL=prefect_url)
    more = {**SETTINGS, "trigger.incremental": True, "trigger.new_rows": 30}
    more |= {"promote.max_label_recall_loss": 1.0, "promote.max_slice_loss": 1.0, "promote.calibration_error_rise": 1.0}
    return make_retraining_clone(clone, tmp_path_factory.mktemp("inbox"), ("billing", "delivery", "sign_in"), **more)


def start_of(retraining_clone, version):
    return retraining_clone.query("lineage", "model", version)["record"]["training"]["start"]


def test_the_first_retraining_has_nothing_to_continue_from(retraining_clone):
    retraining_clone.deliver("start.csv", retraining_clone.rows[:150])
    assert retraining_clone.retrain_report()["outcome"] == "promoted"
    assert start_of(retraining_clone, "classifier/1") == {"from": "base"}


def test_the_next_continues_from_the_champion_and_leaves_the_checkout_alone(retraining_clone):
    before = retraining_clone.checkout_state()
    retraining_clone.deliver("more.csv", retraining_clone.rows[150:200])
    done = retraining_clone.retrain()
    report = json.loads(done.stdout)
    assert report["version"] == "classifier/2", done.stderr
    begins = start_of(retraining_clone, "classifier/2")
    assert begins["from"] == "classifier/1"
    assert 0 < begins["new_rows"] <= 50 and begins["old_rows"] < 150
    assert retraining_clone.checkout_state() == before
    assert json.loads((retraining_clone.clone.folder / "models/start.json").read_text()) == {"from": "base"}
    assert retraining_clone.query("verify", "classifier/2")["ok"]
    retraining_clone.assert_nothing_left()


def test_that_it_continued_is_no_reason_to_train_again(retraining_clone):
    report = retraining_clone.retrain_report()
    assert report["outcome"] == "nothing to do", report
    assert report["inputs"]["changes"] == [], "also where the rows of a version that was worse are set aside"


def test_from_a_champion_that_learned_from_a_suppressed_row_it_starts_from_the_base(retraining_clone):
    model = retraining_clone.query("lineage", "model", "classifier@champion")
    train = model["record"]["data"]["sides"]["train"]["md5"]
    name = pd.read_parquet(retraining_clone.cached_file(train))["id"].iloc[3]
    retraining_clone.query("forget", name, "--reason", "asked to")
    done = retraining_clone.retrain()
    report = json.loads(done.stdout)
    assert f"starting from the base, not from classifier/{model['version']}" in done.stderr, done.stderr
    assert "learned from rows that are suppressed now" in done.stderr
    assert report["version"] == "classifier/3", report
    assert start_of(retraining_clone, "classifier/3") == {"from": "base"}
    assert retraining_clone.query("lineage", "row", name)["free"][-1] == "classifier/3"
    assert retraining_clone.assert_consistent()
    retraining_clone.assert_nothing_left()


def test_from_a_champion_of_another_method_it_starts_from_the_base_and_says_so(retraining_clone):
    """Whatever the checkout has: a start that somebody has put there is not the champion's either."""
    champion = retraining_clone.query("lineage", "model", "classifier@champion")["version"]
    process = retraining_clone.clone.python("-c", CONTINUE)
    assert process.returncode == 0, process.stderr
    written = retraining_clone.clone.python(
        "-c", "from flows.project import params_editor; params_editor.write(['train.method=probe'])"
    )
    assert written.returncode == 0, written.stderr
    try:
        done = retraining_clone.retrain()
    finally:
        retraining_clone.clone.git("checkout", "-q", "--", "models/start.json")
    report = json.loads(done.stdout)
    assert f"starting from the base, not from classifier/{champion}" in done.stderr
    assert "train.method is 'probe', its own was 'full'" in done.stderr
    assert report["version"] == "classifier/4", report
    assert start_of(retraining_clone, "classifier/4") == {"from": "base"}
    assert retraining_clone.assert_consistent()
    retraining_clone.assert_nothing_left()
