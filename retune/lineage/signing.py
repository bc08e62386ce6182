"""The signature of a registered version: OpenSSF model-signing with an elliptic-curve key of the user's. Door to
model_signing and cryptography. Works offline; nothing is sent anywhere.

    openssl ecparam -name prime256v1 -genkey -noout -out key.pem     makes such a key
    openssl ec -in key.pem -pubout -out signer.pub                   and what others check with

A signature covers every file of the version but itself, SHA256SUMS, which is written after it, and what MLflow
writes at the first load. It covers signer.pub too. The library leaves out `.gitattributes` and the like unless told
otherwise, and takes from a signature which paths to leave out: both are closed here.

What a signature does not cover is its own wrapping (the hint at the key, empty fields, how it is encoded), so a bit
may flip in there and the signature still fit. SHA256SUMS covers those bytes: only both checks together miss nothing.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from retune.errors import Broken, WrongUse
from retune.lineage import checksums
from retune.lineage.check import Check

SIGNATURE, PUBLIC_KEY = "model.sig", "signer.pub"
UNSIGNED = "unsigned"
NAME = "signature"  # of the link
LEFT_OUT = (SIGNATURE, checksums.FILE, checksums.META)
PREDICATE = "https://model_signing/signature/v1.0"
CURVES = ("secp256r1", "secp384r1", "secp521r1")
# What reading a hostile signature raises, here and in the library, which looks into it before it has checked it.
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def sign(folder: Path, key: Path, password: str | None = None) -> str:
    """Write signer.pub and model.sig. The signer: the sha256 of signer.pub. Raises WrongUse for a key that cannot sign.

    SHA256SUMS, which covers both, is to be written afterwards.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from model_signing import signing

    public = private_key(key, password).public_key()
    for name, path in checksums.entries(folder).items():
        if path.is_symlink() or not path.is_file():
            raise Broken(f"{folder} cannot be signed: {checksums.shown(name)} is no plain file")
    (folder / PUBLIC_KEY).write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    secret: Any = password.encode() if password else None  # the library asks for str, and then fails on it
    config = signing.Config().use_elliptic_key_signer(private_key=key, password=secret)
    config.set_hashing_config(_hashing()).sign(folder, folder / SIGNATURE)
    return file_signer(folder / PUBLIC_KEY)


def check(folder: Path, signer: str, trusted: Path | None = None) -> Check:
    """Whether the version is signed as `signer` says, which is `unsigned` or the sha256 of signer.pub.

    `trusted` is the public key that must have signed: with it, an unsigned version does not pass.
    """
    expected = _fingerprint(trusted) if trusted else signer
    signature = _found(folder, signer)
    if signature == signer != expected:
        signature = f"signed by {signer}, not by {trusted}" if signer != UNSIGNED else UNSIGNED
    return Check(NAME, expected, signature, ok=signature == expected)


def file_signer(public_key: Path) -> str:
    return hashlib.sha256(public_key.read_bytes()).hexdigest()


def _found(folder: Path, signer: str) -> str:
    """`signer` if the folder is as it was signed; else what is wrong with it."""
    has = [name for name in (SIGNATURE, PUBLIC_KEY) if (folder / name).is_file()]
    if signer == UNSIGNED:
        return f"added: {', '.join(has)}" if has else UNSIGNED
    if missing := [name for name in (SIGNATURE, PUBLIC_KEY) if name not in has]:
        return f"missing: {', '.join(missing)}"
    if (fingerprint := file_signer(folder / PUBLIC_KEY)) != signer:
        return f"{PUBLIC_KEY} is another key: {fingerprint}"
    try:
        signed = _signed(folder / SIGNATURE, signer)
    except DAMAGE:
        return f"{SIGNATURE} is damaged, or was not made by Retune"
    return _verified(folder, signed) or signer


def _signed(bundle: Path, signer: str) -> dict[str, str]:
    """name -> sha256 as a signature has it, not checked yet. Raises one of DAMAGE for one that `sign` never writes."""
    outer = json.loads(bundle.read_text("utf-8"))
    if outer["verificationMaterial"]["publicKey"]["hint"] != signer:  # without any, the library prints to stdout
        raise ValueError("made with another key")
    inner = json.loads(base64.b64decode(outer["dsseEnvelope"]["payload"], validate=True))
    how = dict(inner["predicate"]["serialization"])
    left_out = set(how.pop("ignore_paths"))
    if inner["predicateType"] != PREDICATE or left_out != set(LEFT_OUT):
        raise ValueError("leaves out what must be signed")
    if how != {"method": "files", "hash_type": "sha256", "allow_symlinks": False}:
        raise ValueError("made in another way")
    return {resource["name"]: resource["digest"] for resource in inner["predicate"]["resources"]}


def _verified(folder: Path, signed: dict[str, str]) -> str:
    """What is wrong, files by their names; empty if nothing is."""
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=folder / PUBLIC_KEY)
        config.set_hashing_config(_hashing()).verify(folder, folder / SIGNATURE)
        covered = {name: signed.get(name, "") for name in _covered(folder)}  # it has compared the contents
    except InvalidSignature:
        return f"{SIGNATURE} was not made with the key of {PUBLIC_KEY}"
    except OSError as error:
        raise Broken(f"{error.filename} cannot be read: {error.strerror}") from None
    except DAMAGE:  # a mismatch too, which the library tells only as a sentence
        content = checksums.contents(folder)
        covered = {name: content[name] for name in _covered(folder)}
        return _difference(signed, covered) or f"{SIGNATURE} is damaged"
    return _difference(signed, covered)


def _covered(folder: Path) -> list[str]:
    return [name for name in checksums.entries(folder) if name not in LEFT_OUT]


def _difference(signed: dict[str, str], covered: dict[str, str]) -> str:
    kinds = {
        "changed": [name for name in covered if name in signed and covered[name] != signed[name]],
        "added": [name for name in covered if name not in signed],
        "missing": [name for name in signed if name not in covered],
    }
    return "; ".join(
        f"{kind}: {', '.join(map(checksums.shown, sorted(names)))}" for kind, names in kinds.items() if names
    )


def _hashing() -> Any:
    from model_signing import hashing

    config = hashing.Config().use_file_serialization(hashing_algorithm="sha256", allow_symlinks=False)
    return config.set_ignored_paths(paths=[Path(name) for name in LEFT_OUT], ignore_git_paths=False)


def private_key(path: Path, password: str | None) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _bytes(path, "signing key")
    try:
        key = load_pem_private_key(content, password.encode() if password else None)
    except TypeError:
        mismatch = "is not encrypted, but a password is given" if password else "is encrypted, and no password is given"
        raise WrongUse(f"the signing key {path} {mismatch}") from None
    except UnsupportedAlgorithm as error:
        raise WrongUse(f"the signing key {path} is of a kind that cannot be read here: {error}") from None
    except ValueError:
        mismatch = "is no private key in PEM, or the password is wrong" if password else "is no private key in PEM"
        raise WrongUse(f"the signing key {path} {mismatch}") from None
    if not isinstance(key, EllipticCurvePrivateKey):
        raise WrongUse(f"the signing key {path} is no elliptic-curve key; {_how()}")
    if key.curve.name not in CURVES:
        raise WrongUse(f"the signing key {path} is on the curve {key.curve.name}, not on {', '.join(CURVES)}; {_how()}")
    return key


def _fingerprint(path: Path) -> str:
    """Of a public key, however the file that a user names writes it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    try:
        key = load_pem_public_key(_bytes(path, "public key"))
    except (ValueError, UnsupportedAlgorithm):
        raise WrongUse(f"{path} is no public key in PEM: name the signer's, of which a version has a copy") from None
    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _bytes(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongUse(f"the {what} {path} cannot be read: {error.strerror}") from None


def _how() -> str:
    return "`openssl ecparam -name prime256v1 -genkey -noout -out key.pem` makes one that can sign"
