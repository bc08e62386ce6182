"""A file that params.yaml names with its hash: DVC follows params.yaml, so a changed file must not pass unnoticed."""

from pathlib import Path

from retune.errors import WrongUse
from retune.system.files import file_sha256


def read(path: str, sha256: str, parameter: str) -> bytes:
    """The bytes of the file. parameter: dotted path of the section that holds `path` and `sha256`.

    Raises WrongUse for a file that is missing or has another hash.
    """
    try:
        actual, content = file_sha256(Path(path)), Path(path).read_bytes()
    except OSError as error:
        raise WrongUse(
            f"{parameter}.path is {path!r}, which cannot be read: {error.strerror}",
            remedy="restore that file with git, or take it out of params.yaml if there is to be none",
        ) from None
    if actual != sha256:
        raise WrongUse(
            f"{path} has sha256 {actual}, and {parameter}.sha256 is {sha256 or 'empty'}",
            remedy=f"restore the file, or write the new hash into {parameter}.sha256 if the change is intended",
        )
    return content
