"""The check marks of the lineage page: for stages whose hashes were recomputed."""

from collections.abc import Iterable

from retune.documents.record_facts import parent_of
from retune.lineage.check import Check
from retune.lineage.record import Record

OUTPUTS = {
    "training": ("models/candidate",),
    "evaluation": ("models/reports/evaluate.json", "models/reports/predictions.parquet"),
}


def by_hash(links: Iterable[Check]) -> dict[str, bool]:
    """Expected value -> whether all checks of it were equal."""
    results: dict[str, bool] = {}
    for link in links:
        results[link.expected] = results.get(link.expected, True) and link.ok
    return results


def check_marks(record: Record, links: Iterable[Check]) -> dict[str, bool | None]:
    """Stage -> whether its recomputed hashes were equal; None without a recomputed one."""
    results = by_hash(links)
    return {
        stage: all(results[each] for each in recomputed) if recomputed else None
        for stage, hashes in _hashes(record).items()
        for recomputed in [[each for each in hashes if each in results]]
    }


def _hashes(record: Record) -> dict[str, list[str]]:
    data, base, pipeline = record["data"], record["base"], record["pipeline"]["hashes"]
    parent, replay = parent_of(record), data.get("general")
    return {
        "sources": [],
        "raw": [data["raw"]["md5"]],
        "curated": [data["curated"]["md5"], data["suppressed"]["md5"]],
        "rejected": [data["rejected"]["md5"]],
        "validation": [data["validation"]["suite_sha256"], data["validation"]["report_md5"]],
        "splits": [split["md5"] for split in data["sides"].values()],
        "base": [base["sha256"], *base["files"].values()],
        "training": [
            *([parent["model_md5"], parent["train_md5"], parent["val_md5"]] if parent else []),
            *([replay["md5"], *(file["sha256"] for file in replay["files"].values())] if replay else []),
            record["environment"]["lock_sha256"],
            *record["code"]["modules"].values(),
            *(pipeline[path] for path in OUTPUTS["training"] if path in pipeline),
        ],
        "evaluation": [
            data["sides"]["test"]["md5"],
            *(pipeline[path] for path in OUTPUTS["evaluation"] if path in pipeline),
        ],
        "gate": [],
        "registered": [record["fingerprint"], record["pipeline"]["lock_md5"], *record["files"].values()],
        "champion": [],
    }
