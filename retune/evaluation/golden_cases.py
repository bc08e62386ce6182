"""Golden cases: a text, and what its answer must be. A CSV file that params.yaml names by path and hash.

    name,text,label,regex,schema,not_contains
    lost parcel,Where is my parcel?,shipping,,,

A case has one expectation: `label` (of a model that writes: the whole answer), `regex` (found anywhere in the answer),
`schema` (the answer is JSON of this JSON schema, which the cell holds) or `not_contains` (whatever the case of its
letters). Adapter of `regex`, which gives up on a pattern that backtracks for too long.
"""

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import regex

from retune.config.golden import Golden
from retune.data import messages, row_table, text_keys
from retune.errors import Refused
from retune.evaluation import json_validity
from retune.system import named_file

EXPECTATIONS = ("label", "regex", "schema", "not_contains")
COLUMNS = ("name", "text", *EXPECTATIONS)
HEADER = ",".join(COLUMNS) + "\n"
LONGEST_NAME = 60
PATIENCE = 1.0  # seconds for a pattern on one answer


@dataclass(frozen=True)
class Case:
    """One text and its one expectation; the other three are empty."""

    name: str
    text: str
    label: str
    regex: str
    schema: str  # JSON
    not_contains: str

    @property
    def expected(self) -> str:
        """The expectation in words."""
        if self.label:
            return self.label
        if self.regex:
            return f"a match of {self.regex}"
        return "JSON of its schema" if self.schema else f"nothing like {self.not_contains!r}"


@dataclass(frozen=True)
class CaseResult:
    """What a model answered to a case."""

    name: str
    text: str
    expected: str
    answer: str
    confidence: float
    problem: str  # empty if the answer is as expected
    rows: list[str]  # that were learned from and hold its text: passing shows that the model remembers


def read(golden_config: Golden) -> list[Case]:
    """The cases of the file that params.yaml names; none for an empty path.

    Raises WrongUse for a file that is missing or has another hash, Refused with the line of the first bad case.
    """
    if not golden_config.path:
        return []
    content = named_file.read(golden_config.path, golden_config.sha256, "evaluate.golden")
    return parse(content, golden_config.path)


def parse(content: bytes, place: str) -> list[Case]:
    """The cases in the bytes of a file; `place` names it in messages."""
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        numbered = [(lines.line_num, row) for row in lines if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"{place} is not a CSV file in UTF-8: {error}") from None
    if not numbered:
        raise Refused(f"{place} is empty: its first line must be {HEADER.strip()}")
    cases: dict[str, Case] = {}
    for line, cells in _as_cells(numbered, place):
        where = f"{place}, line {line}"
        case = case_of(cells, cases, where)
        require_new(case, cases.values(), where)
        cases[case.name] = case
    return list(cases.values())


def _as_cells(numbered: list[tuple[int, list[str]]], place: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and cells by column; columns that a file lacks are empty."""
    header = [name.strip() for name in numbered[0][1]]
    if unknown := [name for name in header if name not in COLUMNS]:
        raise Refused(f"{place}: the column {unknown[0]!r} is none of {', '.join(COLUMNS)}")
    if "text" not in header or len(set(header)) < len(header):
        raise Refused(f"{place}: the columns are {', '.join(header)}: name `text` and each other one once")
    for line, row in numbered[1:]:
        if len(row) != len(header):
            raise Refused(
                f"{place}, line {line}: {len(row)} cells under {len(header)} columns: quote cells with commas"
            )
        yield line, dict.fromkeys(COLUMNS, "") | dict(zip(header, row, strict=True))


def case_of(cells: Mapping[str, str], names: Collection[str], where: str) -> Case:
    """The case of these cells, by column; names: of the cases there are. Raises Refused or WrongUse for a bad one."""
    kinds = [name for name in EXPECTATIONS if cells[name].strip()]
    if not cells["text"].strip():
        raise Refused(f"{where}: the text is empty")
    if len(kinds) != 1:
        which = " and ".join(kinds) or "none"
        raise Refused(f"{where}: a case has one of {', '.join(EXPECTATIONS)}, and this has {which}")
    _require_valid(kinds[0], cells[kinds[0]], where)
    name = cells["name"].strip() or name_for(cells["text"], names)
    expectation = {each: cells[each] if each in kinds else "" for each in EXPECTATIONS}
    return Case(name, cells["text"], **expectation)


def _require_valid(kind: str, value: str, where: str) -> None:
    if kind == "regex":
        try:
            regex.compile(value)
        except regex.error as error:
            raise Refused(f"{where}: the regex {value!r} is not one: {error}") from None
    if kind == "schema":
        json_validity.parse_schema(value, f"{where}: the schema")


def name_for(text: str, names: Collection[str]) -> str:
    """A name from the first words of a text, with a number where another case has it."""
    words = text_keys.without_signs(text).casefold() or "case"
    short = words if len(words) <= LONGEST_NAME else words[:LONGEST_NAME].rsplit(" ", 1)[0]
    number = 1
    while (name := short if number == 1 else f"{short} {number}") in names:
        number += 1
    return name


def require_new(case: Case, existing: Iterable[Case], where: str) -> None:
    """Raises Refused if there is such a case, or one of the same text whose answer could not be right for both."""
    for other in existing:
        if other.name == case.name:
            raise Refused(f"{where}: there is a case of the name {case.name!r} already: choose another name")
        if other.text.strip() != case.text.strip():
            continue
        if all(getattr(other, each).strip() == getattr(case, each).strip() for each in EXPECTATIONS):
            raise Refused(f"{where}: the case {other.name!r} says the same")
        for one, another in ((case, other), (other, case)):
            if one.label and (problem := problem_of(another, one.label)):
                raise Refused(
                    f"{where}: no answer fits this case and {other.name!r}, which has the same text: {problem}"
                )


def problem_of(case: Case, answer: str) -> str:
    """Why an answer is not as expected; empty if it is."""
    if case.label:
        return "" if answer.strip() == case.label.strip() else f"{_cut(case.label)} expected, not {_cut(answer)}"
    if case.not_contains:
        contains = case.not_contains.casefold() in answer.casefold()
        return f"it contains {case.not_contains!r}: {_cut(answer)}" if contains else ""
    if case.schema:
        fits = json_validity.matches_schema([answer], json.loads(case.schema))[0]
        return "" if fits else f"it is not JSON of the schema: {_cut(answer)}"
    try:
        match = regex.search(case.regex, answer, timeout=PATIENCE)
    except TimeoutError:
        return f"the pattern {case.regex!r} took longer than {PATIENCE:g} s: write one that backtracks less"
    return "" if match else f"{case.regex!r} does not match {_cut(answer)}"


def _cut(text: str) -> str:
    words = re.sub(r"\s+", " ", text).strip()
    return repr(words if len(words) <= 100 else f"{words[:99]}…")


def ids_by_case(cases: Sequence[Case], rows: pd.DataFrame) -> dict[str, list[str]]:
    """Name of a case -> ids of the rows whose words it holds; of messages, the last one counts. rows: id, text."""
    keys = _keys(rows["text"])
    names = dict(
        zip((case.name for case in cases), _keys(pd.Series([case.text for case in cases], dtype="str")), strict=True)
    )
    matches = rows["id"][keys.isin(set(names.values()) - {""})].groupby(keys).agg(list).to_dict()
    return {name: list(dict.fromkeys(matches[key])) for name, key in names.items() if key in matches}


def _keys(texts: "pd.Series[str]") -> "pd.Series[str]":
    return text_keys.same(texts.map(_words).astype("str"))


def _words(text: str) -> str:
    conversation = messages.parse(text)
    return row_table.clean(messages.words(conversation[-1:]) if conversation else text)


def results(
    cases: Sequence[Case],
    answers: Sequence[str],
    confidence: Sequence[float],
    learned_ids: Mapping[str, list[str]] | None = None,
) -> list[CaseResult]:
    """What a model answered to each case, those that it failed first. learned_ids: of `ids_by_case`."""
    ids = learned_ids or {}
    every = [
        CaseResult(
            case.name, case.text, case.expected, answer, float(sure), problem_of(case, answer), ids.get(case.name, [])
        )
        for case, answer, sure in zip(cases, answers, confidence, strict=True)
    ]
    return sorted(every, key=lambda result: not result.problem)


def headline(case_results: Sequence[CaseResult]) -> dict[str, float]:
    """Flat numbers of evaluate.json."""
    failed = sum(bool(result.problem) for result in case_results)
    return {"golden_cases": len(case_results), "golden_failed": failed}


def as_details(case_results: Sequence[CaseResult]) -> dict[str, Any]:
    """The part of details.json; empty without cases."""
    return {"golden": [asdict(result) for result in case_results]} if case_results else {}


def with_case(content: bytes, case: Case) -> bytes:
    """The bytes of a file with one more line; the lines before stay as they are."""
    text = content.decode("utf-8-sig") or HEADER
    header = next(csv.reader(io.StringIO(text, newline="")))
    columns = [name.strip() for name in header]
    values = asdict(case)
    if missing := [name for name in COLUMNS if values[name] and name not in columns]:
        raise Refused(f"the file of golden cases has no column {missing[0]}: add it to its first line")
    end = "\r\n" if "\r\n" in text else "\n"
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator=end).writerow([values[name] for name in columns])
    return (text if text.endswith(("\n", "\r")) else text + end).encode("utf-8") + line.getvalue().encode("utf-8")
