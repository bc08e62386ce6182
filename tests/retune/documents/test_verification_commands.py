"""The commands of the page, typed into a real bash."""

import hashlib
import subprocess
from dataclasses import replace

import pytest

from retune.documents import verification_commands
from retune.lineage import checksums

NAMES = [
    "plain.txt",
    "with space.txt",
    "it's.txt",
    "$(touch taken)",
    "`x`",
    "-c",
    "a\nb",
    "tab\there",
    "\u202eevil",
    "é",
    "#",
    "END",
]


def bash(text, folder):
    return subprocess.run(["bash", "-c", text], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("text", [*NAMES, "back\\slash", "", "x\\'y\n", "\x01"])
def test_a_quoted_text_is_one_word_of_that_very_text(text, tmp_path):
    assert bash(f"printf %s {verification_commands.quote(text)}", tmp_path).stdout == text
    assert verification_commands.quote(text).isprintable()


def test_a_list_of_sums_finds_equal_files_equal_and_a_changed_one_not(tmp_path):
    for name in NAMES:
        (tmp_path / name).write_text(name, "utf-8")
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in NAMES}
    command = verification_commands._sums("sha256sum", hashes)
    good = bash(command, tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    assert all(digest in command for digest in hashes.values())
    (tmp_path / "it's.txt").write_text("another", "utf-8")
    assert "it's.txt: FAILED" in bash(command, tmp_path).stdout
    assert not (tmp_path / "taken").exists()


def test_a_hash_that_is_none_breaks_out_of_nothing(tmp_path):
    bash(
        verification_commands._sums("md5sum", {"plain.txt": "x\nEND\ntouch taken\n", "b": "' ; touch taken; '"}),
        tmp_path,
    )
    assert not (tmp_path / "taken").exists()


def test_bytes_lie_in_the_cache_under_their_md5():
    assert (
        verification_commands.cache_path("61b3a8faa9c1091806675c230a9abe64")
        == ".dvc/cache/files/md5/61/b3a8faa9c1091806675c230a9abe64"
    )


def test_commands_are_filled_in_with_the_versions_own_values(lineage_facts):
    record, mine = lineage_facts.record, lineage_facts.entries[2:]
    outputs = {
        step.text: step.prints
        for steps in verification_commands.commands(record, "7", lineage_facts.entries, mine).values()
        for step in steps
    }
    saved = record["code"]["record_commit"]
    assert outputs[f"git show {saved}:dvc.lock | md5sum"] == record["pipeline"]["lock_md5"]
    assert (
        outputs[f"git diff-tree -p --binary --full-index {record['code']['commit']} {saved} | sha256sum"]
        == record["code"]["diff_sha256"]
    )
    assert outputs["sha256sum SHA256SUMS"] == "5" * 64
    assert outputs["sha256sum lineage.json"] == "e" * 64
    assert outputs["sha256sum signer.pub"] == "9" * 64
    assert "gto history tickets" in outputs
    command = "git cat-file tag 'tickets#champion#4'"
    assert outputs[f"{command}\n{command} | sha256sum"] == "4" * 64
    folder = record["data"]["raw"]["md5"]
    assert any(f"{folder[:32]}  .dvc/cache/files/md5/{folder[:2]}/{folder[2:]}" in text for text in outputs)


def test_without_a_commit_a_signature_or_a_history_their_commands_are_left_out(lineage_facts):
    lineage_facts.record["code"]["commit"] = "none"
    unsigned = [replace(entry, facts={"Signer": "unsigned"}) for entry in lineage_facts.entries]
    for history in ([], unsigned):
        steps = verification_commands.commands(lineage_facts.record, "", history, history).values()
        text = "\n".join(step.text for each in steps for step in each)
        assert "git diff" not in text
        assert "signer.pub" not in text
        assert "version = NUMBER" in text


def test_the_query_for_a_models_folder_holds_whatever_its_name_holds(lineage_facts, tmp_path):
    lineage_facts.record["name"] = "it's; DROP TABLE model_versions"
    query = verification_commands._of_model(lineage_facts.record, "7", [])[0].text
    assert bash(query.replace("sqlite3 .retune/mlflow.db", "printf %s"), tmp_path).stdout == (
        "SELECT source FROM model_versions WHERE name = 'it''s; DROP TABLE model_versions' AND version = 7"
    )


def test_a_file_that_the_list_of_hashes_does_not_name_is_shown(tmp_path):
    for name in ("model.bin", "code/a b.py", "registered_model_meta"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, "utf-8")
        if name != "registered_model_meta":
            checksums.write(tmp_path)
    assert bash(verification_commands.UNLISTED, tmp_path).stdout.split("\n") == [
        "SHA256SUMS",
        "registered_model_meta",
        "",
    ]
    (tmp_path / "code/added.py").write_text("", "utf-8")
    done = bash(f"sha256sum --quiet -c SHA256SUMS && {verification_commands.UNLISTED}", tmp_path)
    assert done.stdout.split("\n") == ["SHA256SUMS", "code/added.py", "registered_model_meta", ""]
