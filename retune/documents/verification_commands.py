"""Commands that check a version without Retune: git, dvc, gto, sha256sum and md5sum, filled in with its values.

Names and texts of a record are untrusted: each is quoted as one word of bash, with its hidden characters escaped.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from retune.lineage.history import Entry
from retune.lineage.record import Record

AGAIN = "../as-it-was"
UNLISTED = "find . ! -type d -printf '%P\\n' | sort | comm -23 - <(cut -c67- SHA256SUMS | sort)"


@dataclass(frozen=True)
class Command:
    """A command, and what it must print."""

    why: str
    text: str
    prints: str = ""


def commands(record: Record, number: str, history: Sequence[Entry], mine: Sequence[Entry]) -> dict[str, list[Command]]:
    """Heading -> commands that check it with git, dvc, gto and sha256sum alone."""
    return {
        "The model, byte for byte": _of_model(record, number, mine),
        "Code, params and environment": _of_code(record),
        "Data": _of_data(record),
        "The base": [
            Command(
                "In the folder that holds the base's files:",
                _sums("sha256sum", record["base"]["files"] or {"model.safetensors": record["base"]["sha256"]}),
                "OK for each",
            )
        ],
        "History and approvals": _of_history(record, history, mine),
    }


def _of_model(record: Record, number: str, mine: Sequence[Entry]) -> list[Command]:
    entry = mine[0] if mine else None
    query = "SELECT source FROM model_versions WHERE name = '{}' AND version = {}".format(
        record["name"].replace("'", "''"), number if number.isdigit() else "NUMBER"
    )
    commands = [
        Command(
            "The place of its folder, if the registry is the SQLite file of this repository; else ask the registry. It "
            "prints the folder as an address:",
            f"sqlite3 .retune/mlflow.db {quote(query)}",
        ),
        Command(
            "In that folder, every file against its hash:",
            "sha256sum --quiet -c SHA256SUMS && echo all equal",
            "all equal",
        ),
        Command(
            "Files that the list does not name. MLflow writes registered_model_meta, which no hash covers:",
            UNLISTED,
            "at most SHA256SUMS and registered_model_meta",
        ),
        Command(
            "The list of hashes. Its own hash is the seal in the history:",
            "sha256sum SHA256SUMS",
            (entry and entry.seal) or "the seal in the history's entry of this version",
        ),
        Command(
            "The record of this page:",
            "sha256sum lineage.json",
            (entry and entry.evidence) or "the evidence in the history's entry of this version",
        ),
    ]
    signer = entry and entry.signer
    if signer and signer != "unsigned":
        commands.append(Command("The public key of its signature:", "sha256sum signer.pub", signer))
    return commands


def _of_code(record: Record) -> list[Command]:
    code, saved = record["code"], quote(record["code"]["record_commit"])
    commands = [
        Command("The whole workspace at that time is a commit:", f"git show --stat {saved}"),
        Command(
            "The record of DVC about every stage:",
            f"git show {saved}:dvc.lock | md5sum",
            record["pipeline"]["lock_md5"],
        ),
        Command(
            "The pinned packages:",
            f"git show {saved}:requirements.lock | sha256sum",
            record["environment"]["lock_sha256"],
        ),
    ]
    if code["commit"] != "none":
        commands.append(
            Command(
                "The difference from the commit that was checked out:",
                f"git diff-tree -p --binary --full-index {quote(code['commit'])} {saved} | sha256sum",
                code["diff_sha256"],
            )
        )
    if code["modules"]:
        commands += [
            Command(
                "The workspace again, in a folder beside this one:",
                f"git worktree add --detach {AGAIN} {saved}",
            ),
            Command(
                "Every module that ran, in it:",
                _sums("md5sum", {f"{AGAIN}/{path}": md5 for path, md5 in code["modules"].items()}),
                "OK for each",
            ),
        ]
    return commands


def _of_data(record: Record) -> list[Command]:
    data, recorded_hashes = record["data"], record["pipeline"]["hashes"]
    sides = [side["md5"] for side in data["sides"].values()]
    stored = [*(data[step]["md5"] for step in ("raw", "curated", "rejected")), *sides]
    commands = [
        Command(
            "DVC's cache names bytes by their md5, with the first two digits as folder; .dir is the list of a folder's "
            "files. Raw, curated, rejected and the three splits:",
            _sums("md5sum", {cache_path(md5): md5.removesuffix(".dir") for md5 in stored}),
            "OK for each",
        )
    ]
    if general := data.get("general"):
        files = {file["path"]: file["sha256"] for file in general["files"].values()}
        commands.append(Command("The files of replay examples:", _sums("sha256sum", files), "OK for each"))
    example = next((path for path, md5 in recorded_hashes.items() if md5 in sides), None)
    if example:
        saved = quote(record["code"]["record_commit"])
        commands.append(
            Command(
                "If the cache is empty, DVC gets them from its remote:",
                f"dvc get . {quote(example)} --rev {saved} -o again && md5sum again",
                recorded_hashes[example],
            )
        )
    return commands


def _of_history(record: Record, history: Sequence[Entry], mine: Sequence[Entry]) -> list[Command]:
    artifact = next((entry.tag.partition("@")[0].partition("#")[0] for entry in [*mine, *history]), record["name"])
    commands = [
        Command("Which version was registered and became champion, when:", f"gto history {quote(artifact)}"),
        Command("The current champion and challenger:", f"gto show {quote(artifact)}"),
    ]
    return commands + [
        Command(
            f"Entry {entry.number}, {entry.event}: why, by whom, on which evidence; the next entry holds its hash:",
            f"git cat-file tag {quote(entry.tag)}\ngit cat-file tag {quote(entry.tag)} | sha256sum",
            entry.sha256,
        )
        for entry in mine
    ]


def cache_path(md5: str) -> str:
    return f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}"


def _sums(tool: str, hashes: dict[str, str]) -> str:
    """A check of many files at once. A name that a list of sums cannot hold gets a command of its own."""
    plain = {name: digest for name, digest in hashes.items() if (name + digest).isprintable() and "\\" not in name}
    lines = [f"{digest}  {name}" for name, digest in plain.items()]
    block = [f"{tool} -c <<'END'", *lines, "END"] if lines else []
    others = [f"{tool} -- {quote(name)}  # {quote(digest)}" for name, digest in hashes.items() if name not in plain]
    return "\n".join([*block, *others])


def quote(text: str) -> str:
    """Any text as one word of a command, with hidden characters as escapes of bash."""
    if text.isprintable():
        readable = "'" in text and not set('"$`\\!') & set(text)
        return f'"{text}"' if readable else shlex.quote(text)
    escaped = "".join(_escape(character) for character in text)
    return f"$'{escaped}'"


def _escape(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"
