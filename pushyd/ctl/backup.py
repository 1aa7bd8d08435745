"""``pushyd-ctl backup``: one file with everything that another machine needs to be this server.

The database in it is as it was at one moment, whatever the server does meanwhile. The rest of the state directory is
written once, in one piece each, so it is copied as it lies there.
"""

import os
import shutil
import sqlite3
import subprocess
import tarfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import URL

from pushyd.store.engine import database_path, is_sqlite, parse_url
from pushyd.store.interface import StoreUnavailable

SQLITE_NAME = "pushyd.sqlite"
"""Of the database in the archive, which is unpacked to a state directory that works."""

POSTGRESQL_NAME = "pushyd.pgdump"
"""For ``pg_restore``."""


def back_up(state: Path, database: str, target: Path, environment: Mapping[str, str]) -> None:
    """Write a tar archive that only its owner can read (0600), in one piece.

    :param database: the URL of the database
    :param environment: with the PATH to ``pg_dump``, if the database is PostgreSQL's
    :raise FileExistsError: `target` exists
    :raise StoreUnavailable: the database cannot be copied
    :raise OSError: the archive cannot be written
    """
    with TemporaryDirectory(dir=target.absolute().parent, prefix=f".{target.name}.") as scratch:  # made 0700
        url = parse_url(database)
        copy = _copy_sqlite(url, Path(scratch)) if is_sqlite(url) else _dump(url, Path(scratch), environment)
        part = Path(scratch) / "part"
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                for path in sorted(state.iterdir()):
                    if _belongs(path):
                        archive.add(path, path.name, recursive=False)
                archive.add(copy, copy.name)
            file.flush()
            os.fsync(file.fileno())
        target.hardlink_to(part)


def _belongs(path: Path) -> bool:
    """Whether a file of the state directory is none of the database, of a lock, or half written."""
    return path.is_file() and path.name != "lock" and not path.name.startswith((".", SQLITE_NAME))


def _copy_sqlite(url: URL, scratch: Path) -> Path:
    source_path, target = database_path(url), scratch / SQLITE_NAME
    os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            closing(sqlite3.connect(f"{source_path.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{source_path}: the database cannot be copied: {error}") from None
    return target


def _dump(url: URL, scratch: Path, environment: Mapping[str, str]) -> Path:
    program = shutil.which("pg_dump", path=environment.get("PATH"))
    if program is None:
        raise StoreUnavailable("the database is PostgreSQL's, and pg_dump is not on the PATH; install its client")
    target = scratch / POSTGRESQL_NAME
    # Who lists processes must not see the password.
    plain = url.set(drivername="postgresql", password=None).render_as_string()
    secret = {} if url.password is None else {"PGPASSWORD": str(url.password)}
    ended = subprocess.run(  # noqa: S603 - the operator's own PATH and settings
        [program, "--format=custom", "--no-password", f"--file={target}", f"--dbname={plain}"],
        env={**environment, **secret},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise StoreUnavailable(f"pg_dump: {' '.join(ended.stderr.split())}")
    return target
