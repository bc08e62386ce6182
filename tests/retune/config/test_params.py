import copy
import re
from typing import get_type_hints

import pytest
import yaml
from pydantic.dataclasses import is_pydantic_dataclass

from retune.config import params
from retune.config.sources import KINDS
from retune.errors import WrongUse
from tests.support.environment import READING, ROOT

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
GONE = object()


def changed(path, value):
    values = copy.deepcopy(SHIPPED)
    *parents, last = path.split(".")
    place = values
    for name in parents:
        place = place[name]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return values


def test_the_shipped_file_is_complete_and_of_the_right_types():
    loaded = params.load(ROOT / "params.yaml")
    assert loaded.train.lora.rank == SHIPPED["train"]["lora"]["rank"]
    assert loaded.task == "classify"


@pytest.mark.parametrize("task", [name for name in params.TASKS if name != "classify"])
def test_the_file_of_each_task_is_complete_and_has_the_same_sections(task):
    loaded = params.load(ROOT / "retune/config/defaults" / f"{task}.yaml")
    assert isinstance(loaded, params.TASKS[task])
    assert set(vars(loaded)) == set(SHIPPED)


@pytest.mark.parametrize("kind", params.TASKS.values())
def test_every_section_is_strict(kind):
    sections = {name: hint for name, hint in get_type_hints(kind).items() if name != "task"}
    assert all(is_pydantic_dataclass(hint) for hint in sections.values())


@pytest.mark.parametrize("task", ["clasify", None, 3])
def test_an_unknown_task_is_refused_with_those_there_are(task):
    with pytest.raises(WrongUse, match=f"task is {task!r}: write one of classify, instruct"):
        params.parse({**SHIPPED, "task": task})


def test_a_section_cannot_be_changed():
    with pytest.raises(AttributeError):
        params.load(ROOT / "params.yaml").train.seed = 3


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("train.lora.rank", "16", "'16'"),
        ("train.lora.rank", 16.0, "16.0"),
        ("train.lora.rank", 0, "greater than or equal to 1"),
        ("train.lora.rank", True, "True"),
        ("train.lora.rank", None, "None"),
        ("train.lora.rank", GONE, "is missing"),
        ("train.lora.rnak", 16, "is not a parameter of Retune"),
        ("train.lora", 3, "3"),
        ("train.lora", GONE, "is missing"),
        ("train.full.learning_rate", "2e-4", "write 2.0e-4"),
        ("train.full.learning_rate", 0.0, "greater than 0"),
        ("train.full.learning_rate", float("nan"), "nan"),
        ("train.full.learning_rate", float("inf"), "inf"),
        ("train.weight_decay", float("inf"), "inf"),
        ("train.method", "fll", "'probe', 'lora' or 'full'"),
        ("train.base.name", "all-MiniLM-L6-v2", "'all-MiniLM-L6-v2'"),
        ("train.base.name", "hub:org/model@main", "'hub:org/model@main'"),
        ("train.base.sha256", "53AA", "'53AA'"),
        ("train.refit", "yes", "'yes'"),
        ("train.refit", 1, "1"),
        ("train.dropout", 1.0, "less than 1"),
        ("train.schedule", "step", "'step'"),
        ("split.seed", -1, "-1"),
        ("split.val_share", 0.5, "less than 0.5"),
        ("split.missing_label.val", "ignore", "'refuse' or 'warn'"),
        ("validate.labels", "billing", "'billing'"),
        ("validate.labels", [1], "1"),
        ("evaluate.confidence", 95, "95"),
        ("evaluate.bootstrap", 10, "greater than or equal to 100"),
        ("register.name", "../up", "'../up'"),
        ("register.name", "", "''"),
        ("promote.metric", "f1", "'accuracy' or 'macro_f1'"),
        ("promote.min_detectable_gain", 0.0, "greater than 0"),
        ("promote.power", 80, "80"),
        ("promote.max_label_recall_loss", -0.1, "greater than or equal to 0"),
        ("promote.max_slice_loss", 1.1, "less than or equal to 1"),
        ("promote.slices", ["month"], "'source', 'columns' or 'known'"),
        ("promote.slices", "source", "'source'"),
        ("promote.calibration_error_rise", float("nan"), "nan"),
        ("promote.calibration_bins", 0, "greater than or equal to 1"),
        ("promote.latency_ratio", 0.0, "greater than 0"),
        ("promote.latency_ratio", float("inf"), "inf"),
        ("latency.passes", 0, "greater than or equal to 1"),
        ("latency", GONE, "is missing"),
        ("promote", GONE, "is missing"),
        ("server", {}, "is not a parameter of Retune"),
    ],
)
def test_a_wrong_value_is_refused_by_its_dotted_path(path, value, expected):
    with pytest.raises(WrongUse) as refused:
        params.parse(changed(path, value))
    message = str(refused.value)
    assert message.startswith(f"params.yaml: {path}")
    assert expected in message


def test_an_element_of_a_list_is_named_by_its_place():
    with pytest.raises(WrongUse, match=r"validate\.labels\.1 is 2"):
        params.parse(changed("validate.labels", ["a", 2]))


COLUMNS = {"text": "body", "label": "queue", "id": "id", "group": None, "split": None, "rejected": None, "keep": []}
OF_EACH = {"name": "drop", "columns": COLUMNS, "licence": None, "collected": None}
FILES = {**OF_EACH, "kind": "files", "path": "/srv", "reading": READING}
HTTP = {
    **OF_EACH,
    "kind": "http",
    "url": "https://desk.example.com/tickets?all=1",
    "cursor": {"param": "since", "field": "at", "start": None},
    "authorization_env": "DESK_TOKEN",
}
SQL = {
    **OF_EACH,
    "kind": "sql",
    "url_env": "DESK_URL",
    "query": "SELECT * FROM tickets WHERE at >= :cursor",
    "cursor_column": "at",
    "cursor_type": "time",
    "cursor_start": "1970-01-01",
}


def test_a_source_is_one_of_three_kinds():
    named = [{**each, "name": each["kind"]} for each in (FILES, HTTP, SQL)]
    assert [source.kind for source in params.parse(changed("fetch.sources", named)).fetch.sources] == [
        "files",
        "http",
        "sql",
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({**FILES, "kind": "ftp"}, "0.kind is 'ftp': write one of files, http, sql"),
        ({**FILES, "kind": None}, "0.kind is None"),
        ({**FILES, "path": "exports"}, "0.path: not an absolute path: 'exports'"),
        ({**FILES, "name": "a/b"}, "0.name is 'a/b'"),
        ({**FILES, "url": "x"}, "0.url is not a parameter of Retune"),
        ({**FILES, "columns": {**COLUMNS, "text": ""}}, "0.columns.text is ''"),
        ({**FILES, "columns": {"text": "a"}}, "0.columns.label is missing"),
        (OF_EACH | {"kind": "files", "path": "/srv"}, "0.reading is missing: run `retune params migrate`"),
        ({**FILES, "reading": {**READING, "header": None}}, "0.reading.header is None"),
        ({**SQL, "reading": READING}, "0.reading is not a parameter of Retune"),
        ({**SQL, "columns": {**COLUMNS, "text": None}}, "0.columns.text is None"),
        ({**HTTP, "columns": {**COLUMNS, "id": None}}, "0.columns.id is None"),
        ({**HTTP, "authorization_env": "Bearer s3cret"}, "0.authorization_env: name the environment variable"),
        ({**HTTP, "url": "https://me:s3cret@desk/"}, "0.url: write http(s)://HOST/PATH, without user, password"),
        ({**HTTP, "url": "ftp://desk/"}, "0.url: write http(s)://"),
        ({**SQL, "url_env": "postgresql://me:s3cret@desk/d"}, "0.url_env: name the environment variable"),
        ({**SQL, "query": "DELETE FROM t WHERE a > :cursor"}, "Write one SELECT"),
        ({**SQL, "query": "SELECT a::cursor FROM t"}, "reads every row each time"),
        ("tickets.csv", "0 is 'tickets.csv'"),
    ],
)
def test_a_wrong_source_is_refused_by_its_path_and_no_secret_is_repeated(source, expected):
    with pytest.raises(WrongUse) as refused:
        params.parse(changed("fetch.sources", [source]))
    assert "params.yaml: fetch.sources.0" in str(refused.value)
    assert expected in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_the_example_of_the_page_on_sources_is_taken_as_it_stands():
    page = (ROOT / "docs/how-to/data/connect-sources.md").read_text("utf-8")
    (example,) = re.findall(r"```yaml\n(fetch:\n.*?)```", page, re.DOTALL)
    sources = yaml.safe_load(example)["fetch"]["sources"]
    assert [source.kind for source in params.parse(changed("fetch.sources", sources)).fetch.sources] == [*KINDS]


def test_two_sources_of_one_name_would_share_a_cursor():
    with pytest.raises(WrongUse, match=r"fetch\.sources: two sources are called 'drop'"):
        params.parse(changed("fetch.sources", [FILES, {**FILES, "path": "/other"}]))


def test_every_wrong_value_is_named_at_once():
    values = changed("train.epochs", 0)
    values["split"]["seed"] = "x"
    with pytest.raises(WrongUse) as refused:
        params.parse(values)
    assert "train.epochs" in str(refused.value)
    assert "split.seed" in str(refused.value)


@pytest.mark.parametrize("name", ["package:a-base", "folder:/some where/base", "hub:org/name@" + "a" * 40])
def test_the_three_ways_to_name_a_base(name):
    assert params.parse(changed("train.base.name", name)).train.base.name == name


def test_a_whole_number_will_do_for_a_share():
    assert params.parse(changed("promote.margin_over_base", 0)).promote.margin_over_base == 0


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "\x00", "train: 3"])
def test_a_file_that_is_no_params_file_is_refused_in_words(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(WrongUse, match=r"params\.yaml"):
        params.load(path)


def test_bytes_that_are_no_text_are_refused_in_words(tmp_path):
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(WrongUse, match="is not YAML"):
        params.load(tmp_path / "params.yaml")


def load_with(tmp_path, path, text):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(changed(path, "HERE")).replace("HERE", text), "utf-8")
    return params.load(tmp_path / "params.yaml")


def test_what_yaml_takes_for_a_date_is_the_word_that_was_written(tmp_path):
    assert load_with(tmp_path, "register.name", "2026-11-22").register.name == "2026-11-22"
    with pytest.raises(WrongUse, match=r"train\.epochs is '2026-11-22'"):
        load_with(tmp_path, "train.epochs", "2026-11-22")
    with pytest.raises(WrongUse, match="is not YAML"):
        load_with(tmp_path, "register.name", "2026-13-45")


def test_a_missing_file_is_wrong_use(tmp_path):
    with pytest.raises(WrongUse, match="run this in the folder that holds it"):
        params.load(tmp_path / "params.yaml")


def test_a_value_is_found_by_the_path_that_a_stage_names():
    assert params.at(SHIPPED, "task") == "classify"
    assert params.at(SHIPPED, "train.lora.rank") == SHIPPED["train"]["lora"]["rank"]
    assert params.at(SHIPPED, "train.lora.rank.more") is None
    assert params.at(SHIPPED, "train.nothing") is None


def test_only_of_pairs_one_answer_is_preferred():
    for task, promote in (("instruct", "preferred"), ("prefer", "accuracy")):
        values = yaml.safe_load((ROOT / "retune/config/defaults" / f"{task}.yaml").read_text("utf-8"))
        values["promote"]["metric"] = promote
        with pytest.raises(WrongUse, match=f"promote.metric is '{promote}'"):
            params.parse(values)


def shipped(task):
    return yaml.safe_load((ROOT / f"retune/config/defaults/{task}.yaml").read_text("utf-8"))


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5])
def test_a_share_of_general_examples_leaves_room_for_rows(share):
    values = shipped("instruct")
    values["train"]["replay_share"] = share
    with pytest.raises(WrongUse, match=rf"train.replay_share is {share}"):
        params.parse(values)


def test_two_files_of_general_examples_are_told_apart_by_their_names():
    values = shipped("instruct")
    values["curate"]["replay"] = [{"path": f"/{folder}/own.csv", "sha256": "0" * 64} for folder in ("a", "b")]
    with pytest.raises(WrongUse, match=r"curate.replay: two files are called 'own.csv'"):
        params.parse(values)


def test_pairs_have_no_general_examples():
    values = shipped("prefer")
    values["curate"]["replay"] = []
    with pytest.raises(WrongUse, match=r"curate.replay is not a parameter of Retune"):
        params.parse(values)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("curate.pii.phone_regions", ["UK", "FR"], "'UK' is no country: .*; the United Kingdom is GB"),
        ("curate.pii.phone_regions", ["XX"], "'XX' is no country"),
        ("curate.languages", ["en"], "'en' alone is told from no other"),
    ],
)
def test_a_code_that_would_find_nothing_is_refused(path, value, message):
    with pytest.raises(WrongUse, match=message):
        params.parse(changed(path, value))
