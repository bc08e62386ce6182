"""Real keys, real signatures, real damage: what was signed checks, and nothing else does."""

import base64
import json
import random
import shutil
import socket

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from retune.errors import Broken, WrongUse
from retune.lineage import checksums, signing
from retune.lineage.check import Check

FILES = {
    "MLmodel": b"flavors: {}\n",
    "artifacts/candidate/model.safetensors": bytes(range(64)),
    "artifacts/candidate/.gitattributes": b"* text\n",
    ".gitignore": b"/gone\n",
    ".git/config": b"[core]\n",
    ".github/run.yaml": b"on: push\n",
    "code/tasks/__init__.py": b"",
    "lineage.json": b"{}\n",
}


def write_key(path, signing_key=None, password=None):
    signing_key = signing_key or ec.generate_private_key(ec.SECP256R1())
    hidden = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    path.write_bytes(signing_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    public = path.with_suffix(".pub")
    public.write_bytes(signing_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory):
    return write_key(tmp_path_factory.mktemp("keys") / "key.pem")


@pytest.fixture(scope="session")
def other_key(tmp_path_factory):
    return write_key(tmp_path_factory.mktemp("other") / "key.pem")


@pytest.fixture
def signed_folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    return tmp_path / "model"


def payload(signed_folder):
    bundle = json.loads((signed_folder / "model.sig").read_text())
    return json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))


def refit(signed_folder, signing_key, change):
    """Sign again what `change` makes of the payload: a signature that really is the key's."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = signed_folder / "model.sig"
    inner, bundle = payload(signed_folder), json.loads(path.read_text())
    change(inner)
    raw = json.dumps(inner).encode()
    signed = b" ".join([b"DSSEv1 28 application/vnd.in-toto+json", str(len(raw)).encode(), raw])
    signature = load_pem_private_key(signing_key.read_bytes(), None).sign(signed, ec.ECDSA(SHA256()))
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(raw).decode()
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    path.write_text(json.dumps(bundle))


def test_what_was_signed_checks_by_its_signer_alone_and_by_a_trusted_key(signed_folder, signing_key):
    signer = signing.sign(signed_folder, signing_key)
    assert signing.check(signed_folder, signer) == Check("signature", signer, signer, ok=True)
    assert signing.check(signed_folder, signer, signing_key.with_suffix(".pub")).ok
    assert (signed_folder / "signer.pub").read_bytes() == signing_key.with_suffix(".pub").read_bytes()


def test_it_covers_every_file_and_those_of_git_too(signed_folder, signing_key):
    signing.sign(signed_folder, signing_key)
    assert {entry["name"] for entry in payload(signed_folder)["predicate"]["resources"]} == {*FILES, "signer.pub"}


def test_sums_written_after_it_and_what_mlflow_writes_later_do_not_touch_it(signed_folder, signing_key):
    signer = signing.sign(signed_folder, signing_key)
    checksums.write(signed_folder)
    (signed_folder / "registered_model_meta").write_text("model_version: 3\n")
    assert signing.check(signed_folder, signer).ok
    assert signing.sign(signed_folder, signing_key) == signer  # and again over it all
    assert signing.check(signed_folder, signer).ok


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_each_of_the_three_curves_signs_also_with_a_password(signed_folder, tmp_path, curve):
    key = write_key(tmp_path / "key.pem", ec.generate_private_key(curve()), "möp")
    assert signing.check(signed_folder, signing.sign(signed_folder, key, "möp")).ok


def test_signing_and_checking_open_no_connection(signed_folder, signing_key, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert signing.check(signed_folder, signing.sign(signed_folder, signing_key)).ok


def test_a_trusted_key_may_be_written_with_other_line_ends(signed_folder, signing_key, tmp_path):
    public = tmp_path / "windows.pub"
    public.write_bytes(b"our key\r\n" + signing_key.with_suffix(".pub").read_bytes().replace(b"\n", b"\r\n"))
    assert signing.check(signed_folder, signing.sign(signed_folder, signing_key), public).ok


def test_an_unsigned_version_says_so_and_passes_only_where_no_key_is_trusted(signed_folder, signing_key):
    assert signing.check(signed_folder, "unsigned") == Check("signature", "unsigned", "unsigned", ok=True)
    refused = signing.check(signed_folder, "unsigned", signing_key.with_suffix(".pub"))
    assert (refused.ok, refused.found) == (False, "unsigned")


def test_a_signature_added_to_an_unsigned_version_is_found(signed_folder, signing_key):
    signing.sign(signed_folder, signing_key)
    assert signing.check(signed_folder, "unsigned").found == "added: model.sig, signer.pub"
    (signed_folder / "model.sig").unlink()
    assert signing.check(signed_folder, "unsigned").found == "added: signer.pub"


def changed(signed_folder):
    (signed_folder / "artifacts/candidate/model.safetensors").write_bytes(b"evil")


def is_gone(signed_folder):
    (signed_folder / "lineage.json").unlink()


def emptied(signed_folder):
    shutil.rmtree(signed_folder / "code")


def more(signed_folder):
    (signed_folder / "code/tasks/evil.py").touch()


def more_of_git(signed_folder):
    (signed_folder / ".gitattributes").touch()


def more_in_a_folder_with_a_name_left_out(signed_folder):
    (signed_folder / "registered_model_meta").mkdir()
    (signed_folder / "registered_model_meta/evil.py").touch()


def linked(signed_folder):
    (signed_folder / "link").symlink_to("MLmodel")


def all_at_once(signed_folder):
    changed(signed_folder), is_gone(signed_folder), more(signed_folder)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (changed, "changed: artifacts/candidate/model.safetensors"),
        (is_gone, "missing: lineage.json"),
        (emptied, "missing: code/tasks/__init__.py"),
        (more, "added: code/tasks/evil.py"),
        (more_of_git, "added: .gitattributes"),
        (more_in_a_folder_with_a_name_left_out, "added: registered_model_meta/evil.py"),
        (linked, "added: link"),
        (
            all_at_once,
            "changed: artifacts/candidate/model.safetensors; added: code/tasks/evil.py; missing: lineage.json",
        ),
    ],
)
def test_whatever_was_changed_added_or_taken_away_is_named(signed_folder, signing_key, damage, expected):
    signer = signing.sign(signed_folder, signing_key)
    damage(signed_folder)
    link = signing.check(signed_folder, signer)
    assert (link.ok, link.expected, link.found) == (False, signer, expected)


def test_a_stripped_signature_is_found(signed_folder, signing_key):
    signer = signing.sign(signed_folder, signing_key)
    (signed_folder / "model.sig").unlink()
    assert signing.check(signed_folder, signer).found == "missing: model.sig"
    (signed_folder / "signer.pub").unlink()
    assert signing.check(signed_folder, signer).found == "missing: model.sig, signer.pub"


def test_a_signature_swapped_for_another_key_is_found(signed_folder, signing_key, other_key):
    signer = signing.sign(signed_folder, signing_key)
    ours = (signed_folder / "signer.pub").read_bytes()
    other = signing.sign(signed_folder, other_key)
    assert signing.check(signed_folder, signer).found == f"signer.pub is another key: {other}"
    (signed_folder / "signer.pub").write_bytes(ours)
    assert not signing.check(signed_folder, signer).ok
    assert not signing.check(signed_folder, other).ok


def test_a_signature_that_only_claims_to_be_the_signers_is_found(signed_folder, signing_key, other_key):
    signer = signing.sign(signed_folder, signing_key)
    refit(signed_folder, other_key, lambda inner: None)
    assert signing.check(signed_folder, signer).found == "model.sig was not made with the key of signer.pub"


def test_a_version_signed_by_someone_else_does_not_pass_for_one_who_trusts_another_key(
    signed_folder, signing_key, other_key
):
    link = signing.check(signed_folder, signing.sign(signed_folder, other_key), signing_key.with_suffix(".pub"))
    assert not link.ok
    assert link.expected == signing.file_signer(signing_key.with_suffix(".pub"))
    assert link.found.startswith("signed by ")


@pytest.mark.parametrize(
    "change",
    [
        lambda inner: inner["predicate"]["serialization"]["ignore_paths"].append("code"),
        lambda inner: inner["predicate"]["serialization"].update(allow_symlinks=True),
        lambda inner: inner["predicate"]["serialization"].update(method="shards", shard_size=9),
        lambda inner: inner.update(predicateType="https://model_signing/Digests/v0.1"),
        lambda inner: inner["predicate"].pop("resources"),
        lambda inner: inner["predicate"].update(resources="none"),
        lambda inner: inner.pop("_type"),
        lambda inner: inner.update(subject=[]),
    ],
)
def test_even_the_right_key_cannot_sign_less_than_everything(signed_folder, signing_key, change):
    signer = signing.sign(signed_folder, signing_key)
    refit(signed_folder, signing_key, lambda inner: None)
    assert signing.check(signed_folder, signer).ok
    refit(signed_folder, signing_key, change)
    assert "damaged" in signing.check(signed_folder, signer).found


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000, b'{"verificationMaterial": {"publicKey": null}}']
)
def test_a_file_that_is_no_signature_gives_an_answer_and_no_traceback(signed_folder, signing_key, content):
    signer = signing.sign(signed_folder, signing_key)
    (signed_folder / "model.sig").write_bytes(content)
    assert "damaged" in signing.check(signed_folder, signer).found


def test_a_signature_without_a_hint_at_its_key_is_refused_and_nothing_is_printed(signed_folder, signing_key, capsys):
    signer = signing.sign(signed_folder, signing_key)
    path = signed_folder / "model.sig"
    bundle = json.loads(path.read_text())
    bundle["verificationMaterial"]["publicKey"] = {}
    path.write_text(json.dumps(bundle))
    assert not signing.check(signed_folder, signer).ok
    assert capsys.readouterr().out == ""


def test_no_flipped_bit_is_missed_by_both_checks_together(signed_folder, signing_key):
    """200 of them: a random file, a random bit of it, signature, public key and list of checksums included."""
    signer = signing.sign(signed_folder, signing_key)
    seal = checksums.write(signed_folder)
    draw = random.Random(17)
    targets = [path for path in sorted(signed_folder.rglob("*")) if path.is_file() and path.stat().st_size]
    missed = []
    for turn in range(200):
        path = draw.choice(targets)
        content = path.read_bytes()
        where, bit = draw.randrange(len(content)), draw.randrange(8)
        path.write_bytes(content[:where] + bytes([content[where] ^ 1 << bit]) + content[where + 1 :])
        wrong = [link.name for link in checksums.check(signed_folder, seal) if not link.ok]
        signature = signing.check(signed_folder, signer)
        name = path.relative_to(signed_folder).as_posix()
        if name not in wrong or (signature.ok and name not in ("model.sig", "SHA256SUMS")):
            missed.append((turn, name, where, bit))
        path.write_bytes(content)
    assert missed == []
    assert signing.check(signed_folder, signer).ok
    assert all(link.ok for link in checksums.check(signed_folder, seal))


def test_a_wrong_path_a_folder_or_a_text_is_no_key(signed_folder, tmp_path):
    (tmp_path / "text.pem").write_text("hello")
    for path, words in [("gone.pem", "cannot be read"), (".", "cannot be read"), ("text.pem", "no private key")]:
        with pytest.raises(WrongUse, match=words):
            signing.sign(signed_folder, tmp_path / path)
    assert not (signed_folder / "signer.pub").exists()


def test_a_password_that_is_missing_wrong_or_not_needed_is_said(signed_folder, signing_key, tmp_path):
    locked = write_key(tmp_path / "locked.pem", password="open")
    with pytest.raises(WrongUse, match="is encrypted, and no password is given"):
        signing.sign(signed_folder, locked)
    with pytest.raises(WrongUse, match="or the password is wrong"):
        signing.sign(signed_folder, locked, "sesame")
    with pytest.raises(WrongUse, match="is not encrypted, but a password is given"):
        signing.sign(signed_folder, signing_key, "sesame")


@pytest.mark.parametrize(
    "other",
    [
        lambda: rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate,
        lambda: ec.generate_private_key(ec.SECP256K1()),
    ],
)
def test_a_key_of_another_kind_is_refused_and_told_what_makes_one(signed_folder, tmp_path, other):
    with pytest.raises(WrongUse, match="openssl ecparam -name prime256v1"):
        signing.sign(signed_folder, write_key(tmp_path / "key.pem", other()))


def test_a_public_key_that_is_none_is_the_users_mistake_and_no_broken_signature(signed_folder, signing_key, tmp_path):
    signer = signing.sign(signed_folder, signing_key)
    for path in (signing_key, tmp_path / "gone.pub"):
        with pytest.raises(WrongUse, match=r"public key"):
            signing.check(signed_folder, signer, path)


def test_a_folder_with_a_link_in_it_is_not_signed(signed_folder, signing_key):
    linked(signed_folder)
    with pytest.raises(Broken, match="link is no plain file"):
        signing.sign(signed_folder, signing_key)
