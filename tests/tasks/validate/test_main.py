import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from retune.config.classification import Validate
from retune.config.generation import GenerationValidate, Preflight
from retune.data import row_table, task_data
from retune.data.row_table import COLUMNS
from retune.errors import Broken, Refused
from tasks.validate import __main__ as stage
from tasks.validate import data_docs
from tasks.validate.__main__ import main
from tasks.validate.expectations import suite
from tests.support.environment import ROOT

PARAMS = Validate(
    min_rows=8,
    max_rows=20,
    min_labels=2,
    labels=["card", "cash"],
    min_rows_per_label=3,
    min_chars=3,
    max_chars=30,
    max_duplicate_share=0.1,
    max_rejected_share=0.25,
    max_leaked_rows=0,
    max_truncated_share=0.5,
)
CURATED = {"received": 12, "rejected": 2}
NONE = pd.DataFrame({"id": [], "cluster": []}, dtype="str")  # no near-copies


def validate(table, curated, params, task="classify", clusters=NONE):
    return stage.validate(table, clusters, curated, params, task)


WORDS = ["red", "orange", "yellow", "green", "blue", "indigo", "violet", "black", "white", "grey"]


def rows():
    """Ten rows that pass: four to learn from and one given as test for each of two labels."""
    table = pd.DataFrame({"id": [f"T-{n}" for n in range(10)], "text": WORDS, "label": ["card", "cash"] * 5})
    sides = ["train"] * 8 + ["test"] * 2
    return table.assign(group="", source="desk", given=sides).astype("str")[list(COLUMNS)]


def put(column, *values):
    """A fault: the first rows get other values in one column."""

    def fault(table):
        changed = table.copy()
        changed.loc[: len(values) - 1, column] = list(values)
        return changed

    return fault


FAULTS = {
    "row_count": (lambda table: table[:7].assign(given="train"), "7", []),
    "columns": (lambda table: table.assign(mood="calm"), "id, text, label, group, source, given, mood", []),
    "id_present": (put("id", " "), "1 of 10 rows otherwise", [""]),
    "text_present": (put("text", None), "1 of 10 rows otherwise", ["T-0"]),
    "label_present": (put("label", ""), "1 of 10 rows otherwise", ["T-0"]),
    "id_unique": (put("id", "T-1"), "2 of 10 rows otherwise, such as T-1 (label card, cash)", ["T-1", "T-1"]),
    "given_sides": (put("given", "dev"), "1 of 10 rows otherwise, such as dev (label card)", ["T-0"]),
    "known_labels": (
        lambda table: table.assign(label=["card"] * 4 + ["loan"] * 6),
        "6 of 10 rows otherwise, such as loan (label loan)",
        ["T-4", "T-5", "T-6", "T-7", "T-8"],
    ),
    "label_count": (lambda table: table.assign(label="card"), "1", []),
    "rows_per_label": (
        lambda table: table.assign(label=["card"] * 6 + ["cash"] * 4),  # of the four, two are given as test
        "4 of 10 rows otherwise, such as 2 (label cash)",
        ["T-6", "T-7", "T-8", "T-9"],
    ),
    "text_length": (
        put("text", "a", "b" * 31),
        "2 of 10 rows otherwise, such as 1, 31 (label card, cash)",
        ["T-0", "T-1"],
    ),
    "near_copies": (put("text", "Red 1!", "red 22", "RED?"), "0.2", ["T-1", "T-2"]),
    "leaked_rows": (put("text", "white"), "2", ["T-0", "T-8"]),
}


def failures(verdict):
    return {finding.name: finding for finding in verdict.expectations if not finding.success}


def test_near_copies_of_test_rows_are_leaked_unless_their_label_differs():
    clusters = pd.DataFrame({"id": ["T-0", "T-1", "T-8"], "cluster": "T-0"}).astype("str")
    verdict = validate(rows(), CURATED, PARAMS, clusters=clusters)
    (finding,) = failures(verdict).values()
    assert (finding.name, finding.found, finding.examples) == ("leaked_rows", "2", ["T-0", "T-8"])


def test_good_rows_are_accepted():
    verdict = validate(rows(), CURATED, PARAMS)
    assert (verdict.verdict, verdict.rows, failures(verdict)) == ("accepted", 10, {})


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_fails_its_own_expectation_alone(name):
    fault, value, examples = FAULTS[name]
    verdict = validate(fault(rows()), CURATED, PARAMS)
    assert verdict.verdict == "refused"
    assert list(failures(verdict)) == [name]
    assert failures(verdict)[name].found == value
    assert failures(verdict)[name].examples == examples


@pytest.mark.parametrize("reason", ["suppressed", "superseded"])
def test_rows_that_had_to_be_forgotten_or_were_corrected_are_no_sign_of_bad_data(reason):
    curated = {"received": 112, "rejected": 102, "reasons": {reason: 100, "empty": 2}}
    assert "rejected_share" not in failures(validate(rows(), curated, PARAMS))


def test_too_many_rejected_rows_are_refused():
    verdict = validate(rows(), {"received": 15, "rejected": 5}, PARAMS)
    assert {name: finding.found for name, finding in failures(verdict).items()} == {"rejected_share": "0.3333"}


def test_every_expectation_has_a_fault():
    assert {*suite(PARAMS, task_data.of("classify"))} == {*FAULTS, "rejected_share"}


def test_measures_at_their_limits_pass():
    at_limit = replace(PARAMS, min_rows=10, max_rows=10, max_duplicate_share=0.2, max_leaked_rows=2)
    table = put("text", "white", "red", "red 2")(rows())
    assert validate(table, {"received": 4, "rejected": 1}, at_limit).verdict == "accepted"


def test_any_label_will_do_when_none_is_named():
    table = rows().assign(label=["this", "that"] * 5)
    assert validate(table, CURATED, replace(PARAMS, labels=[])).verdict == "accepted"


def test_no_rows_are_refused():
    verdict = validate(rows()[:0], {"received": 0, "rejected": 0}, PARAMS)
    assert verdict.verdict == "refused"
    assert failures(verdict)["row_count"].found == "0"


@pytest.mark.parametrize("column", COLUMNS[:3])
def test_a_missing_column_is_a_broken_check_and_no_bad_data(column):
    assert validate(rows().drop(columns=column), CURATED, PARAMS).verdict == "broken"


def test_a_threshold_changes_the_digest_of_the_suite_and_the_rows_do_not():
    first, other_rows = (validate(table, CURATED, PARAMS).suite_sha256 for table in (rows(), rows()[:5]))
    assert first == other_rows
    assert validate(rows(), CURATED, replace(PARAMS, min_rows=1)).suite_sha256 != first


def test_the_page_is_the_same_twice_and_holds_no_text_and_no_live_markup():
    table = put("label", "<img src=x>")(put("text", "private words")(rows()))
    pages = [data_docs.render(validate(table, CURATED, PARAMS).result) for _ in range(2)]
    assert pages[0] == pages[1]
    assert "no label but card, cash" in pages[0]
    assert "private words" not in pages[0]
    assert "<img src=x" not in pages[0]
    assert re.findall(r'(?:src|style|onclick)="|href="(?!#|data:,")', pages[0]) == []


def test_no_check_touches_the_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"the network was asked for {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    data_docs.render(validate(rows(), CURATED, PARAMS).result)


PATHS = [Path(name) for name in ("rows.parquet", "curate.json", "accepted.json", "validate.json", "docs")]
CLUSTERS, GENERAL = Path("clusters.parquet"), Path("general.parquet")
ALL = [PATHS[0], CLUSTERS, GENERAL, *PATHS[1:]]  # as the stage takes them


@pytest.fixture
def stage_folder(tmp_path, monkeypatch):
    shipped = ROOT / "params.yaml"
    (tmp_path / "params.yaml").write_text(shipped.read_text("utf-8"), "utf-8")
    monkeypatch.chdir(tmp_path)
    row_table.write(NONE, CLUSTERS)
    Path("curate.json").write_text(json.dumps({"received": 260, "rejected": 0}))
    return tmp_path


def many(count=260):
    letters = "abcdefghijklmnopqrstuvwxyz"
    table = pd.DataFrame({"id": [f"T-{n}" for n in range(count)]}).astype("str")
    text = [f"{letters[n % 26]} {letters[n // 26]} words" for n in range(count)]
    label = ["card" if n % 2 else "cash" for n in range(count)]
    return table.assign(text=text, label=label, group="", source="desk", given="").astype("str")


def test_acceptance_names_the_bytes_and_nothing_that_a_threshold_changes(stage_folder):
    row_table.write(many(), PATHS[0])
    main(*ALL)
    digest = hashlib.sha256(PATHS[0].read_bytes()).hexdigest()
    assert json.loads(PATHS[2].read_text()) == {"accepted": True, "rows": 260, "sha256": digest}
    assert json.loads(PATHS[3].read_text())["verdict"] == "accepted"
    assert "Great Expectations" in (PATHS[4] / "index.html").read_text("utf-8")
    assert sorted(path.name for path in stage_folder.iterdir()) == sorted(
        [*map(str, PATHS), str(CLUSTERS), "params.yaml"]
    )


def test_a_refusal_says_what_and_which_rows_and_takes_the_acceptance_back(stage_folder, capsys):
    PATHS[2].write_text("{}")
    row_table.write(many().assign(label=["typo"] * 3 + ["card"] * 130 + ["cash"] * 127), PATHS[0])
    with pytest.raises(Refused, match=r"fails 1 of 14 expectations: rows_per_label \(3 of 260 rows") as refused:
        main(*ALL)
    assert f"see {stage_folder / PATHS[3]} and {stage_folder / PATHS[4]}/index.html" in str(refused.value)
    assert capsys.readouterr().out == (
        "rows_per_label: expected at least 10 rows, not given as test, for every label; found"
        " 3 of 260 rows otherwise, such as 3 (label typo). Rows: T-0, T-1, T-2.\n"
    )
    assert not PATHS[2].exists()
    assert json.loads(PATHS[3].read_text())["verdict"] == "refused"
    assert (PATHS[4] / "index.html").exists()


def test_texts_that_are_cut_are_told_with_rows_and_refused_above_the_share(stage_folder, capsys):
    texts = many()["text"].where(many().index >= 100, many()["text"] + " word" * 200)
    row_table.write(many().assign(text=texts), PATHS[0])
    main(*ALL)
    warning = "warning: 100 of 260 texts are longer, and their ends are cut. Rows: T-0, T-1, T-2, T-3, T-4.\n"
    assert warning in capsys.readouterr().out
    assert json.loads(PATHS[3].read_text())["tokens"]["longer_than_max_tokens"] == 100
    limit = Path("params.yaml").read_text("utf-8").replace("max_truncated_share: 0.5", "max_truncated_share: 0.3")
    Path("params.yaml").write_text(limit, "utf-8")
    with pytest.raises(Refused, match=r"truncated \(100 of 260 texts are longer"):
        main(*ALL)


def test_a_check_that_cannot_run_is_broken_and_not_refused(stage_folder):
    PATHS[2].write_text("{}")
    row_table.write(many().drop(columns="text"), PATHS[0])
    with pytest.raises(Broken, match="nothing is known about the data"):
        main(*ALL)
    assert not PATHS[2].exists()
    assert json.loads(PATHS[3].read_text())["verdict"] == "broken"


@pytest.fixture
def writing_folder(stage_folder, tiny_causal_lm):
    """The stage's folder with the params of task instruct, for the tiny base; takes changes of its train section."""

    def change(**changes):
        values = yaml.safe_load((ROOT / "retune/config/defaults/instruct.yaml").read_text("utf-8"))
        values["train"] |= {"base": {"name": f"folder:{tiny_causal_lm}", "sha256": "0" * 64}, "template": "chatml"}
        values["train"] |= changes
        values["validate"]["max_duplicate_share"] = 1.0
        Path("params.yaml").write_text(yaml.safe_dump(values), "utf-8")

    change()
    row_table.write(many(0), GENERAL)
    return change


def failed_stage():
    with pytest.raises(Refused):
        main(*ALL)
    assert not PATHS[2].exists()
    return {each["name"]: each for each in json.loads(PATHS[3].read_text())["expectations"] if not each["success"]}


def test_rows_to_write_from_are_accepted_with_the_figures_of_their_tokens(writing_folder, make_replies):
    row_table.write(make_replies(260), PATHS[0])
    main(*ALL)
    report = json.loads(PATHS[3].read_text())
    checks = list(task_data.of("instruct").checks)
    assert report["verdict"] == "accepted"
    assert [each["name"] for each in report["expectations"]][: len(checks)] == checks
    assert report["tokens"]["end_learned"] == 260
    assert report["audited_with"]["train.turns"] == "all"
    assert (PATHS[4] / "lengths.png").exists()


def test_what_the_audit_of_the_tokens_finds_refuses_the_data(writing_folder, make_replies):
    rows = make_replies(260)
    row_table.write(rows, PATHS[0])
    writing_folder(max_tokens=20)
    assert set(failed_stage()) == {"truncated", "rows_left"}
    sha256 = json.loads(PATHS[3].read_text())["suite_sha256"]
    writing_folder(max_tokens=21)
    failed_stage()
    assert json.loads(PATHS[3].read_text())["suite_sha256"] != sha256  # it was asked something else


def test_general_examples_are_audited_apart_and_are_no_rows(writing_folder, make_replies):
    row_table.write(make_replies(260), PATHS[0])
    main(*ALL)
    without = json.loads(PATHS[3].read_text())
    assert "general" not in without["tokens"]
    row_table.write(make_replies(40, seed=9), GENERAL)
    main(*ALL)
    report = json.loads(PATHS[3].read_text())
    assert (report["rows"], report["tokens"]["rows"], report["tokens"]["general"]["rows"]) == (260, 260, 40)
    assert {name: value for name, value in report["tokens"].items() if name != "general"} == without["tokens"]
    more = [each["name"] for each in report["expectations"]][len(without["expectations"]) :]
    assert more == ["general_template_fits", "general_supervised", "general_end_learned"]
    assert report["suite_sha256"] != without["suite_sha256"]


@pytest.mark.parametrize(("label", "text", "name"), [(" ", None, "supervised"), (None, "words", "template_fits")])
def test_one_general_example_that_teaches_nothing_refuses_the_data(writing_folder, make_replies, label, text, name):
    row_table.write(make_replies(260), PATHS[0])
    examples = make_replies(40, seed=9)
    examples.loc[7, ["label", "text"]] = [label or examples["label"][7], text or examples["text"][7]]
    row_table.write(examples, GENERAL)
    failed = failed_stage()
    assert f"general_{name}" in failed and all(each.startswith("general_") for each in failed)
    assert failed[f"general_{name}"]["examples"] == ["r9-0007"]


def test_an_answer_stands_in_no_report_and_on_no_page(writing_folder, make_replies):
    row_table.write(make_replies(260).assign(given="dev", label="secret words"), PATHS[0])
    failed = failed_stage()
    assert set(failed) == {"given_sides"}
    page = (PATHS[4] / "index.html").read_text("utf-8")
    assert "secret words" not in PATHS[3].read_text() + page


def test_a_pair_needs_its_worse_answer(make_replies):
    pairs = make_replies(20).assign(rejected=[" ", *["no"] * 19])
    params = GenerationValidate(
        min_rows=1,
        max_rows=99,
        min_chars=2,
        max_chars=200,
        max_duplicate_share=1.0,
        max_rejected_share=1.0,
        max_leaked_rows=0,
        preflight=Preflight(max_truncated_share=0.1, examples=3),
    )
    verdict = validate(pairs, CURATED, params, task="prefer")
    assert {name: finding.examples for name, finding in failures(verdict).items()} == {"rejected_present": ["r1-0000"]}


@pytest.mark.slow
def test_a_classifier_pays_nothing_for_the_tokens_of_others(stage_folder):
    row_table.write(many(), PATHS[0])
    program = (
        "import sys; from pathlib import Path; from tasks.validate.__main__ import main\n"
        "main(*map(Path, sys.argv[1:]))\n"
        "print(*({'torch', 'transformers'} & set(sys.modules)), file=sys.stderr)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *map(str, ALL)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""
