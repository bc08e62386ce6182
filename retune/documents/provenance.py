"""The provenance of a version, from its record alone: an in-toto Statement v1 with SLSA provenance v1.

The same record always gives the same bytes.
"""

from collections.abc import Iterator

from retune.documents.record_facts import Json, datasets, parent_of, utc
from retune.lineage.record import Record


def provenance(record: Record) -> Json:
    """The builder of the version's files and its inputs: SLSA provenance as an unsigned in-toto statement.

    The version's folder holds it, so the signature of the folder covers it.
    """
    started, environment = record["started"], record["environment"]
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
                "internalParameters": {"fingerprint": record["fingerprint"], "environment": environment},
                "resolvedDependencies": _resolved(record),
            },
            "runDetails": {
                "builder": {
                    "id": "urn:retune:builder:v1",
                    "version": {
                        "retune": record["code"]["commit"],
                        "python": environment["python"],
                        "torch": environment["torch"],
                    },
                },
                "metadata": {
                    "invocationId": f"prefect:{started['prefect_run']} mlflow:{started['mlflow_run']}",
                    "finishedOn": utc(record["created"]),
                },
                "byproducts": _byproducts(record),
            },
        },
    }


def _resolved(record: Record) -> list[Json]:
    base, code, environment = record["base"], record["code"], record["environment"]
    paths = {digest: path for path, digest in record["pipeline"]["hashes"].items()}
    changes = {"dirty": code["dirty"], "diff_sha256": code["diff_sha256"]}
    checked_out = [{"name": "code", "digest": {"gitCommit": code["commit"]}, "annotations": changes}]
    replay_files = record["data"]["general"]["files"] if "general" in record["data"] else {}
    return [
        *(checked_out if code["commit"] != "none" else []),
        {"name": f"workspace {code['record_name']}", "digest": {"gitCommit": code["record_commit"]}},
        *({"name": name, "digest": _digest(digest)} for name, digest in sorted(code["modules"].items())),
        {"name": "requirements.lock", "digest": {"sha256": environment["lock_sha256"]}},
        {
            "name": base["name"],
            "digest": {"sha256": base["sha256"]},
            "annotations": {"revision": base["revision"], "licence": base["licence"]},
        },
        *_resolved_start(record),
        *({"name": file["path"], "digest": {"sha256": file["sha256"]}} for file in replay_files.values()),
        *(
            {"name": f"{base['name']}/{name}", "digest": {"sha256": digest}}
            for name, digest in sorted(base["files"].items())
        ),
        *(
            {"name": paths.get(part["md5"], f"data {name}"), "digest": _digest(part["md5"])}
            for name, part in datasets(record)
            if name != "rejected"  # no version learned from those
        ),
    ]


def _resolved_start(record: Record) -> Iterator[Json]:
    if start := parent_of(record):
        identity = {"seal": start["seal"], "fingerprint": start["fingerprint"]}
        yield {"name": f"{start['from']} workspace", "digest": {"gitCommit": start["record_commit"]}}
        yield {"name": f"{start['from']} model", "digest": _digest(start["model_md5"]), "annotations": identity}
        yield {"name": f"{start['from']} train", "digest": _digest(start["train_md5"])}
        yield {"name": f"{start['from']} val", "digest": _digest(start["val_md5"])}


def _byproducts(record: Record) -> list[Json]:
    data, pipeline = record["data"], record["pipeline"]
    verdict = {"verdict": data["validation"]["verdict"], "suite_sha256": data["validation"]["suite_sha256"]}
    return [
        {"name": "data rejected", "digest": _digest(data["rejected"]["md5"])},
        {"name": "validation report", "digest": _digest(data["validation"]["report_md5"]), "annotations": verdict},
        {"name": "dvc.lock", "digest": _digest(pipeline["lock_md5"])},
    ]


def _digest(digest: str) -> dict[str, str]:
    """DVC's md5 of a folder is that of its listing, not of bytes as in-toto defines it, so it has another name."""
    return {"dvcDirMd5": digest.removesuffix(".dir")} if digest.endswith(".dir") else {"md5": digest}
