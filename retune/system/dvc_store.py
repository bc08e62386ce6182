"""Bytes by their DVC hash: from the cache, else from the remotes. Door to DVC's Python API, which only reads."""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import IO, Any

from retune.errors import Broken, Refused
from retune.system import dvc_files
from retune.system.files import bytes_md5, file_md5, write_bytes

CHUNK = 1 << 20
REMOTE_PATIENCE = 30  # seconds for a remote to answer


class MissingBytes(Refused):
    """The bytes of a hash are neither in the cache nor in a remote."""


@cache
def _repository(folder: Path) -> Any:
    from dvc.repo import Repo

    return Repo(folder)


def has_remote() -> bool:
    """Whether a default remote is configured."""
    return bool(_repository(Path.cwd()).config["core"].get("remote"))


def require_remote() -> str:
    """The address of the default remote, once it has answered; empty if none is configured.

    Raises Broken if it needs a package that is not installed, does not answer in time, or has no such folder or bucket.
    """
    if not has_remote():
        return ""
    name = _repository(Path.cwd()).config["core"]["remote"]
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        return pool.submit(_ask_remote, name).result(REMOTE_PATIENCE)
    except TimeoutError:
        reason = f"no answer for {REMOTE_PATIENCE} s"
    except Exception as error:  # a client of any maker, or none installed; all mean that nothing can be pushed
        reason = " ".join(str(error).split()) or type(error).__name__
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    raise Broken(
        f"the default DVC remote {name!r} is out of reach, so what a run makes could not be pushed: {reason}",
        remedy="mend it (`dvc remote list`, `dvc config --show-origin core.remote`), or do without one here: "
        "`dvc config --local core.remote ''`",
    )


def _ask_remote(name: str) -> str:
    remote = _repository(Path.cwd()).cloud.get_remote(name)
    if remote.fs.protocol == "local":
        folder = next(path for path in (Path(remote.path), *Path(remote.path).parents) if path.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise PermissionError(f"{folder} cannot be written to")
    elif not _exists(remote.fs, remote.path) and remote.fs.protocol not in ("http", "https"):
        raise FileNotFoundError(f"there is no {remote.path}, nor anything above it")
    return f"{name} ({remote.path})"


def _exists(fs: Any, path: str) -> bool:
    """Whether a folder of a remote exists, or one above it, in which the first push makes it."""
    while path.strip("/"):
        if fs.exists(path):
            return True
        path = path.rstrip("/").rpartition("/")[0]
    return False


def cache_folder() -> Path:
    """Where the bytes are kept; worktrees of one clone share it."""
    return Path(_repository(Path.cwd()).cache.local_cache_dir).resolve()


def share_cache(folder: Path) -> None:
    """Let a worktree in `folder` use this one's cache and remotes, and the settings of it that git does not keep."""
    from configobj import ConfigObj

    settings = ConfigObj(".dvc/config.local", write_empty_values=True, list_values=False)
    settings["cache"] = {**settings.get("cache", {}), "dir": str(cache_folder())}
    for name, remote in _repository(Path.cwd()).config["remote"].items():
        if "://" not in remote["url"]:  # a folder, which may be named relative to where the settings stand
            key = f'remote "{name}"'
            settings[key] = {**settings.get(key, {}), "url": str(remote["url"])}
    settings.filename = str(folder / ".dvc/config.local")
    settings.write()
    (folder / ".dvc/config.local").chmod(0o600)  # it may hold the credentials of a remote


def cached(md5: str) -> Path:
    """Where the cache keeps the bytes of a hash, whether it has them or not."""
    return Path(_repository(Path.cwd()).cache.local.oid_to_path(md5))


def open_bytes(md5: str) -> IO[bytes]:
    """The bytes that are kept under a hash. Raises MissingBytes if nobody has them."""
    if (path := cached(md5)).is_file():
        return path.open("rb")
    for name in _repository(Path.cwd()).config["remote"]:
        try:
            store = _repository(Path.cwd()).cloud.get_remote_odb(name)
            if store.fs.exists(where := store.oid_to_path(md5)):
                file: IO[bytes] = store.fs.open(where, "rb")
                return file
        except Exception as error:  # a client of any maker, or none installed; all mean: not known whether it is there
            raise Broken(f"the DVC remote {name} cannot be asked for {md5}: {error}") from None
    raise MissingBytes(f"bytes gone, hash kept: {md5} is neither in the DVC cache nor in a remote")


def keep(content: bytes, suffix: str = "") -> str:
    """Put bytes into the cache, as `dvc add` does. Returns their hash, with the suffix `.dir` for a listing."""
    md5 = bytes_md5(content) + suffix
    if not (path := cached(md5)).is_file():
        write_bytes(path, content)
        path.chmod(0o444)
    return md5


def size(md5: str) -> int:
    """The number of bytes that are kept under a hash. Raises MissingBytes."""
    if (path := cached(md5)).is_file():
        return path.stat().st_size
    with open_bytes(md5) as file:
        return file.seek(0, os.SEEK_END)


def read_bytes(md5: str) -> bytes:
    with open_bytes(md5) as file:
        return file.read()


def parquet(md5: str) -> Path | io.BytesIO:
    """Something that a Parquet reader takes: the cache's own file, so that no more is read than asked for."""
    path = cached(md5)
    return path if path.is_file() else io.BytesIO(read_bytes(md5))


def rehash(md5: str) -> str:
    """The hash that the bytes kept under `md5` have now: of a folder's listing with its `.dir`. Raises MissingBytes."""
    digest = hashlib.md5(usedforsecurity=False)
    with open_bytes(md5) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() + (".dir" if md5.endswith(".dir") else "")


def fetch(md5: str, target: Path) -> None:
    """Write what is kept under a hash to `target`, a folder's files below it. Raises MissingBytes, or
    Refused for other bytes than those of the hash."""
    if md5.endswith(".dir"):
        if (md5_now := rehash(md5)) != md5:
            raise Refused(f"the listing {md5} in the DVC store is damaged, it is {md5_now}")
        for name, file_md5 in listing(md5).items():
            fetch(file_md5, target / name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.md5(usedforsecurity=False)
    with open_bytes(md5) as source, target.open("wb") as copy:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    if digest.hexdigest() != md5:
        raise Refused(f"the bytes kept under {md5} in the DVC store are damaged, they are {digest.hexdigest()}")


def listing(md5: str) -> dict[str, str]:
    """path -> md5 of the files of a folder, whose hash ends in `.dir`. Raises MissingBytes; Refused if damaged."""
    try:
        return {entry["relpath"]: entry["md5"] for entry in json.loads(read_bytes(md5))}
    except (ValueError, TypeError, KeyError):
        raise Refused(f"the listing {md5} in the DVC store is damaged") from None


def cached_listing(md5: str) -> dict[str, str]:
    """As `listing`, from the cache of this machine alone."""
    if not cached(md5).is_file():
        raise MissingBytes(f"bytes gone, hash kept: {md5} is not in the DVC cache")
    return listing(md5)


def are_cached(pointer: Path) -> bool:
    """Whether the cache has every file of the folder that a pointer names."""
    return all(cached(md5).is_file() for md5 in cached_listing(dvc_files.pointer_md5(pointer)).values())


def may_be(file: Path, md5: str) -> bool:
    """Whether a file can have this hash: by its size, where the cache has these bytes, else by its own hash."""
    stored = cached(md5)
    return file.stat().st_size == stored.stat().st_size if stored.is_file() else file_md5(file) == md5


def files(path: str, md5: str) -> Iterator[tuple[str, str]]:
    """The path and hash of an output and, if it is a folder, of every file in it."""
    yield path, md5
    if md5.endswith(".dir"):
        for name, file_md5 in listing(md5).items():
            yield f"{path}/{name}", file_md5


def table(md5: str, columns: list[str] | None) -> Any:
    """A Parquet file of the store as an Arrow table; None if its bytes are gone or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(parquet(md5), columns=columns, use_threads=False)
    except (MissingBytes, pa.ArrowException, OSError):
        return None


def read_verified(md5: str, columns: list[str]) -> Any:
    """The table kept under a hash, if its bytes still have it."""
    if (md5_now := rehash(md5)) != md5:
        raise Refused(f"the DVC store keeps other bytes under {md5}: they have md5 {md5_now}")
    import pyarrow.parquet as pq

    return pq.read_table(parquet(md5), columns=columns).to_pandas()
