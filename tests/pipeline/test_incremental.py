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
def house(new_clone, prefect_url, tmp_path_factory):
    """Version 1 from the base, on three queues; version 2 continued from it, when more tickets of four had come."""
    made = new_clone(tmp_path_factory.mktemp("house"), PREFECT_API_URL=prefect_url)
    (made.folder / ".git/info/exclude").write_text("/*.csv\n")
    tickets = pd.read_csv(made.folder / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    queues = tickets.groupby("queue", sort=False)
    first = pd.concat([queues.get_group(queue).head(50) for queue in ("billing", "delivery", "sign_in")])
    more = [queues.get_group(queue).iloc[50:80] for queue in ("billing", "delivery", "sign_in", "refunds")]
    first.to_csv(made.folder / "first.csv", index=False)
    pd.concat(more).to_csv(made.folder / "more.csv", index=False)
    assert made.retune("ingest", "first.csv", *COLUMNS).returncode == 0
    words = [word for key, value in SETTINGS.items() for word in ("-S", f"{key}={value}")]
    run(made, *words)
    done = made.python("-c", CONTINUE)
    assert done.returncode == 0, done.stderr
    assert made.retune("ingest", "more.csv", *COLUMNS).returncode == 0
    run(made)
    return made


def run(house, *words, codes=(0, 1)):
    done = house.retune("run", *words, timeout=600)
    assert done.returncode in codes, done.stdout + done.stderr
    return done


def ask(house, *words, code=0):
    done = house.retune(*words, "--json", timeout=600)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr
    return json.loads(done.stdout)


def record(house, version):
    return ask(house, "lineage", "model", f"classifier/{version}")["record"]


@pytest.fixture(scope="module")
def learned_first(house):
    """The train side of version 1."""
    md5 = record(house, 1)["data"]["sides"]["train"]["md5"]
    return pd.read_parquet(house.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:])


def test_the_record_says_from_what_it_continued_and_with_which_rows(house):
    first, second = record(house, 1), record(house, 2)
    assert first["training"]["start"] == {"from": "base"}
    begins = second["training"]["start"]
    assert begins["from"] == "classifier/1"
    assert begins["model_md5"] == first["pipeline"]["hashes"]["models/candidate"]
    assert begins["train_md5"] == first["data"]["sides"]["train"]["md5"]
    assert begins["new_labels"] == ["refunds"]
    both = {name: sum(told["data"]["sides"][side]["rows"] for side in ("train", "val")) for name, told in
            (("first", first), ("second", second))}  # fmt: skip
    assert begins["new_rows"] == both["second"] - both["first"]
    assert 0.2 * both["first"] <= begins["old_rows"] <= 0.2 * both["first"] + 3
    assert second["training"]["rows"] == begins["new_rows"] + begins["old_rows"]
    assert "train: models/start.json" in " ".join(second["started"]["why"])


def test_every_link_to_where_it_started_is_computed_again(house):
    told = ask(house, "verify", "classifier/2")
    names = {link["name"] for link in told["links"]}
    assert {"start", "start from classifier/1", "record of classifier/1", "start/models/candidate"} <= names
    assert {"suppressed rows learned by classifier/1", "test rows learned by classifier/1"} <= names
    with damaged(house, record(house, 2)["training"]["start"]["train_md5"]):
        wrong = [link["name"] for link in ask(house, "verify", "classifier/2", code=1)["links"] if not link["ok"]]
    assert "start/data/splits/train.parquet" in wrong


@contextmanager
def damaged(house, md5):
    path = house.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    kept = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        yield
    finally:
        path.write_bytes(kept)


def test_the_difference_names_both_starts(house):
    start = ask(house, "lineage", "diff", "classifier/1", "classifier/2")["start"]
    assert start["from"] == {"before": "base", "after": "classifier/1"}


def test_data_that_only_the_first_was_trained_on_taught_the_second_too(house):
    seen = ask(house, "lineage", "data", record(house, 1)["data"]["sides"]["train"]["md5"])["versions"]
    assert [(each["version"], each["side"], each["via"]) for each in seen] == [
        (1, "train", None),
        (2, "train", "classifier/1"),
    ]


def test_it_is_rebuilt_to_the_bit(house, tmp_path):
    done = house.retune("reproduce", "classifier/2", "--into", tmp_path / "rebuilt", "--json", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["proved"] == "bit-identical"
    assert "The model and splits of classifier/1, from which it continued, came from the store." in told["environment"]


def test_it_cannot_be_rebuilt_once_the_bytes_it_started_from_are_gone(house, tmp_path):
    md5 = record(house, 2)["training"]["start"]["model_md5"]
    path = house.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    path.rename(tmp_path / "kept")
    try:
        done = house.retune("reproduce", "classifier/2", timeout=300)
    finally:
        shutil.move(tmp_path / "kept", path)
    assert done.returncode == 1
    assert "models/candidate of classifier/1: bytes gone, hashes kept" in done.stderr


def test_from_a_champion_that_learned_from_a_suppressed_row_nothing_continues_and_the_base_is_free(
    house, learned_first
):
    """Stands last: it registers a third version."""
    name = learned_first["id"][7]
    told = ask(house, "forget", name, "--reason", "asked to")
    assert told["learned"] == ["classifier/1", "classifier/2"]
    before = house.git("for-each-ref")
    done = run(house, codes=(1,))
    assert "cannot continue from classifier/1: classifier/1 (1) learned from rows that must not be" in done.stderr
    assert house.git("for-each-ref") == before, "nothing was registered"
    (house.folder / "models/start.json").write_text('{"from": "base"}\n')
    run(house)
    told = ask(house, "lineage", "row", name)
    assert [each["version"] for each in told["versions"]] == [1, 2]
    assert told["free"] == ["classifier/3"]
    assert ask(house, "verify", "classifier/3")["ok"]


def test_a_run_with_a_start_that_says_nothing_is_refused_in_words(house):
    path = house.folder / "models/start.json"
    kept = path.read_bytes()
    path.write_text('{"from": "classifier/1"}\n')
    try:
        done = house.retune("run", timeout=300)
    finally:
        path.write_bytes(kept)
    assert done.returncode == 1
    assert "models/start.json says no start" in done.stderr
    assert "Traceback" not in done.stderr


# ---- a desk whose retrainings continue by themselves


@pytest.fixture(scope="module")
def desk(new_clone, prefect_url, make_retraining_clone, tmp_path_factory):
    clone = new_clone(tmp_path_factory.mktemp("desk"), PREFECT_API_URL=prefect_url)
    more = {**SETTINGS, "trigger.incremental": True, "trigger.new_rows": 30}
    more |= {"promote.max_label_recall_loss": 1.0, "promote.max_slice_loss": 1.0, "promote.calibration_error_rise": 1.0}
    return make_retraining_clone(clone, tmp_path_factory.mktemp("inbox"), ("billing", "delivery", "sign_in"), **more)


def start_of(desk, version):
    return desk.query("lineage", "model", version)["record"]["training"]["start"]


def test_the_first_retraining_has_nothing_to_continue_from(desk):
    desk.deliver("start.csv", desk.rows[:150])
    assert desk.retrain_report()["outcome"] == "promoted"
    assert start_of(desk, "classifier/1") == {"from": "base"}


def test_the_next_continues_from_the_champion_and_leaves_the_checkout_alone(desk):
    before = desk.checkout_state()
    desk.deliver("more.csv", desk.rows[150:200])
    done = desk.retrain()
    told = json.loads(done.stdout)
    assert told["version"] == "classifier/2", done.stderr
    begins = start_of(desk, "classifier/2")
    assert begins["from"] == "classifier/1"
    assert 0 < begins["new_rows"] <= 50 and begins["old_rows"] < 150
    assert desk.checkout_state() == before
    assert json.loads((desk.clone.folder / "models/start.json").read_text()) == {"from": "base"}
    assert desk.query("verify", "classifier/2")["ok"]
    desk.assert_nothing_left()


def test_that_it_continued_is_no_reason_to_train_again(desk):
    told = desk.retrain_report()
    assert told["outcome"] == "nothing to do", told
    assert told["inputs"]["changes"] == [], "also where the rows of a version that was worse are set aside"


def test_from_a_champion_that_learned_from_a_suppressed_row_it_starts_from_the_base(desk):
    made = desk.query("lineage", "model", "classifier@champion")
    train = made["record"]["data"]["sides"]["train"]["md5"]
    name = pd.read_parquet(desk.cached_file(train))["id"].iloc[3]
    desk.query("forget", name, "--reason", "asked to")
    done = desk.retrain()
    told = json.loads(done.stdout)
    assert f"starting from the base, not from classifier/{made['version']}" in done.stderr, done.stderr
    assert "learned from rows that are suppressed now" in done.stderr
    assert told["version"] == "classifier/3", told
    assert start_of(desk, "classifier/3") == {"from": "base"}
    assert desk.query("lineage", "row", name)["free"][-1] == "classifier/3"
    assert desk.assert_consistent()
    desk.assert_nothing_left()


def test_from_a_champion_of_another_method_it_starts_from_the_base_and_says_so(desk):
    """Whatever the checkout has: a start that somebody has put there is not the champion's either."""
    champion = desk.query("lineage", "model", "classifier@champion")["version"]
    made = desk.clone.python("-c", CONTINUE)
    assert made.returncode == 0, made.stderr
    written = desk.clone.python(
        "-c", "from flows.project import params_editor; params_editor.write(['train.method=probe'])"
    )
    assert written.returncode == 0, written.stderr
    try:
        done = desk.retrain()
    finally:
        desk.clone.git("checkout", "-q", "--", "models/start.json")
    told = json.loads(done.stdout)
    assert f"starting from the base, not from classifier/{champion}" in done.stderr
    assert "train.method is 'probe', its own was 'full'" in done.stderr
    assert told["version"] == "classifier/4", told
    assert start_of(desk, "classifier/4") == {"from": "base"}
    assert desk.assert_consistent()
    desk.assert_nothing_left()
