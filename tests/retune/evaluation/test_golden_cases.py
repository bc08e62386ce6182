"""Golden cases: which files are read, which are refused with line and reason, and when an answer is as expected."""

import time

import pytest

from retune.config.golden import Golden
from retune.errors import RetuneError, WrongUse
from retune.evaluation import golden_cases
from retune.evaluation.golden_cases import HEADER, Case
from retune.system.files import file_sha256
from tests.support.environment import ROOT


def case(**values):
    return Case(**{"name": "a", "text": "t", "label": "", "regex": "", "schema": "", "not_contains": "", **values})


def parse(*lines, header=HEADER):
    return golden_cases.parse((header + "".join(f"{line}\n" for line in lines)).encode(), "golden.csv")


def test_the_file_that_is_shipped_has_the_hash_of_the_parameters_and_no_case():
    from retune.config import params

    for path in ("params.yaml", "retune/config/defaults/instruct.yaml", "retune/config/defaults/prefer.yaml"):
        golden = params.load(ROOT / path).evaluate.golden
        assert (ROOT / golden.path).read_text("utf-8") == HEADER
        assert golden.sha256 == file_sha256(ROOT / golden.path)


def test_each_kind_of_case_is_read_and_gets_a_name_from_its_text():
    cases = parse(
        ',"Where is it, now?",shipping,,,',
        ",Where is it now,,^sh,,",
        "third,Say it,,,,fool",
        ',Say it,,,"{""type"": ""object""}",',
    )
    assert [each.name for each in cases] == ["where is it now", "where is it now 2", "third", "say it"]
    assert [each.expected for each in cases] == [
        "shipping",
        "a match of ^sh",
        "nothing like 'fool'",
        "JSON of its schema",
    ]


def test_columns_that_a_file_does_not_use_may_be_missing():
    (only,) = parse("hello,greetings", header="text,label\n")
    assert (only.text, only.label, only.regex) == ("hello", "greetings", "")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([",,shipping,,,"], "line 2: the text is empty"),
        ([",hello,,,,"], "line 2: a case has one of label, regex, schema, not_contains, and this has none"),
        ([",hello,a,b,,"], "this has label and regex"),
        (['a,"two\nlines",x,,,', ",hello,,(,,"], r"line 4: the regex '\(' is not one"),
        ([",hello,,,{,"], "line 2: the schema is not a JSON schema"),
        ([',hello,,,"{""type"": 3}",'], "line 2: the schema is not a JSON schema"),
        (["a,hello,x,,,", "a,bye,x,,,"], "line 3: there is a case of the name 'a' already"),
        (["a,hello,x,,,", "b, hello ,x,,,"], "line 3: the case 'a' says the same"),
        (["a,hello,x,,,", "b,hello,y,,,"], "line 3: no answer fits this case and 'a'"),
        (["a,hello,,,,SHIP", "b,hello,shipping,,,"], "no answer fits this case and 'a'"),
        (["a,hello,shipping,,,", "b,hello,,^bill,,"], "no answer fits this case and 'a'"),
        (["a,hello,x"], "line 2: 3 cells under 6 columns"),
        (['a,"hello'], "is not a CSV file"),
    ],
)
def test_a_bad_row_is_refused_with_its_line_and_the_reason(lines, reason):
    with pytest.raises(RetuneError, match=reason):
        parse(*lines)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"text,labels\n", "column 'labels' is none of"),
        (b"label\n", "name `text`"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_file_without_the_columns_is_refused(content, reason):
    with pytest.raises(RetuneError, match=reason):
        golden_cases.parse(content, "golden.csv")


def test_two_cases_of_one_text_that_one_answer_fits_stand_side_by_side():
    assert len(parse("a,hello,shipping,,,", "b,hello,,^ship,,", "c,hello,,,,fool")) == 3


def test_a_file_with_another_hash_is_refused_with_both(tmp_path):
    path = tmp_path / "golden.csv"
    path.write_text(HEADER, "utf-8")
    assert golden_cases.read(Golden(path=str(path), sha256=file_sha256(path))) == []
    with pytest.raises(WrongUse, match=rf"has sha256 {file_sha256(path)}, and evaluate.golden.sha256 is {'0' * 64}"):
        golden_cases.read(Golden(path=str(path), sha256="0" * 64))
    with pytest.raises(WrongUse, match="cannot be read"):
        golden_cases.read(Golden(path=str(tmp_path / "gone.csv"), sha256="0" * 64))
    assert golden_cases.read(Golden(path="", sha256="")) == []


@pytest.mark.parametrize(
    ("golden", "right", "wrong"),
    [
        (case(label="shipping"), "shipping\n", "Shipping"),
        (case(regex=r"\bref\w+ \d+"), "a refund 12", "refund"),
        (case(not_contains="Fool"), "dear", "you FOOL"),
        (case(schema='{"required": ["a"]}'), '{"a": 1}', '{"b": 1}'),
        (case(schema='{"required": ["a"]}'), '{"a": 1}', "no JSON"),
    ],
)
def test_an_answer_is_as_expected_or_the_problem_says_why_not(golden, right, wrong):
    assert golden_cases.problem_of(golden, right) == ""
    assert golden_cases.problem_of(golden, wrong)


def test_a_pattern_that_backtracks_for_ever_fails_its_case_in_time(monkeypatch):
    monkeypatch.setattr(golden_cases, "PATIENCE", 0.05)
    began = time.monotonic()
    problem = golden_cases.problem_of(case(regex=r"(a|aa)+$"), "a" * 60 + "!")
    assert "took longer than 0.05 s" in problem
    assert time.monotonic() - began < 5


def test_failed_cases_come_first_and_are_counted():
    cases = [case(name=name, label=label) for name, label in (("a", "x"), ("b", "y"), ("c", "x"))]
    results = golden_cases.results(cases, ["x", "x", "x"], [0.5, 0.6, 0.7])
    assert [result.name for result in results] == ["b", "a", "c"]
    assert golden_cases.headline(results) == {"golden_cases": 3, "golden_failed": 1}
    assert golden_cases.as_details(results)["golden"][0]["problem"] == "'y' expected, not 'x'"
    assert golden_cases.headline([]) == {"golden_cases": 0, "golden_failed": 0} and golden_cases.as_details([]) == {}


def test_a_case_is_added_behind_the_others_whatever_the_line_ends_and_columns():
    content = golden_cases.with_case(
        b"\xef\xbb\xbftext,label,name\r\nhello,x,a", case(name="b", text="1, 2", label="y")
    )
    assert content == b'text,label,name\r\nhello,x,a\r\n"1, 2",y,b\r\n'
    assert [each.name for each in golden_cases.parse(content, "golden.csv")] == ["a", "b"]
    with pytest.raises(RetuneError, match="has no column regex"):
        golden_cases.with_case(b"name,text,label\n", case(regex="x"))
