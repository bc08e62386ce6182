"""Refuse bad data before it costs GPU time.

    python -m tasks.validate data/curated/rows.parquet data/curated/clusters.parquet data/curated/general.parquet \\
        models/reports/curate.json data/curated/accepted.json models/reports/validate.json models/reports/data_docs

Three verdicts. accepted: `accepted.json` names the bytes, which is all that later stages wait for, so a
changed threshold re-trains nothing. refused: the data fails an expectation (exit 1). broken: a check could
not run, so nothing is known about the data (exit 3). The report and the Data Docs are kept in each case;
they name row ids, labels and numbers, never a text.

`expectations` holds the checks. The audit of the tokens is part of the verdict: `retune.preflight.text_audit` where
texts get labels, `token_audit` where a model is to write. There a picture of the lengths stands beside the Data Docs,
and general examples are audited too, apart: none of them is a row.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from retune.config import params
from retune.config.generation import turns_of
from retune.data import row_table, task_data
from retune.data.finding import Finding
from retune.errors import Broken, Refused
from retune.preflight import audit_settings
from retune.system.files import file_sha256, write_text
from retune.system.stage_io import heartbeat, run, write_json
from tasks.validate import balance, data_docs, expectations


@dataclass(frozen=True)
class Verdict:
    verdict: str  # accepted | refused | broken
    suite_sha256: str
    expectations: list[Finding]
    rows: int
    result: dict[str, Any]  # what Great Expectations answered
    figures: dict[str, Any] | None = None  # of the tokens, where they were audited

    def report(self) -> dict[str, Any]:
        """What validate.json holds."""
        report = {name: value for name, value in asdict(self).items() if name not in ("result", "figures")}
        return report if self.figures is None else {**report, "tokens": self.figures}


@dataclass(frozen=True)
class TokenAudit:
    findings: list[Finding]
    figures: dict[str, Any]
    limits: dict[str, Any]  # what was asked of the tokens


def validate(
    rows: pd.DataFrame,
    clusters: pd.DataFrame,
    curate_report: dict[str, Any],
    limits: expectations.Limits,
    task: str,
    audit: TokenAudit | None = None,
) -> Verdict:
    """The verdict on the curated rows."""
    facts = task_data.of(task, rows.columns)
    frame, checks = expectations.measure(rows, clusters, curate_report, facts), expectations.suite(limits, facts)
    result, questions = expectations.run(frame, checks, ["id", "label"] if facts.has_labels else ["id"])
    findings = expectations.findings(checks, result, frame)
    if audit:
        findings, questions = findings + audit.findings, [*questions, audit.limits]
    verdict = "accepted" if all(finding.success for finding in findings) else "refused"
    if expectations.broken(result):
        verdict = "broken"
    figures = audit.figures if audit else None
    return Verdict(verdict, expectations.digest(questions), findings, len(rows), result, figures)


def audit_tokens(
    rows: pd.DataFrame, examples: pd.DataFrame, config: params.Instruct | params.Prefer, picture: Path
) -> TokenAudit | None:
    """The tokens of the rows. None where a column for them is missing: a check reports that."""
    from retune.evaluation import plots
    from retune.models import chat_template
    from retune.preflight import token_audit  # a classifier has none of it, and pays for none

    if not {*task_data.of(config.task).columns} <= set(rows):
        return None
    train, limits = config.train, config.validate.preflight
    render = chat_template.renderer(turns_of(train))
    audit = token_audit.of_base(rows, train, limits, render)
    plots.lengths(audit.lengths, train.max_tokens, picture)
    turns, named = turns_of(train), ("template", "max_tokens", "too_long")
    questions = {**{name: getattr(train, name) for name in named}, "turns": turns, **vars(limits)}
    findings, figures = audit.findings, audit.figures
    if isinstance(config, params.Prefer):
        findings = findings + token_audit.single_answers(rows, rows, train.method, config.promote.metric, limits)
    if general := token_audit.of_general(examples, train, limits, render):
        findings, figures = findings + general.findings, {**figures, "general": general.figures}
        questions["general"] = [finding.name for finding in general.findings]
    return TokenAudit(findings, figures, questions)


def audit_texts(rows: pd.DataFrame, config: params.Classify) -> TokenAudit | None:
    """The same of texts that get labels: how many are cut."""
    from retune.preflight import text_audit

    if not {"id", "text"} <= set(rows):
        return None
    with heartbeat(f"counting the tokens of {len(rows):,} texts"):
        audit = text_audit.of_base(rows, config.train, config.validate)
    limits = {"max_tokens": config.train.max_tokens, "max_truncated_share": config.validate.max_truncated_share}
    return TokenAudit(audit.findings, audit.figures, limits)


def main(
    curated: Path, clusters: Path, general: Path, curate_json: Path, accepted: Path, report_json: Path, docs: Path
) -> None:
    accepted.unlink(missing_ok=True)
    rows, config = row_table.read(curated), params.load()
    docs.mkdir(parents=True, exist_ok=True)
    if isinstance(config, params.Classify):
        audit = audit_texts(rows, config)
    else:
        audit = audit_tokens(rows, row_table.read(general), config, docs / "lengths.png")
    curate_report = json.loads(curate_json.read_text("utf-8"))
    verdict = validate(rows, row_table.read(clusters), curate_report, config.validate, config.task, audit)
    tables = balance.of_rows(rows, task_data.of(config.task))
    write_text(docs / "index.html", data_docs.render(verdict.result, tables))
    settings = audit_settings.of(params.read())
    report = {**verdict.report(), "balance": [asdict(table) for table in tables]}
    write_json(report | ({audit_settings.KEY: settings} if settings else {}), report_json)
    failures = [finding for finding in verdict.expectations if not finding.success]
    for finding in verdict.expectations:
        if finding.examples or not finding.success:
            print(_in_words(finding))
    names, count = ", ".join(f"{finding.name} ({finding.found})" for finding in failures), len(verdict.expectations)
    paths = [report_json.absolute(), (docs / "index.html").absolute()]  # read elsewhere: in a mail, in the history
    if verdict.verdict == "broken":
        raise Broken(f"the checks could not all run, so nothing is known about the data: {names}", paths=paths)
    if verdict.verdict == "refused":
        raise Refused(f"the data fails {len(failures)} of {count} expectations: {names}", paths=paths)
    write_json({"accepted": True, "rows": verdict.rows, "sha256": file_sha256(curated)}, accepted)
    for sentence in (sentence for table in tables for sentence in table.advice):
        print(f"note: {sentence}")
    print(f"accepted {verdict.rows} rows under {count} expectations")


def _in_words(finding: Finding) -> str:
    examples = f" Rows: {', '.join(finding.examples)}." if finding.examples else ""
    if finding.success:
        return f"warning: {finding.found}.{examples}"
    return f"{finding.name}: expected {finding.expected}; found {finding.found}.{examples}"


if __name__ == "__main__":
    run(main)
