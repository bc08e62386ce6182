"""The model card of a version, in Markdown, from its record alone.

The same record always gives the same bytes.
"""

from retune.documents.record_facts import (
    SPLITS,
    code_text,
    datasets,
    describe_replay,
    describe_use,
    escape,
    parent_of,
    purpose_of,
    scored_models,
)
from retune.evaluation import task_metrics
from retune.lineage.record import Estimate, Record, Score, Source, Start, reasons_of


def model_card(record: Record) -> str:
    """The card, in Markdown: the purpose, data, training, scores, gate and limits of the model."""
    data, base, training, started = record["data"], record["base"], record["training"], record["started"]
    code, environment, checks = record["code"], record["environment"], data["validation"]
    suite = data["validation"]["suite_sha256"]
    torch, python = environment["torch"], environment["python"]
    scores, reasons = record["scores"], _list_reasons(data["rejected"]["reasons"])
    return f"""# {escape(record["name"])}

## Intended use
{escape(describe_use(record))} {purpose_of(record).use}
Not for decisions about people, and not for texts of another kind than those below.

## Data
{_sources_table(data["sources"])}

- {data["curated"]["rows"]} rows after curation, {data["rejected"]["rows"]} rejected, each with its reason{reasons}.
- {data["suppressed"]["ids"]} ids on the list of suppressed rows.
- Validation: {checks["verdict"]}, {checks["expectations"]} expectations, sha256 of the suite `{suite}`.
- Splits: {", ".join(f"{split} {data['sides'][split]['rows']}" for split in SPLITS)} rows; no group is in two splits.
- DVC hashes: {", ".join(f"{name} `{part['md5']}`" for name, part in datasets(record))}.

## Model
- Base `{code_text(base["name"])}`, revision `{code_text(base["revision"])}`, sha256 of its weights
  `{base["sha256"]}`. Its licence, as declared: {escape(base["licence"]) or "not stated, look it up there"}.
- Method {training["method"]}, {training["trained_parameters"]:,} of {training["parameters"]:,} parameters trained on
  {training["rows"]} rows{_describe_refit(record)}; texts cut at
  {record["params"]["train"]["max_tokens"]} tokens.{_replay_line(record)}
- {_describe_start(record)}
- {training["steps"]} steps, best epoch {training["epochs"]}, {training["seconds"]:.0f} seconds, seed
  {training["seed"]}, on {escape(environment["device"])} with torch {torch} and Python {python}.
- Energy: {_describe_estimate(training["energy"])}.
- Cost: {_describe_estimate(training["cost"])}.

## Scores
On {scores["rows"]} test rows that training did not see; in brackets {scores["confidence"]:.0%} bootstrap intervals.

{_scores_table(record)}

## Gate
{_describe_gate(record)}

## Limits
{chr(10).join(f"- {limit}" for limit in purpose_of(record).limits)}

## Where it comes from
- Made {record["created"]} by {escape(started["by"])}: `{code_text(started["command"])}`.
- Why: {escape("; ".join(started["why"])) or "not stated"}.
- Code at commit `{code["commit"]}`{", with changes that were not committed" if code["dirty"] else ""}; the workspace as
  it was is commit `{code["record_commit"]}`, {escape(code["record_name"])}.
- Fingerprint `{record["fingerprint"]}`.
- The whole record is `lineage.json` beside this card; `sha256sum -c SHA256SUMS` there checks every file.
"""


def _replay_line(record: Record) -> str:
    sentence = describe_replay(record)
    return f"\n- {sentence}" if sentence else ""


def _describe_refit(record: Record) -> str:
    if not record["training"]["refit"]:
        return ""
    return " of train + val" if parent_of(record) else " (train + val, after choosing on val)"


def _describe_start(record: Record) -> str:
    """Where training started, in a line or two of Markdown."""
    if not (start := parent_of(record)):
        return "Training started from the base."
    if task_metrics.task_of(record["params"]) == "prefer":
        return (
            f"Training continued from {escape(start['from'])} (DVC hash of its model `{start['model_md5']}`, seal\n"
            f"  `{start['seal']}`), on {start['new_rows']} pairs of answers, with that version as reference.\n"
            "  It includes everything that version learned."
        )
    labels = {"new": start["new_labels"], "gone": start["gone_labels"]}
    changes = [f"{kind} labels: {', '.join(map(escape, names))}" for kind, names in labels.items() if names]
    return (
        f"Training continued from {escape(start['from'])} (DVC hash of its model `{start['model_md5']}`, seal\n"
        f"  `{start['seal']}`): {start['new_rows']} rows new to it, {start['corrected_rows']} of them corrected, and "
        f"{start['old_rows']} of\n  those that it had learned. {'; '.join([*changes, _inherited(start)])}."
    )


def _inherited(start: Start) -> str:
    return f"It includes everything that version learned, also {start['gone_rows']} rows that are no longer in the data"


def _sources_table(sources: dict[str, Source]) -> str:
    rows = [
        f"| {escape(name)} | {source['received']} | {source['kept']} "
        f"| {escape(source['collected']) or 'not stated'} | {escape(source['licence']) or 'not stated'} |"
        for name, source in sources.items()
    ]
    return "\n".join(["| source | rows received | kept | collected | licence |", "|---|---|---|---|---|", *rows])


def _scores_table(record: Record) -> str:
    """Model, champion, probe and base side by side."""
    titles = task_metrics.of(task_metrics.task_of(record["params"])).titles
    titles = {metric: title for metric, title in titles.items() if metric in record["scores"]["candidate"]}

    def cell(score: Score) -> str:
        return f"{score['value']:.4f} [{score['low']:.3f}, {score['high']:.3f}]"

    rows = [
        f"| {model} | {' | '.join(cell(scores[metric]) for metric in titles)} |"
        for _, model, scores in scored_models(record)
    ]
    return "\n".join([f"| model | {' | '.join(titles.values())} |", f"|---{'|---' * len(titles)}|", *rows])


def _describe_gate(record: Record) -> str:
    gate = record["gate"]
    answer = {"champion": "It became champion", "held": "The gate held it: no alias moved"}[gate["decision"]]
    rival = f"the champion of that time was {escape(gate['champion'])}" if gate["champion"] else "there was no champion"
    return "\n".join([f"{answer}; {rival}.", "", *(f"- {escape(reason)}." for reason in reasons_of(gate))])


def _describe_estimate(estimate: Estimate) -> str:
    inputs = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in estimate["inputs"].items())
    return f"about {estimate['value']:.3g} {escape(estimate['unit'])} (an estimate, not measured; from {inputs})"


def _list_reasons(reasons: dict[str, int]) -> str:
    counts = ", ".join(f"{escape(name)} {count}" for name, count in reasons.items() if count)
    return f": {counts}" if counts else ""
