"""The bill of materials of a version, from its record alone: CycloneDX 1.6. The adapter of cyclonedx.

Components are written by hand, because cyclonedx-python-lib has no `modelCard` yet
(https://github.com/CycloneDX/cyclonedx-python-lib/issues/912). The same record always gives the same bytes.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from retune.documents.record_facts import (
    SPLITS,
    Json,
    datasets,
    describe_use,
    parent_of,
    purpose_of,
    scored_models,
    utc,
)
from retune.errors import Broken
from retune.lineage.record import Record, Training

KILOWATT_HOURS = {"kWh": 1.0, "Wh": 1e-3, "J": 1 / 3.6e6}


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted names and single values of nested dicts."""
    if not isinstance(value, dict):
        yield prefix, value
        return
    for name, inner in value.items():
        yield from _flatten(inner, f"{prefix}.{name}")


def bom(record: Record) -> Json:
    """The bill of materials. Raises Broken if it does not fit the schema, which means a defect of this code."""
    components = [
        _base_component(record),
        *_environment_components(record),
        *_source_components(record),
        *_dataset_components(record),
    ]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, 'retune:' + record['fingerprint'])}",
        "version": 1,
        "metadata": {
            "timestamp": utc(record["created"]),
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [_code_component(record)]},
            "authors": [_person(record["started"]["by"])],
            "component": _model_component(record),
            "properties": _properties(
                {
                    "schema_version": record["schema_version"],
                    "started": record["started"],
                    "gate": record["gate"],
                    "pipeline": record["pipeline"],
                    "validation": record["data"]["validation"],
                }
            ),
        },
        "components": components,
        "dependencies": _dependencies(record, [part["bom-ref"] for part in components]),
    }
    _validate(document)
    return document


def _validate(document: Json) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
    if error:
        path = ".".join(map(str, error.data.absolute_path))
        raise Broken(f"the bill of materials does not fit CycloneDX 1.6: {path}: {error.data.message[:300]}")


def _model_component(record: Record) -> Json:
    base = {name: value for name, value in _base_component(record).items() if name not in ("bom-ref", "components")}
    code = record["code"]
    commits = [{"uid": code["commit"], "message": "checked out"}] if code["commit"] != "none" else []
    commits.append({"uid": code["record_commit"], "message": f"the workspace as it was: {code['record_name']}"})
    return {
        "bom-ref": "model",
        "type": "machine-learning-model",
        "name": record["name"],
        "version": record["fingerprint"],
        "description": describe_use(record),
        "pedigree": {"ancestors": [base, *_parent_component(record)], "commits": commits},
        "components": _files(record["files"], "SHA-256"),
        "modelCard": _cyclonedx_card(record),
    }


def _parent_component(record: Record) -> list[Json]:
    """The parent version, as an ancestor besides the base."""
    if not (start := parent_of(record)):
        return []
    name, _, version = start["from"].rpartition("/")
    properties = _properties({"start": start})
    return [{"type": "machine-learning-model", "name": name, "version": version, "properties": properties}]


def _cyclonedx_card(record: Record) -> Json:
    training, purpose = record["training"], purpose_of(record)
    return {
        "bom-ref": "model-card",
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": purpose.task,
            "modelArchitecture": f"{record['base']['name']} and {purpose.components}, method {training['method']}",
            "datasets": [{"ref": f"data:{split}"} for split in SPLITS],
            "inputs": [{"format": "text"}],
            "outputs": [{"format": output} for output in purpose.outputs],
        },
        "quantitativeAnalysis": {"performanceMetrics": [*_metrics(record)]},
        "considerations": {
            "users": [purpose.users],
            "useCases": [describe_use(record)],
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
    for model, title, scores in scored_models(record):
        for name, score in scores.items():
            yield {
                "type": name,
                "value": str(score["value"]),
                "slice": f"{model}: {title}, on {score['n']} test rows",
                "confidenceInterval": {"lowerBound": str(score["low"]), "upperBound": str(score["high"])},
            }


def _environmental(training: Training) -> Json:
    """Energy and cost, marked as estimates. Names no energy provider, since none is known."""
    energy = training["energy"]
    facts = {"properties": _properties({"energy": energy, "cost": training["cost"]})}
    if energy["unit"] not in KILOWATT_HOURS:
        return facts
    consumption = {
        "activity": "training" if training["method"] == "probe" else "fine-tuning",
        "energyProviders": [],
        "activityEnergyCost": {"value": energy["value"] * KILOWATT_HOURS[energy["unit"]], "unit": "kWh"},
        "properties": _properties({"estimate": True, "inputs": energy["inputs"]}),
    }
    return {"energyConsumptions": [consumption], **facts}


def _base_component(record: Record) -> Json:
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
    """The package URL of the base; empty if it has none."""
    kind, _, rest = base.partition(":")
    types = {"package": "pypi", "hub": "huggingface"}
    name = rest.partition("@")[0]
    return {"purl": f"pkg:{types[kind]}/{name}@{revision}"} if kind in types else {}


def _code_component(record: Record) -> Json:
    code = record["code"]
    return {
        "bom-ref": "code",
        "type": "application",
        "name": "retune",
        "version": code["commit"],
        "components": _files(code["modules"], "MD5"),
        "properties": _properties({"code": {name: value for name, value in code.items() if name != "modules"}}),
    }


def _environment_components(record: Record) -> list[Json]:
    """The software and hardware of training that the record names; the lock file pins the rest."""
    environment = record["environment"]
    release = environment["torch"].partition("+")[0]
    lock = {"alg": "SHA-256", "content": environment["lock_sha256"]}
    parts: list[Json] = [
        {"type": "platform", "name": "Python", "version": environment["python"]},
        {"type": "library", "name": "torch", "version": environment["torch"], "purl": f"pkg:pypi/torch@{release}"},
        {"type": "platform", "name": environment["platform"]},
        {"type": "device", "name": environment["device"]},
        {"type": "file", "name": "requirements.lock", "hashes": [lock]},
    ]
    if environment["cuda"] not in ("", "none"):
        parts.append({"type": "platform", "name": "CUDA", "version": environment["cuda"]})
    device = _properties({"threads": environment["threads"], "deterministic": environment["deterministic"]})
    parts[3]["properties"] = device
    return [{"bom-ref": f"environment:{number}", **part} for number, part in enumerate(parts, 1)]


def _source_components(record: Record) -> list[Json]:
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


def _dataset_components(record: Record) -> list[Json]:
    return [
        {
            "bom-ref": f"data:{name}",
            "type": "data",
            "name": name,
            "version": part["md5"],
            # DVC's md5 of a folder is that of its listing, not of bytes that another tool would hash
            **({} if part["md5"].endswith(".dir") else {"hashes": [{"alg": "MD5", "content": part["md5"]}]}),
            "data": [{"type": "dataset", "name": name, "contents": {"properties": _properties({name: part})}}],
        }
        for name, part in datasets(record)
    ]


def _dependencies(record: Record, parts: list[str]) -> list[Json]:
    """From the model backwards: splits, curated and rejected rows, raw data, sources."""
    needs = {
        "model": [part for part in parts if part.startswith("environment:")]
        + ["base", "code", *(f"data:{split}" for split in SPLITS)]
        + [part for part in parts if part == "data:general"],
        **{f"data:{split}": ["data:curated"] for split in SPLITS},
        "data:curated": ["data:raw", "data:suppressed"],
        "data:rejected": ["data:raw", "data:suppressed"],
        "data:raw": [f"source:{name}" for name in record["data"]["sources"]],
    }
    leaves = [part for part in ("code", *parts) if part not in needs]
    return [{"ref": ref, "dependsOn": parts_of} for ref, parts_of in needs.items()] + [{"ref": ref} for ref in leaves]


def _files(digests: dict[str, str], kind: str) -> list[Json]:
    return [
        {"type": "file", "name": name, "hashes": [{"alg": kind, "content": digest}]}
        for name, digest in sorted(digests.items())
    ]


def _licences(licence: str) -> list[Json]:
    """A licence by its SPDX name if it has one, else as stated; empty if none was stated."""
    from cyclonedx.spdx import is_expression, is_supported_id

    if not licence.strip() or licence.startswith("not stated"):
        return []
    if is_supported_id(licence):
        return [{"license": {"id": licence, "acknowledgement": "declared"}}]
    if is_expression(licence):
        return [{"expression": licence, "acknowledgement": "declared"}]
    return [{"license": {"name": licence, "acknowledgement": "declared"}}]


def _person(by: str) -> Json:
    """`Name <mail>` as git writes it, or the name of an account."""
    match = re.fullmatch(r"(.+?) <([^\s<>]+@[^\s<>]+)>", by)
    return {"name": match[1], "email": match[2]} if match else {"name": by}


def _properties(facts: Mapping[str, Any]) -> list[Json]:
    return [
        {"name": f"retune:{name}", "value": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
        for title, fact in facts.items()
        for name, value in _flatten(fact, title)
    ]
