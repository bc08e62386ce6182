"""Refuse bad data before it costs GPU time. The door to Great Expectations.

    python -m tasks.validate data/curated/rows.parquet data/curated/general.parquet models/reports/curate.json \\
        data/curated/accepted.json models/reports/validate.json models/reports/data_docs

Three verdicts. accepted: `accepted.json` names the bytes, which is all that later stages wait for, so a
changed threshold re-trains nothing. refused: the data fails an expectation (exit 1). broken: a check could
not run, so nothing is known about the data (exit 3). The report and the Data Docs are kept in each case;
they name row ids, labels and numbers, never a text.

`retune.data.task_data` names what is asked of the rows of each task. Where a model is to write, the audit of the tokens
(`retune.preflight.token_audit`) is part of the verdict, and a picture of their lengths stands beside the Data Docs. So
is that of general examples, apart: none of them is a row.
"""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from retune.config import params
from retune.data import messages, row_table, task_data
from retune.data.row_table import SPLITS
from retune.errors import Broken, Refused
from retune.system.stage_io import run, write_json

EXAMPLES = 5
MEASURES = ("text_chars", "label_rows", "near_copy", "leaked", "rejected_share")
Knobs = params.Validate | params.ValidateWriting
OfLabels = params.Validate


@dataclass(frozen=True)
class Check:
    name: str
    expected: str
    expectation: Any


@dataclass(frozen=True)
class Finding:
    name: str
    expected: str
    found: str
    success: bool
    examples: list[str]  # row ids


@dataclass(frozen=True)
class Verdict:
    verdict: str  # accepted | refused | broken
    suite_sha256: str
    expectations: list[Finding]
    rows: int
    result: dict[str, Any]  # what Great Expectations answered
    figures: dict[str, Any] | None = None  # of the tokens, where they were audited

    def report(self) -> dict[str, Any]:
        told = {name: value for name, value in asdict(self).items() if name not in ("result", "figures")}
        return told if self.figures is None else {**told, "tokens": self.figures}


@dataclass(frozen=True)
class Audited:
    """What the audit of the tokens has found, and what it was asked."""

    findings: list[Finding]
    figures: dict[str, Any]
    asked: dict[str, Any]


def validate(
    rows: pd.DataFrame,
    curated: dict[str, Any],
    params: Knobs,
    task: str = "classify",
    audited: Audited | None = None,
) -> Verdict:
    """Judge the curated rows; `curated` is the report of the stage before."""
    frame, checks = measured(rows, curated, task), suite(params, task)
    result = _ask(frame, checks, ["id", "label"] if task_data.of(task).has_labels else ["id"])
    # Great Expectations answers in an order of its own.
    answers = {answer["expectation_config"]["meta"]["name"]: answer for answer in result["results"]}
    findings = [_finding(check, answers[check.name], frame) for check in checks]
    findings += audited.findings if audited else []
    verdict = "accepted" if all(finding.success for finding in findings) else "refused"
    if any(_trouble(answer) for answer in answers.values()):
        verdict = "broken"
    digest = _digest(checks, audited.asked if audited else {})
    return Verdict(verdict, digest, findings, len(rows), result, audited.figures if audited else None)


def measured(rows: pd.DataFrame, curated: dict[str, Any], task: str = "classify") -> pd.DataFrame:
    """The rows as judged: blanks made null, and `MEASURES` appended where the columns for them are there.

    Where a model is to write, the text is measured by the words of its messages.
    """
    said = rows["text"] if "text" in rows else pd.Series(dtype="str")
    if task_data.of(task).text_is_messages:
        said = said.map(lambda text: messages.words(messages.parse(text) or []), na_action="ignore").astype("str")
    filled = ("id", "text", "label", row_table.REJECTED)
    blank = {name: rows[name].str.strip() == "" for name in filled if name in rows}
    frame = rows.assign(**{name: rows[name].mask(mask) for name, mask in blank.items()})
    asked = curated.get("reasons", {}).get("suppressed", 0)  # rows that had to be forgotten are no sign of bad data
    frame["rejected_share"] = (curated["rejected"] - asked) / max(curated["received"] - asked, 1)
    if "text" in rows:
        frame["text_chars"] = said.mask(frame["text"].isna()).str.len()
        frame["near_copy"] = nearly_same_text(said).duplicated()
    if task_data.of(task).has_labels and {"label", "given"} <= set(rows):
        learnable = frame.loc[rows["given"] != "test", "label"].value_counts()
        frame["label_rows"] = frame["label"].map(learnable).fillna(0).where(frame["label"].notna())
    if {"text", "given"} <= set(rows):
        frame["leaked"] = rows["given"].groupby(row_table.same_text(said)).transform("nunique") > 1
    return frame[[*rows.columns, *(name for name in MEASURES if name in frame)]]


def nearly_same_text(text: pd.Series) -> pd.Series:
    """The key under which texts are nearly equal: letters only, where there are any."""
    same = row_table.same_text(text)
    letters = same.str.replace(r"[\W\d_]+", " ", regex=True).str.strip()
    return letters.where(letters != "", same)


def suite(params: Knobs, task: str = "classify") -> list[Check]:
    """The checks of a task, in its order."""
    known = {check.name: check for check in [*_of_rows(params, task), *_of_labels(params)]}
    return [known[name] for name in task_data.of(task).checks if name in known]


def _of_rows(params: Knobs, task: str) -> list[Check]:
    gxe = _great_expectations().expectations
    columns = task_data.of(task).columns
    measures = [name for name in MEASURES if name != "label_rows" or task_data.of(task).has_labels]
    return [
        Check(
            "row_count",
            f"between {params.min_rows} and {params.max_rows} rows",
            gxe.ExpectTableRowCountToBeBetween(min_value=params.min_rows, max_value=params.max_rows),
        ),
        Check(
            "columns",
            f"the columns {', '.join(columns)}, and no other",
            gxe.ExpectTableColumnsToMatchOrderedList(column_list=[*columns, *measures]),
        ),
        Check("id_present", "an id in every row", gxe.ExpectColumnValuesToNotBeNull(column="id")),
        Check("text_present", "a text in every row", gxe.ExpectColumnValuesToNotBeNull(column="text")),
        Check("label_present", "a label in every row", gxe.ExpectColumnValuesToNotBeNull(column="label")),
        Check("rejected_present", "a worse answer in every row", gxe.ExpectColumnValuesToNotBeNull(column="rejected")),
        Check("id_unique", "no id twice", gxe.ExpectColumnValuesToBeUnique(column="id")),
        Check(
            "given_sides",
            f"given is {', '.join(SPLITS)} or empty",
            gxe.ExpectColumnValuesToBeInSet(column="given", value_set=[*SPLITS, ""]),
        ),
        Check(
            "text_length",
            f"texts of {params.min_chars} to {params.max_chars} characters",
            gxe.ExpectColumnValuesToBeBetween(
                column="text_chars", min_value=params.min_chars, max_value=params.max_chars
            ),
        ),
        Check(
            "near_copies",
            f"at most {params.max_duplicate_share:.4g} of the texts repeat another but for case, signs, digits",
            gxe.ExpectColumnMeanToBeBetween(column="near_copy", max_value=params.max_duplicate_share),
        ),
        Check(
            "rejected_share",
            f"at most {params.max_rejected_share:.4g} of the received rows rejected by curate",
            gxe.ExpectColumnMaxToBeBetween(column="rejected_share", max_value=params.max_rejected_share),
        ),
        Check(
            "leaked_rows",
            f"at most {params.max_leaked_rows} rows whose text also stands on another side",
            gxe.ExpectColumnSumToBeBetween(column="leaked", max_value=params.max_leaked_rows),
        ),
    ]


def _of_labels(params: Knobs) -> list[Check]:
    if not isinstance(params, OfLabels):
        return []
    gxe = _great_expectations().expectations
    checks = [
        Check(
            "label_count",
            f"at least {params.min_labels} labels",
            gxe.ExpectColumnUniqueValueCountToBeBetween(column="label", min_value=params.min_labels),
        ),
        Check(
            "rows_per_label",
            f"at least {params.min_rows_per_label} rows, not given as test, for every label",
            gxe.ExpectColumnValuesToBeBetween(column="label_rows", min_value=params.min_rows_per_label),
        ),
    ]
    if params.labels:
        known = gxe.ExpectColumnValuesToBeInSet(column="label", value_set=params.labels)
        checks.append(Check("known_labels", f"no label but {', '.join(params.labels)}", known))
    return checks


def _great_expectations() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read at import
    import great_expectations
    import great_expectations.expectations

    return great_expectations


def _ask(frame: pd.DataFrame, checks: list[Check], shown: list[str]) -> dict[str, Any]:
    """What Great Expectations answers; of rows that fail it shows the columns `shown`."""
    gx = _great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("curated").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    for check in checks:
        check.expectation.description, check.expectation.meta = check.expected, {"name": check.name}
    named = gx.ExpectationSuite("curated", [check.expectation for check in checks])
    wanted = {
        "result_format": "SUMMARY",
        "partial_unexpected_count": EXAMPLES,
        "unexpected_index_column_names": shown,
    }
    answer = batch.validate(named, result_format=wanted).to_json_dict()
    return json.loads(json.dumps(answer))  # it holds numbers of numpy, which its own Data Docs cannot print


def _finding(check: Check, answer: dict[str, Any], frame: pd.DataFrame) -> Finding:
    trouble = _trouble(answer)
    if trouble:
        return Finding(check.name, check.expected, f"the check broke: {trouble}", False, [])
    if answer["success"]:
        return Finding(check.name, check.expected, _found(answer["result"]), True, [])
    column = answer["expectation_config"]["kwargs"].get("column")
    if column in frame and frame[column].dtype == bool:
        ids = frame.loc[frame[column], "id"].head(EXAMPLES).fillna("")
    else:
        ids = [row["id"] or "" for row in answer["result"].get("partial_unexpected_index_list", [])]
    return Finding(check.name, check.expected, _found(answer["result"]), False, [*ids])


def _found(result: dict[str, Any]) -> str:
    if "observed_value" in result:
        value = result["observed_value"]
        if isinstance(value, list):
            return ", ".join(name for name in value if name not in MEASURES)
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    found = f"{result['unexpected_count']} of {result['element_count']} rows otherwise"
    values = [value for value in result["partial_unexpected_list"] if value is not None]
    if not values:
        return found
    labels = dict.fromkeys(row["label"] for row in result["partial_unexpected_index_list"] if "label" in row)
    told = [f"{value:g}" if isinstance(value, float) else str(value) for value in dict.fromkeys(values)]
    return f"{found}, such as {', '.join(told)}" + (f" (label {', '.join(map(str, labels))})" if labels else "")


def _trouble(answer: dict[str, Any]) -> str:
    """Why a check could not run; empty if it ran. The answer is flat, or has one entry a failed measure."""
    info = answer["exception_info"]
    parts = [info] if "raised_exception" in info else list(info.values())
    return "; ".join(dict.fromkeys(part["exception_message"] for part in parts if part["raised_exception"]))


def _digest(checks: list[Check], audit: dict[str, Any]) -> str:
    configs = [check.expectation.configuration.to_json_dict() for check in checks]
    plain = [{"type": config["type"], "kwargs": config["kwargs"]} for config in configs]
    plain += [audit] if audit else []
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


# Great Expectations dresses its page with style sheets, scripts and pictures from half a dozen sites, so without a
# network it is bare and does not even tell success from failure. HEAD stands in for them; its policy lets nothing run.
OUTSIDE = re.compile(r"<(script|style|footer|title)\b.*?</\1>|<(link|img)\b[^>]*>| onclick=\"[^\"]*\"", re.DOTALL)
HEAD = """<title>Data docs</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --ground: #fff; --head: #f3f5f7;
  --good: #00754f; --bad: #c03000 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa4af; --line: #3d444d; --ground: #0d1117;
  --head: #1b2129; --good: #3fc99a; --bad: #ff8a5c } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 72rem;
  margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: anywhere }
h4, h5, h6, .h6, p { margin: 0; font-size: 1rem } h4 { font-size: 1.6rem } h5 { font-size: 1.1rem }
.h6 { font-weight: 600 } .lead, .card-text { color: var(--soft) } a { color: inherit }
.container-fluid > .row { display: grid; gap: 2rem; grid-template-columns: 14rem minmax(0, 1fr) }
.ge-section .row { display: block } .sticky { position: sticky; top: 1rem } .card, .ge-section { margin-top: 1.5rem }
.ge-section { padding: 0 } .ge-section:first-child { margin-top: 0 } ul { list-style: none; margin: 0; padding: 0 }
label { display: block } .ge-section h6 { margin-top: 1rem }
.alert { background: var(--head); padding: .5rem .8rem; border-radius: .4rem } .table-responsive { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 600 } .table > * > tr > :first-child { width: 8rem }
.table > * > tr > :last-child { width: 35% } .table-sm > * > tr > :first-child { width: 16rem }
.text-success { color: var(--good) } .text-danger { color: var(--bad) } i { font-style: normal; font-weight: 600 }
td .fa-check-circle::before { content: "passed" } td .fa-times::before { content: "failed" }
td .fa-exclamation-triangle::before { content: "broken" }
.navbar-expand-md, .collapse, p:has(> [data-toggle=collapse]) { display: none }
body:has(#option2:checked) :is(tr:has(> .hide-succeeded-validation-target-child),
  .ge-section:has(.hide-succeeded-validations-column-section-target-child)) { display: none }
@media (max-width: 45rem) { .container-fluid > .row { display: block }
  .sticky { position: static; margin-bottom: 1.5rem } }
</style>"""


def data_docs(result: dict[str, Any]) -> str:
    """Great Expectations' own page of the result, the same for the same result: no time, no random ids, no network."""
    _great_expectations()
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResultSchema
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    # The page shows values of the data unescaped, so a label could run a script in the reader's browser.
    escaped = json.loads(json.dumps({**result, "meta": {}}).replace("<", "&lt;").replace(">", "&gt;"))
    loaded = ExpectationSuiteValidationResultSchema().load(escaped)
    document = ValidationResultsPageRenderer().render(loaded)
    page = DefaultJinjaPageView().render(document, show_how_to_buttons=False)
    page = OUTSIDE.sub("", page).replace("</head>", f"{HEAD}</head>", 1)
    page = re.sub(r'href="(\.\./)+[^"]*\.html', 'href="#', page)  # this page is the whole site
    seen: dict[str, str] = {}
    uuid = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    return re.sub(uuid, lambda match: seen.setdefault(match[0], f"part-{len(seen)}"), page)


def _audited(
    rows: pd.DataFrame, examples: pd.DataFrame, knobs: params.Instruct | params.Prefer, picture: Path
) -> Audited | None:
    """The tokens of the rows. Without a column for them there is nothing to audit, and a check says so."""
    from retune.evaluation import plots
    from retune.preflight import token_audit  # a classifier has none of it, and pays for none

    if not {*task_data.of(knobs.task).columns} <= set(rows):
        return None
    train, limits = knobs.train, knobs.validate.preflight
    found = token_audit.of_base(rows, train, limits)
    plots.lengths(found.lengths, train.max_tokens, picture)
    asked = {"template": train.template, "max_tokens": train.max_tokens, "too_long": train.too_long, **vars(limits)}
    findings, figures = found.findings, found.figures
    if general := token_audit.of_general(examples, train, limits):
        findings, figures = findings + general.findings, {**figures, "general": general.figures}
        asked["general"] = [finding.name for finding in general.findings]
    return Audited([Finding(**vars(finding)) for finding in findings], figures, asked)


def main(curated: Path, general: Path, curate_json: Path, accepted: Path, report_json: Path, docs: Path) -> None:
    accepted.unlink(missing_ok=True)
    rows, knobs = row_table.read(curated), params.load()
    docs.mkdir(parents=True, exist_ok=True)
    audited = None
    if not isinstance(knobs, params.Classify):
        audited = _audited(rows, row_table.read(general), knobs, docs / "lengths.png")
    reported = json.loads(curate_json.read_text("utf-8"))
    judged = validate(rows, reported, knobs.validate, knobs.task, audited)
    (docs / "index.html").write_text(data_docs(judged.result), "utf-8")
    write_json(judged.report(), report_json)
    failed = [finding for finding in judged.expectations if not finding.success]
    for finding in failed:
        such = f" Rows: {', '.join(finding.examples)}." if finding.examples else ""
        print(f"{finding.name}: expected {finding.expected}; found {finding.found}.{such}")
    names, count = ", ".join(f"{finding.name} ({finding.found})" for finding in failed), len(judged.expectations)
    where = f"{report_json.absolute()} and {(docs / 'index.html').absolute()}"  # read elsewhere: a mail, the history
    if judged.verdict == "broken":
        raise Broken(f"the checks could not all run, so nothing is known about the data: {names}; see {where}")
    if judged.verdict == "refused":
        raise Refused(f"the data fails {len(failed)} of {count} expectations: {names}; see {where}")
    digest = hashlib.sha256(curated.read_bytes()).hexdigest()
    write_json({"accepted": True, "rows": judged.rows, "sha256": digest}, accepted)
    print(f"accepted {judged.rows} rows under {count} expectations")


if __name__ == "__main__":
    run(main)
