"""What others read of a version, told from its record alone: a bill of materials, its provenance and its model card.
Door to CycloneDX.

    bom.json          CycloneDX 1.6, checked against its strict schema
    provenance.json   in-toto Statement v1 with SLSA provenance v1
    model_card.md     for people

The same record always gives the same bytes. Nothing is looked up, here or elsewhere.
"""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from retune.data import task_data
from retune.errors import Broken
from retune.evaluation import task_metrics
from retune.lineage.record import reasons_of

Record = dict[str, Any]
Json = dict[str, Any]

SIDES = ("train", "val", "test")
KILOWATT_HOURS = {"kWh": 1.0, "Wh": 1e-3, "J": 1 / 3.6e6}
OTHER_SOURCES = "The test rows come from the same sources as the training rows: other sources may score lower."


@dataclass(frozen=True)
class Purpose:
    """What a model of one task is for, in the words of those who read of it."""

    task: str  # as CycloneDX and others call it
    made_of: str  # beside the base
    outputs: tuple[str, ...]
    users: str
    use: str
    misuse: str
    check: str
    limits: tuple[str, ...]


WRITES = Purpose(
    task="text generation",
    made_of="what was learned from completions",
    outputs=("text", "mean probability of its tokens, 0 to 1"),
    users="people who read a draft before it is sent, and are able to correct it",
    use="For drafts that a person reads before they are sent.",
    misuse="What it writes is sent unread, decides about people, or answers prompts of another kind than its data.",
    check="It is not meant for any of these. Let a person read what it writes.",
    limits=(
        OTHER_SOURCES,
        "What it writes may be fluent and wrong: no score here says that it is true.",
    ),
)
PURPOSES = {
    "classify": Purpose(
        task="text classification",
        made_of="a classification head",
        outputs=("label", "confidence of that label, 0 to 1"),
        users="people who route and triage, and are able to correct the model",
        use="For routing and triage with a person able to correct it.",
        misuse="It is used for decisions about people, or for texts of another kind than its data.",
        check="It is not meant for either. Let a person check what follows from a label.",
        limits=(
            OTHER_SOURCES,
            "The confidence is the model's own; see the reliability plot before acting on it.",
        ),
    ),
    "instruct": WRITES,
    "prefer": replace(
        WRITES,
        made_of="what was learned from completions, and then from which of two answers was preferred",
        limits=(
            *WRITES.limits,
            "It has learned the taste of whoever chose, their errors too, and the score asks for nothing else.",
        ),
    ),
}


PURPOSE_OF_WRITING = {
    "instruct": "Writes an answer to a prompt, as the completions that it learned from do.",
    "prefer": "Writes an answer to a prompt, as one would be preferred over another by those who chose.",
}


def _purpose(record: Record) -> Purpose:
    return PURPOSES[task_metrics.task_of(record["params"])]


def _titles(record: Record) -> dict[str, str]:
    """Who was scored, in the order in which a person reads."""
    beside = {
        prefix.removesuffix("_"): title
        for prefix, title in task_metrics.of(task_metrics.task_of(record["params"])).baselines.items()
    }
    return {"candidate": "this model", "champion": "the champion of that time", **beside}


# ---------------------------------------------------------------- facts that more than one of them tells


def _labels(record: Record) -> list[str]:
    return sorted({label for side in SIDES for label in record["data"]["sides"][side]["labels"]})


def _use(record: Record) -> str:
    if not task_data.of(task_metrics.task_of(record["params"])).has_labels:
        return PURPOSE_OF_WRITING[task_metrics.task_of(record["params"])]
    labels = _labels(record)
    return f"Puts one text into one of {len(labels)} labels: {', '.join(labels)}."


def _scored(record: Record) -> Iterator[tuple[str, Json]]:
    """Who was scored on the test rows, the champion only if there was one."""
    return ((who, record["scores"][who]) for who in _titles(record) if record["scores"][who])


def _data(record: Record) -> Iterator[tuple[str, Json]]:
    """Whatever data of the record has a hash of DVC's, in the order of its journey."""
    data = record["data"]
    yield from ((name, data[name]) for name in ("raw", "suppressed", "curated", "rejected"))
    yield from ((side, data["sides"][side]) for side in SIDES)
    if "general" in data:
        yield "general", data["general"]


def general_of(record: Record) -> str:
    """The general examples in a sentence of Markdown; empty if no file was named."""
    if not (told := record["data"].get("general")):
        return ""
    files = [
        f"{file['learned']} of {file['kept']} from {_text(name)} (sha256 `{file['sha256']}`)"
        for name, file in told["files"].items()
    ]
    return f"General examples, none of them a row, mixed in against forgetting: {'; '.join(files)}."


def _start(record: Record) -> Json | None:
    """The version that training continued from; None if it started from the base."""
    told = record["training"].get("start", {"from": "base"})
    return None if told["from"] == "base" else told


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted names and single values of nested dicts."""
    if not isinstance(value, dict):
        yield prefix, value
        return
    for name, inner in value.items():
        yield from _flat(inner, f"{prefix}.{name}")


def _utc(time: str) -> str:
    return datetime.fromisoformat(time).astimezone(UTC).isoformat().replace("+00:00", "Z")


# ---------------------------------------------------------------- CycloneDX


def bom(record: Record) -> Json:
    """The bill of materials. Raises Broken if it does not fit the schema, which is Retune's mistake."""
    components = [_base(record), *_environment(record), *_sources(record), *_datasets(record)]
    made = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, 'retune:' + record['fingerprint'])}",
        "version": 1,
        "metadata": {
            "timestamp": _utc(record["created"]),
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [_code(record)]},
            "authors": [_person(record["started"]["by"])],
            "component": _model(record),
            "properties": _properties(
                {name: record[name] for name in ("schema_version", "started", "gate", "pipeline")}
                | {"validation": record["data"]["validation"]}
            ),
        },
        "components": components,
        "dependencies": _dependencies(record, [part["bom-ref"] for part in components]),
    }
    _check(made)
    return made


def _check(made: Json) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made))
    if wrong:
        where = ".".join(map(str, wrong.data.absolute_path))
        raise Broken(f"the bill of materials is no CycloneDX 1.6: {where}: {wrong.data.message[:300]}")


def _model(record: Record) -> Json:
    base = {name: value for name, value in _base(record).items() if name not in ("bom-ref", "components")}
    code = record["code"]
    commits = [{"uid": code["commit"], "message": "checked out"}] if code["commit"] != "none" else []
    commits.append({"uid": code["record_commit"], "message": f"the workspace as it was: {code['record_name']}"})
    return {
        "bom-ref": "model",
        "type": "machine-learning-model",
        "name": record["name"],
        "version": record["fingerprint"],
        "description": _use(record),
        "pedigree": {"ancestors": [base, *_earlier(record)], "commits": commits},
        "components": _files(record["files"], "SHA-256"),
        "modelCard": _card(record),
    }


def _earlier(record: Record) -> list[Json]:
    """The version that training continued from, as an ancestor beside the base."""
    if not (start := _start(record)):
        return []
    name, _, version = start["from"].rpartition("/")
    told = {"type": "machine-learning-model", "name": name, "version": version}
    return [{**told, "properties": _properties({"start": start})}]


def _card(record: Record) -> Json:
    training, purpose = record["training"], _purpose(record)
    return {
        "bom-ref": "model-card",
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": purpose.task,
            "modelArchitecture": f"{record['base']['name']} and {purpose.made_of}, method {training['method']}",
            "datasets": [{"ref": f"data:{side}"} for side in SIDES],
            "inputs": [{"format": "text"}],
            "outputs": [{"format": told} for told in purpose.outputs],
        },
        "quantitativeAnalysis": {"performanceMetrics": [*_metrics(record)]},
        "considerations": {
            "users": [purpose.users],
            "useCases": [_use(record)],
            "technicalLimitations": [
                f"Texts are cut at {record['params']['train']['max_tokens']} tokens.",
                *purpose.limits,
            ],
            "ethicalConsiderations": [
                {
                    "name": purpose.misuse,
                    "mitigationStrategy": purpose.check,
                }
            ],
            "environmentalConsiderations": _environmental(training),
        },
        "properties": _properties({"training": training, "params": record["params"]}),
    }


def _metrics(record: Record) -> Iterator[Json]:
    for who, scores in _scored(record):
        for name, score in scores.items():
            yield {
                "type": name,
                "value": str(score["value"]),
                "slice": f"{who}: {_titles(record)[who]}, on {score['n']} test rows",
                "confidenceInterval": {"lowerBound": str(score["low"]), "upperBound": str(score["high"])},
            }


def _environmental(training: Json) -> Json:
    """Energy and cost, marked as the estimates that they are. Who made the power is not known, so nobody is named."""
    energy = training["energy"]
    told = {"properties": _properties({"energy": energy, "cost": training["cost"]})}
    if energy["unit"] not in KILOWATT_HOURS:
        return told
    used = {
        "activity": "training" if training["method"] == "probe" else "fine-tuning",
        "energyProviders": [],
        "activityEnergyCost": {"value": energy["value"] * KILOWATT_HOURS[energy["unit"]], "unit": "kWh"},
        "properties": _properties({"estimate": True, "inputs": energy["inputs"]}),
    }
    return {"energyConsumptions": [used], **told}


def _base(record: Record) -> Json:
    base = record["base"]
    return {
        "bom-ref": "base",
        "type": "machine-learning-model",
        "name": base["name"],
        "version": base["revision"],
        "hashes": [{"alg": "SHA-256", "content": base["sha256"]}],
        "licenses": _licences(base["licence"]),
        **_purl(base["name"], base["revision"]),
        "components": _files(base["files"], "SHA-256"),
    }


def _purl(base: str, revision: str) -> Json:
    """An address that other tools know, if the base has one."""
    kind, _, rest = base.partition(":")
    known = {"package": "pypi", "hub": "huggingface"}
    name = rest.partition("@")[0]
    return {"purl": f"pkg:{known[kind]}/{name}@{revision}"} if kind in known else {}


def _code(record: Record) -> Json:
    code = record["code"]
    return {
        "bom-ref": "code",
        "type": "application",
        "name": "retune",
        "version": code["commit"],
        "components": _files(code["modules"], "MD5"),
        "properties": _properties({"code": {name: value for name, value in code.items() if name != "modules"}}),
    }


def _environment(record: Record) -> list[Json]:
    """What the model was trained with, as far as the record says; the lock file pins the rest."""
    there = record["environment"]
    release = there["torch"].partition("+")[0]
    lock = {"alg": "SHA-256", "content": there["lock_sha256"]}
    parts: list[Json] = [
        {"type": "platform", "name": "Python", "version": there["python"]},
        {"type": "library", "name": "torch", "version": there["torch"], "purl": f"pkg:pypi/torch@{release}"},
        {"type": "platform", "name": there["platform"]},
        {"type": "device", "name": there["device"]},
        {"type": "file", "name": "requirements.lock", "hashes": [lock]},
    ]
    if there["cuda"] not in ("", "none"):
        parts.append({"type": "platform", "name": "CUDA", "version": there["cuda"]})
    told = _properties({"threads": there["threads"], "deterministic": there["deterministic"]})
    parts[3]["properties"] = told
    return [{"bom-ref": f"environment:{number}", **part} for number, part in enumerate(parts, 1)]


def _sources(record: Record) -> list[Json]:
    return [
        {
            "bom-ref": f"source:{name}",
            "type": "data",
            "name": name,
            "licenses": _licences(source["licence"]),
            "data": [{"type": "dataset", "name": name}],
            "properties": _properties({"source": source}),
        }
        for name, source in record["data"]["sources"].items()
    ]


def _datasets(record: Record) -> list[Json]:
    return [
        {
            "bom-ref": f"data:{name}",
            "type": "data",
            "name": name,
            "version": part["md5"],
            # of a folder, DVC's md5 is that of its listing and not of any bytes that another tool would hash
            **({} if part["md5"].endswith(".dir") else {"hashes": [{"alg": "MD5", "content": part["md5"]}]}),
            "data": [{"type": "dataset", "name": name, "contents": {"properties": _properties({name: part})}}],
        }
        for name, part in _data(record)
    ]


def _dependencies(record: Record, parts: list[str]) -> list[Json]:
    """The road backwards: model, sides, curated and rejected rows, raw data, sources."""
    road = {
        "model": [part for part in parts if part.startswith("environment:")]
        + ["base", "code", *(f"data:{side}" for side in SIDES)]
        + [part for part in parts if part == "data:general"],
        **{f"data:{side}": ["data:curated"] for side in SIDES},
        "data:curated": ["data:raw", "data:suppressed"],
        "data:rejected": ["data:raw", "data:suppressed"],
        "data:raw": [f"source:{name}" for name in record["data"]["sources"]],
    }
    leaves = [part for part in ("code", *parts) if part not in road]
    return [{"ref": ref, "dependsOn": needs} for ref, needs in road.items()] + [{"ref": ref} for ref in leaves]


def _files(digests: dict[str, str], kind: str) -> list[Json]:
    return [
        {"type": "file", "name": name, "hashes": [{"alg": kind, "content": digest}]}
        for name, digest in sorted(digests.items())
    ]


def _licences(stated: str) -> list[Json]:
    """A licence by its SPDX name where it has one, else in the words that were given; open where none was."""
    from cyclonedx.spdx import is_expression, is_supported_id

    if not stated.strip() or stated.startswith("not stated"):
        return []
    if is_supported_id(stated):
        return [{"license": {"id": stated, "acknowledgement": "declared"}}]
    if is_expression(stated):
        return [{"expression": stated, "acknowledgement": "declared"}]
    return [{"license": {"name": stated, "acknowledgement": "declared"}}]


def _person(by: str) -> Json:
    """`Name <mail>` as git writes it, or the name of an account."""
    written = re.fullmatch(r"(.+?) <([^\s<>]+@[^\s<>]+)>", by)
    return {"name": written[1], "email": written[2]} if written else {"name": by}


def _properties(facts: Json) -> list[Json]:
    return [
        {"name": f"retune:{name}", "value": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
        for title, fact in facts.items()
        for name, value in _flat(fact, title)
    ]


# ---------------------------------------------------------------- in-toto and SLSA


def provenance(record: Record) -> Json:
    """What made the files of the version, from what: SLSA's words for it, as an unsigned in-toto statement.

    It stands in the version's folder, and what signs the folder signs it.
    """
    started, there = record["started"], record["environment"]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(record["files"].items())],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:retune:run:v1",
                "externalParameters": {
                    "name": record["name"],
                    "command": started["command"],
                    "why": started["why"],
                    "params": record["params"],
                },
                "internalParameters": {"fingerprint": record["fingerprint"], "environment": there},
                "resolvedDependencies": _resolved(record),
            },
            "runDetails": {
                "builder": {
                    "id": "urn:retune:builder:v1",
                    "version": {"retune": record["code"]["commit"], "python": there["python"], "torch": there["torch"]},
                },
                "metadata": {
                    "invocationId": f"prefect:{started['prefect_run']} mlflow:{started['mlflow_run']}",
                    "finishedOn": _utc(record["created"]),
                },
                "byproducts": _byproducts(record),
            },
        },
    }


def _resolved(record: Record) -> list[Json]:
    base, code, there = record["base"], record["code"], record["environment"]
    paths = {digest: path for path, digest in record["pipeline"]["hashes"].items()}
    known = {"dirty": code["dirty"], "diff_sha256": code["diff_sha256"]}
    checked_out = [{"name": "code", "digest": {"gitCommit": code["commit"]}, "annotations": known}]
    return [
        *(checked_out if code["commit"] != "none" else []),
        {"name": f"workspace {code['record_name']}", "digest": {"gitCommit": code["record_commit"]}},
        *({"name": name, "digest": _md5(digest)} for name, digest in sorted(code["modules"].items())),
        {"name": "requirements.lock", "digest": {"sha256": there["lock_sha256"]}},
        {
            "name": base["name"],
            "digest": {"sha256": base["sha256"]},
            "annotations": {"revision": base["revision"], "licence": base["licence"]},
        },
        *_resolved_start(record),
        *(
            {"name": file["path"], "digest": {"sha256": file["sha256"]}}
            for file in record["data"].get("general", {}).get("files", {}).values()
        ),
        *(
            {"name": f"{base['name']}/{name}", "digest": {"sha256": digest}}
            for name, digest in sorted(base["files"].items())
        ),
        *(
            {"name": paths.get(part["md5"], f"data {name}"), "digest": _md5(part["md5"])}
            for name, part in _data(record)
            if name != "rejected"  # nothing was learned from those
        ),
    ]


def _resolved_start(record: Record) -> Iterator[Json]:
    if start := _start(record):
        known = {"seal": start["seal"], "fingerprint": start["fingerprint"]}
        yield {"name": f"{start['from']} workspace", "digest": {"gitCommit": start["record_commit"]}}
        yield {"name": f"{start['from']} model", "digest": _md5(start["model_md5"]), "annotations": known}
        for side in ("train", "val"):
            yield {"name": f"{start['from']} {side}", "digest": _md5(start[f"{side}_md5"])}


def _byproducts(record: Record) -> list[Json]:
    data, pipeline = record["data"], record["pipeline"]
    verdict = {"verdict": data["validation"]["verdict"], "suite_sha256": data["validation"]["suite_sha256"]}
    return [
        {"name": "data rejected", "digest": _md5(data["rejected"]["md5"])},
        {"name": "validation report", "digest": _md5(data["validation"]["report_md5"]), "annotations": verdict},
        {"name": "dvc.lock", "digest": _md5(pipeline["lock_md5"])},
    ]


def _md5(digest: str) -> dict[str, str]:
    """DVC's md5 of a folder is that of its listing, which is no md5 that in-toto knows: it gets a name of its own."""
    return {"dvcDirMd5": digest.removesuffix(".dir")} if digest.endswith(".dir") else {"md5": digest}


# ---------------------------------------------------------------- the card for people


def model_card(record: Record) -> str:
    """The card, in Markdown: what the model is for, from what, how good, and where it ends."""
    data, base, training, started = record["data"], record["base"], record["training"], record["started"]
    code, there, check = record["code"], record["environment"], data["validation"]
    scores, reasons = record["scores"], _listed(data["rejected"]["reasons"])
    return f"""# {_text(record["name"])}

## Intended use
{_text(_use(record))} {_purpose(record).use}
Not for decisions about people, and not for texts of another kind than those below.

## Data
{_sources_table(data["sources"])}

- {data["curated"]["rows"]} rows after curation, {data["rejected"]["rows"]} rejected, each with its reason{reasons}.
- {data["suppressed"]["ids"]} ids on the list of rows that must not be learned from.
- Validation: {check["verdict"]}, {check["expectations"]} expectations, sha256 of the suite `{check["suite_sha256"]}`.
- Sides: {", ".join(f"{side} {data['sides'][side]['rows']}" for side in SIDES)} rows; no group on two sides.
- DVC hashes: {", ".join(f"{name} `{part['md5']}`" for name, part in _data(record))}.

## Model
- Base `{_code_text(base["name"])}`, revision `{_code_text(base["revision"])}`, sha256 of its weights
  `{base["sha256"]}`. Its licence, as declared: {_text(base["licence"]) or "not stated, look it up there"}.
- Method {training["method"]}, {training["trained_parameters"]:,} of {training["parameters"]:,} parameters trained on
  {training["rows"]} rows{_refitted(record)}; texts cut at
  {record["params"]["train"]["max_tokens"]} tokens.{_mixed_in(record)}
- {_started(record)}
- {training["steps"]} steps, best epoch {training["epochs"]}, {training["seconds"]:.0f} seconds, seed
  {training["seed"]}, on {_text(there["device"])} with torch {there["torch"]} and Python {there["python"]}.
- Energy: {_estimate(training["energy"])}.
- Cost: {_estimate(training["cost"])}.

## Scores
On {scores["rows"]} test rows that training did not see; in brackets {scores["confidence"]:.0%} bootstrap intervals.

{_scores_table(record)}

## Gate
{_gate(record)}

## Limits
{chr(10).join(f"- {limit}" for limit in _purpose(record).limits)}

## Where it comes from
- Made {record["created"]} by {_text(started["by"])}: `{_code_text(started["command"])}`.
- Why: {_text("; ".join(started["why"])) or "not said"}.
- Code at commit `{code["commit"]}`{", with changes that were not committed" if code["dirty"] else ""}; the workspace as
  it was is commit `{code["record_commit"]}`, {_text(code["record_name"])}.
- Fingerprint `{record["fingerprint"]}`.
- The whole record is `lineage.json` beside this card; `sha256sum -c SHA256SUMS` there checks every file.
"""


def _mixed_in(record: Record) -> str:
    told = general_of(record)
    return f"\n- {told}" if told else ""


def _refitted(record: Record) -> str:
    if not record["training"]["refit"]:
        return ""
    return " of train + val" if _start(record) else " (train + val, after choosing on val)"


def _started(record: Record) -> str:
    """Where training started, in a line or two of Markdown."""
    if not (start := _start(record)):
        return "Training started from the base."
    if task_metrics.task_of(record["params"]) == "prefer":
        return (
            f"Training went on from {_text(start['from'])} (DVC hash of its model `{start['model_md5']}`, seal\n"
            f"  `{start['seal']}`), on {start['new_rows']} pairs of answers, measured by it.\n"
            "  It has learned whatever that version had."
        )
    labels = {"new": start["new_labels"], "gone": start["gone_labels"]}
    changed = [f"{kind} labels: {', '.join(map(_text, names))}" for kind, names in labels.items() if names]
    return (
        f"Training continued from {_text(start['from'])} (DVC hash of its model `{start['model_md5']}`, seal\n"
        f"  `{start['seal']}`): {start['new_rows']} rows new to it, {start['corrected_rows']} of them corrected, and "
        f"{start['old_rows']} of\n  those that it had learned. {'; '.join([*changed, _still(start)])}."
    )


def _still(start: Json) -> str:
    return (
        f"It has learned whatever that version had, {start['gone_rows']} rows that are no longer in the data included"
    )


def _sources_table(sources: Json) -> str:
    rows = [
        f"| {_text(name)} | {source['received']} | {source['kept']} "
        f"| {_text(source['collected']) or 'not stated'} | {_text(source['licence']) or 'not stated'} |"
        for name, source in sources.items()
    ]
    return "\n".join(["| source | rows received | kept | collected | licence |", "|---|---|---|---|---|", *rows])


def _scores_table(record: Record) -> str:
    """Model, champion, probe and base side by side."""
    there = record["scores"]["candidate"]
    names = {
        name: title
        for name, title in task_metrics.of(task_metrics.task_of(record["params"])).titles.items()
        if name in there
    }
    rows = [
        f"| {_titles(record)[who]} | "
        + " | ".join(f"{scores[x]['value']:.4f} [{scores[x]['low']:.3f}, {scores[x]['high']:.3f}]" for x in names)
        + " |"
        for who, scores in _scored(record)
    ]
    return "\n".join([f"| model | {' | '.join(names.values())} |", f"|---{'|---' * len(names)}|", *rows])


def _gate(record: Record) -> str:
    gate = record["gate"]
    answer = {"champion": "It became champion", "held": "It was held back: no alias moved"}[gate["decision"]]
    rival = f"the champion of that time was {_text(gate['champion'])}" if gate["champion"] else "there was no champion"
    return "\n".join([f"{answer}; {rival}.", "", *(f"- {_text(reason)}." for reason in reasons_of(gate))])


def _estimate(estimate: Json) -> str:
    inputs = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in estimate["inputs"].items())
    return f"about {estimate['value']:.3g} {_text(estimate['unit'])} (an estimate, not measured; from {inputs})"


def _listed(reasons: dict[str, int]) -> str:
    told = ", ".join(f"{_text(name)} {count}" for name, count in reasons.items() if count)
    return f": {told}" if told else ""


def _text(words: str) -> str:
    """Words from outside, on one line and with no meaning of their own in Markdown."""
    return re.sub(r"([\\`|<\[*])", r"\\\1", " ".join(words.split()))


def _code_text(words: str) -> str:
    return " ".join(words.replace("`", "'").split())
