"""The model card of a version, in Markdown, from its record alone.

The same record always gives the same bytes.
"""

from collections.abc import Sequence

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
    sources_table,
    with_unreadable,
)
from retune.evaluation import task_metrics
from retune.lineage.record import Estimate, Record, Score, Start, reasons_of

ANSWERS = {"champion": "The gate let it pass", "held": "The gate held it"}


def model_card(record: Record) -> str:
    """The card, in Markdown: what a reader decides by comes first, what an auditor compares last."""
    return f"""# {escape(record["name"])}

{_summary(record)}

## Intended use
{escape(describe_use(record))} {purpose_of(record).use}
Not for decisions about people, and not for texts of another kind than those below.

## Scores
{_scores_table(record)}
{_describe_automation(record)}{_measures_table(record)}
## Gate
{_describe_gate(record)}

## Limits
{chr(10).join(f"- {limit}" for limit in purpose_of(record).limits)}

## Data
{_data(record)}

## Model
{_model(record)}

## Where it comes from
{_origin(record)}
"""


def _summary(record: Record) -> str:
    metrics, scores = task_metrics.of(task_metrics.task_of(record["params"])), record["scores"]
    score, base = (scores[name][metrics.primary]["value"] for name in ("candidate", "base"))
    return (
        f"{ANSWERS[record['gate']['decision']]}: {metrics.titles[metrics.primary]} {score:.3f} on test rows, "
        f"the untouched base {base:.3f}. Trained on {record['created'][:10]}."
    )


def _data(record: Record) -> str:
    data = with_unreadable(record["data"])
    checks, suppressed = data["validation"], data["suppressed"]["ids"]
    splits = ", ".join(f"{split} {data['sides'][split]['rows']:,}" for split in SPLITS)
    rejected = f"{data['rejected']['rows']:,} rejected{_list_reasons(data['rejected']['reasons'])}"
    lines = [
        f"{data['curated']['rows']:,} rows after curation; {rejected}.",
        f"Validation: {checks['verdict']}, {checks['expectations']} expectations.",
        f"Splits: {splits} rows; no group is in two splits.",
        f"{suppressed} ids on the list of suppressed rows." if suppressed else "",
        describe_replay(record),
    ]
    return f"{sources_table(data['sources'])}\n\n{_list(lines)}"


def _model(record: Record) -> str:
    base, training, environment = record["base"], record["training"], record["environment"]
    lines = [
        f"Base `{code_text(base['name'])}`, revision `{code_text(base['revision'])}`. Its licence, as declared: "
        f"{escape(base['licence']) or 'not stated, look it up there'}.",
        f"Method {training['method']}, {training['trained_parameters']:,} of {training['parameters']:,} parameters "
        f"trained on {training['rows']:,} rows{_describe_refit(record)}; texts cut at "
        f"{record['params']['train']['max_tokens']} tokens.",
        _describe_start(record),
        f"{training['steps']} steps, best epoch {training['epochs']}, {training['seconds']:.0f} seconds, seed "
        f"{training['seed']}, on {escape(environment['device'])} with torch {environment['torch']} and Python "
        f"{environment['python']}.",
        *(
            f"{name}: {_describe_estimate(estimate)}."
            for name, estimate in (("Energy", training["energy"]), ("Cost", training["cost"]))
            if estimate["value"]
        ),
    ]
    return _list(lines)


def _origin(record: Record) -> str:
    started, code = record["started"], record["code"]
    hashes = {
        f"commit of the code{', with changes that were not committed' if code['dirty'] else ''}": code["commit"],
        f"commit of the workspace as it was, {escape(code['record_name'])}": code["record_commit"],
        "fingerprint of all inputs": record["fingerprint"],
        "sha256 of the weights of the base": record["base"]["sha256"],
        "sha256 of the validation suite": record["data"]["validation"]["suite_sha256"],
        **{f"DVC hash, {name}": part["md5"] for name, part in datasets(record)},
    }
    rows = [f"| {what} | `{value}` |" for what, value in hashes.items()]
    lines = [
        f"Made {record['created']} by {escape(started['by'])}: `{code_text(started['command'])}`.",
        f"Why: {escape('; '.join(started['why'])) or 'not stated'}.",
        "The whole record is `lineage.json` beside this card; `sha256sum -c SHA256SUMS` there checks every file.",
    ]
    return "\n".join([_list(lines), "", "| what | hash |", "|---|---|", *rows])


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines if line)


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
    test, confidence = record["scores"]["rows"], record["scores"]["confidence"]
    lead = f"On {test:,} test rows that training did not see; in brackets {confidence:.0%} bootstrap intervals."
    return "\n".join([lead, "", f"| model | {' | '.join(titles.values())} |", f"|---{'|---' * len(titles)}|", *rows])


def _describe_automation(record: Record) -> str:
    """Empty for a version of an earlier release."""
    if not (automation := record.get("automation")):
        return ""
    share = automation["share"]
    alone = f" Above its thresholds are {share['value']:.1%} of {share['n']:,} test rows." if share else ""
    return f"\nWhat it may do alone: {escape(automation['reason'])}.{alone}\n"


def _measures_table(record: Record) -> str:
    """What was measured beside the scores; empty for a record of an earlier release."""
    if not (measures := record.get("measures")):
        return ""
    rows = [
        f"| {escape(each['title'])} | {each['value']:.4f} [{each['low']:.3f}, {each['high']:.3f}] | {each['n']:,} |"
        for each in measures.values()
    ]
    return "\n".join(["", "| beside the scores | value | rows |", "|---|---|---|", *rows, ""])


def _describe_gate(record: Record) -> str:
    gate = record["gate"]
    rival = f"the champion of that time was {escape(gate['champion'])}" if gate["champion"] else "there was no champion"
    return "\n".join(
        [f"{ANSWERS[gate['decision']]}; {rival}.", "", *(f"- {escape(reason)}." for reason in reasons_of(gate))]
    )


def _describe_estimate(estimate: Estimate) -> str:
    inputs = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in estimate["inputs"].items())
    return f"about {estimate['value']:.3g} {escape(estimate['unit'])} (an estimate, not measured; from {inputs})"


def _list_reasons(reasons: dict[str, int]) -> str:
    counts = ", ".join(f"{escape(name)} {count}" for name, count in reasons.items() if count)
    return f": {counts}" if counts else ""
