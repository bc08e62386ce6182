"""Whatever is changed behind Retune's back is noticed, and named."""

import random
import shutil
import zlib
from contextlib import contextmanager

import mlflow
import pytest

from retune.errors import Broken, Refused, WrongUse
from retune.lineage import history, record
from retune.registry import backend, versions
from tasks.trace import checks, verify
from tests.support.lineage_answers import ask, folder_of, wrong, wrong_links

pytestmark = pytest.mark.slow


@contextmanager
def changed(path, change):
    """A file with other bytes, for a while."""
    before, mode = path.read_bytes(), path.stat().st_mode
    path.chmod(0o644)
    try:
        path.write_bytes(change(before))
        yield
    finally:
        path.write_bytes(before)
        path.chmod(mode)


def flip(draw):
    def change(content):
        flipped = bytearray(content)
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        return bytes(flipped)

    return change


def flip_object(draw):
    """A bit of what a git object says; its file is written anew around it."""

    def change(content):
        head, _, body = zlib.decompress(content).partition(b"\0")
        return zlib.compress(head + b"\0" + flip(draw)(body))

    return change


def targets(registered_clone):
    """What may be damaged: what it is -> the file, how, and what a link that fails is called."""
    version = versions.resolve("classifier/1")
    folder, record_facts = versions.version_folder(version), record.read(versions.version_folder(version) / record.FILE)
    cache = registered_clone.folder / ".dvc/cache/files/md5"
    md5s = {side: record_facts["data"]["sides"][side]["md5"] for side in ("train", "val", "test")}
    places = {
        f"{side} split in the cache": (cache / md5[:2] / md5[2:], flip, f"data/splits/{side}.parquet")
        for side, md5 in md5s.items()
    }
    (weights,) = folder.rglob("head.safetensors")
    for name, path in {
        "model weights": weights,
        "record": folder / "lineage.json",
        "signature": folder / "model.sig",
        "public key": folder / "signer.pub",
        "checksums": folder / "SHA256SUMS",
        "served code": folder / "pyfunc.py",
    }.items():
        places[name] = (path, flip, f"model/{path.relative_to(folder)}")
    places["base"] = (registered_clone.folder / "base/model.safetensors", flip, "base weights")
    places["tokenizer of the base"] = (registered_clone.folder / "base/tokenizer.json", flip, "base/tokenizer.json")
    for entry in history.read("classifier").entries:
        name = registered_clone.git("rev-parse", f"refs/tags/{entry.tag}").strip()
        places[entry.tag] = (registered_clone.folder / ".git/objects" / name[:2] / name[2:], flip_object, "history")
    return places


def failing(version):
    """The names of all links of `retune verify` that fail; a refusal counts by its words."""
    try:
        return wrong_links([*verify.model(version).links, *verify.chain(version.name)])
    except (Refused, Broken, WrongUse) as error:
        return [str(error)]


def flips(restored_clone, count):
    draw, version, kinds = random.Random(count), versions.resolve("classifier/1"), targets(restored_clone)
    assert failing(version) == []
    for number in range(count):
        kind = list(kinds)[number % len(kinds)]
        path, how, named = kinds[kind]
        with changed(path, how(draw)):
            faults = failing(version)
        assert any(named.rsplit("/", 1)[-1] in name for name in faults), f"a flipped bit in the {kind}: {faults}"
    assert failing(version) == []


def test_a_flipped_bit_is_found_and_named_wherever_it_is(restored_clone):
    flips(restored_clone, 2 * len(targets(restored_clone)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_of_two_hundred_flipped_bits_none_is_missed(restored_clone):
    flips(restored_clone, 200)


def test_a_damaged_model_is_not_loaded_and_the_file_is_named(restored_clone):
    (weights,) = folder_of().rglob("head.safetensors")
    with changed(weights, lambda content: content[:-1] + bytes([content[-1] ^ 1])):
        done = restored_clone.call("predict", "classifier@champion", "where is my parcel")
    assert done.returncode == 1
    assert "head.safetensors" in done.stderr and "not what was registered" in done.stderr


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_model_whose_base_is_another_is_not_loaded_and_the_file_is_named(restored_clone, file):
    with changed(restored_clone.folder / "base" / file, lambda content: content + b" "):
        done = restored_clone.call("predict", "classifier@champion", "where is my parcel")
    assert done.returncode == 1
    assert file in done.stderr and "needs the base" in done.stderr


def test_only_the_trusted_key_is_trusted(restored_clone, keys):
    trusting = type(restored_clone)(
        restored_clone.folder, {**restored_clone.env, "RETUNE_PUBLIC_KEY": str(keys / "mine.pub")}
    )
    assert ask(trusting, "verify", "classifier/1")["ok"]
    trusting.env["RETUNE_PUBLIC_KEY"] = str(keys / "others.pub")
    assert wrong(ask(trusting, "verify", "classifier/1", code=1)["links"]) == ["model/signature"]
    assert trusting.call("predict", "classifier/1", "hello").returncode == 1


def test_an_alias_moved_behind_retunes_back_is_found(restored_clone):
    client = backend.client()
    client.delete_registered_model_alias("classifier", "champion")
    try:
        history_check = ask(restored_clone, "history", "--verify", code=1)
        assert wrong(history_check["links"]) == ["classifier@champion"]
        assert not ask(restored_clone, "verify", "classifier/1", code=1)["ok"]
    finally:
        client.set_registered_model_alias("classifier", "champion", "1")
    assert ask(restored_clone, "history", "--verify")["ok"]


def test_a_version_that_was_deleted_is_found(registered_clone, tmp_path):
    copy = shutil.copy(registered_clone.folder / ".retune/mlflow.db", tmp_path / "mlflow.db")
    elsewhere = type(registered_clone)(
        registered_clone.folder, {**registered_clone.env, "MLFLOW_TRACKING_URI": f"sqlite:///{copy}"}
    )
    mlflow.MlflowClient(f"sqlite:///{copy}").delete_model_version("classifier", "1")
    history_check = ask(elsewhere, "history", "--verify", code=1)
    assert {"classifier/1", "classifier@champion"} <= set(wrong(history_check["links"]))
    assert elsewhere.call("verify", "classifier/1").returncode == 1


def test_an_entry_of_the_history_that_was_removed_is_found(registered_clone):
    tag = ask(registered_clone, "history", "classifier")[-1]["tag"]
    object_name = registered_clone.git("rev-parse", f"refs/tags/{tag}").strip()
    registered_clone.git("tag", "-d", tag)
    try:
        assert "history, last entry" in wrong(ask(registered_clone, "history", "--verify", code=1)["links"])
        for question in (("lineage", "row", "T-00001"), ("lineage", "data", "data/raw"), ("history", "classifier")):
            done = registered_clone.call(*question)
            assert done.returncode == 1 and "the history is not whole" in done.stderr, question
    finally:
        registered_clone.git("update-ref", f"refs/tags/{tag}", object_name)
    assert ask(registered_clone, "history", "--verify")["ok"]


def test_bytes_come_from_the_remote_and_when_they_are_gone_that_is_said(registered_clone):
    cache, store = registered_clone.folder / ".dvc/cache", registered_clone.folder / "store"
    cache.rename(registered_clone.folder / ".dvc/away")
    try:
        assert ask(registered_clone, "lineage", "model", "classifier/1")["ok"]
        store.rename(registered_clone.folder / "base/away")
        try:
            lineage = ask(registered_clone, "lineage", "model", "classifier/1", code=1)
            missing = [link for link in lineage["links"] if not link["ok"]]
            assert {"data/raw", "data/splits/train.parquet"} <= {link["name"] for link in missing}
            assert all(link["found"] == checks.GONE for link in missing)
            done = registered_clone.call("lineage", "row", "T-00001")
            assert done.returncode == 1 and "bytes gone, hashes kept" in done.stderr
            assert "Traceback" not in done.stderr
            (part,) = (registered_clone.folder / "data/raw").glob("*.parquet")
            done = registered_clone.call("lineage", "data", part)
            assert done.returncode == 1 and "bytes gone, hashes kept" in done.stderr
        finally:
            (registered_clone.folder / "base/away").rename(store)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        (registered_clone.folder / ".dvc/away").rename(cache)
