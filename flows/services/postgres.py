"""A PostgreSQL of the clone's own, where it is installed: its data in `.retune/services/postgres`, on loopback only.

PostgreSQL refuses to run as root, so root hands it to another account. Passwords go by a file that libpq and asyncpg
read (PGPASSFILE): they stand in no address and on no command line. Door to psycopg.
"""

import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retune.errors import Broken

if TYPE_CHECKING:
    import psycopg

ROLE = "retune"
SERVED = "retune"  # the database of what was served
DATABASES = ("prefect", "mlflow", SERVED)
ACCOUNTS = ("postgres", "nobody")  # accounts that root runs it under: the first that exists
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
PROGRAMS = ("initdb", "postgres")
SAME_MOMENT = 5  # seconds between the start in postmaster.pid and that of the system


@dataclass(frozen=True)
class Installed:
    """Where the programs are, and the account that they run under; None: the account of this process."""

    programs: Path
    account: str | None


def installed(folder: Path) -> Installed | str:
    """The installation that can run a database in `folder`, or in words why there is none."""
    programs = _programs()
    if not programs:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if os.geteuid() != 0:
        return Installed(programs, None)
    account = next((name for name in ACCOUNTS if _has_account(name)), None)
    if not account:
        return f"PostgreSQL does not run as root, and no account {' or '.join(ACCOUNTS)} exists to run it"
    if subprocess.run(["test", "-x", folder], user=account, group=_group(account), extra_groups=[]).returncode:
        return (
            f"PostgreSQL does not run as root, and the account {account} may not enter {folder}: "
            "let others enter the folders above the clone (chmod o+x), or run as another account"
        )
    return Installed(programs, account)


def _programs() -> Path | None:
    """The folder of all programs: the newest installed version, else the one on the path."""
    matches = [folder for place in PLACES for folder in Path("/").glob(place.lstrip("/"))]
    matches.sort(
        key=lambda folder: [int(part) for part in folder.parent.name.split(".") if part.isdigit()], reverse=True
    )
    on_path = shutil.which("postgres")
    folders = [*matches, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((folder for folder in folders if all((folder / name).exists() for name in PROGRAMS)), None)


def _has_account(account: str) -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwnam(account))
    return False


def _group(account: str) -> int:
    return pwd.getpwnam(account).pw_gid


def as_account(account: str | None) -> dict[str, object]:
    """The arguments with which `subprocess` runs under that account."""
    return {"user": account, "group": _group(account), "extra_groups": []} if account else {}


def make(installation: Installed, data: Path, password: str) -> None:
    """Create an empty database cluster at `data`, whole or not at all."""
    if (data / "PG_VERSION").exists():
        return
    unfinished, secret = data.with_name(f"{data.name}.new"), data.with_name("postgres.first")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    secret.touch(mode=0o600)
    secret.write_text(f"{password}\n", "ascii")
    if installation.account:
        for path in (unfinished, secret):
            shutil.chown(path, installation.account, _group(installation.account))
    words = [f"--pgdata={unfinished}", f"--username={ROLE}", f"--pwfile={secret}"]
    words += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    try:
        result = subprocess.run(
            [installation.programs / "initdb", *words],
            capture_output=True,
            text=True,
            cwd="/",
            **as_account(installation.account),  # type: ignore[call-overload]
        )
    finally:
        secret.unlink()
    if result.returncode:
        raise Broken(f"PostgreSQL could not create {data}: {(result.stderr or result.stdout).strip()}")
    unfinished.rename(data)


def command(installation: Installed, data: Path, port: int) -> list[str]:
    drop_stale_lock(data)
    options = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories="]
    return [
        str(installation.programs / "postgres"),
        "-D",
        str(data),
        *(word for option in options for word in ("-c", option)),
    ]


def drop_stale_lock(data: Path) -> None:
    """Remove the lock file of a server that died, if its pid belongs to another process by now, or to a zombie.

    PostgreSQL looks only whether there is such a process: after a reboot there may well be, and one that was killed
    keeps its number until it is buried. What it had started has ended by then: `up` sees to that before.
    """
    import psutil

    lock = data / "postmaster.pid"
    if not lock.exists():
        return
    lines = lock.read_text("ascii", "replace").splitlines()
    try:
        holder = psutil.Process(int(lines[0]))
        alive = holder.status() != psutil.STATUS_ZOMBIE
        same = alive and (holder.name() in PROGRAMS or abs(holder.create_time() - int(lines[2])) < SAME_MOMENT)
    except (psutil.NoSuchProcess, ValueError, IndexError):
        same = False
    if not same:
        lock.unlink()


def answers(port: int, passwords: Path) -> bool:
    """Whether it accepts connections. Raises Broken if it refuses the password: waiting does not help then."""
    import psycopg

    try:
        with _connect(port, passwords):
            return True
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise Broken(
                f"PostgreSQL at port {port} refuses the password in {passwords}: "
                "docs/how-to/operate/rotate-secrets.md says how to set it again"
            ) from None
        return False


def make_databases(port: int, passwords: Path) -> None:
    with _connect(port, passwords) as connection:
        existing_names = {row[0] for row in connection.execute("select datname from pg_database")}
        for name in DATABASES:
            if name not in existing_names:
                connection.execute(f'create database "{name}"')


def set_password(port: int, passwords: Path, new: str) -> None:
    """Set the password by its hash, so that no log of the server can hold the password."""
    from psycopg import sql

    with _connect(port, passwords) as connection:
        hashed = connection.pgconn.encrypt_password(new.encode(), ROLE.encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(ROLE), sql.Literal(hashed)))


def _connect(port: int, passwords: Path) -> "psycopg.Connection":
    import psycopg

    return psycopg.connect(
        host="127.0.0.1",
        port=port,
        user=ROLE,
        dbname="postgres",
        passfile=str(passwords),
        connect_timeout=5,
        autocommit=True,
    )


def address(driver: str, port: int, database: str) -> str:
    """The address without a password, which is in the file that PGPASSFILE names."""
    return f"postgresql{driver}://{ROLE}@127.0.0.1:{port}/{database}"


def pgpass(port: int, password: str) -> str:
    return f"127.0.0.1:{port}:*:{ROLE}:{password}\n"
