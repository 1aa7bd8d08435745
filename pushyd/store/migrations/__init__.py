"""The schema's way from any earlier version to the newest, by Alembic, on start.

A new migration is a file in `versions`, and :mod:`pushyd.store.schema` says the same; a test compares the two. There
is no way back but the copy that is made of SQLite's file (of PostgreSQL, its administrator's backup).
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from pushyd.store.engine import database_path, is_sqlite
from pushyd.store.interface import StoreUnavailable

SCRIPTS = "pushyd.store:migrations"
"""Where the migrations are, in Alembic's words."""

_ONE_AT_A_TIME = 0x70757368  # any number that no other program locks in this database


def bring_up_to_date(engine: Engine, scripts: str = SCRIPTS) -> None:
    """Bring the database to the newest schema: all of it or, if anything fails, nothing.

    Of two programs that do so at once the second one waits. Before an upgrade, SQLite's file is copied to
    ``NAME.before-REVISION``.

    :param scripts: the directory of the migrations
    :raise StoreUnavailable: a newer pushyd made it, or it does not hold Unicode
    """
    config = _config(scripts)
    directory = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        sqlite_file = database_path(engine.url) if is_sqlite(engine.url) else None
        if sqlite_file:
            # While a table is made anew its references must not be followed; they are checked at the end instead.
            connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
        try:
            with connection.begin():
                _upgrade(connection, config, directory, sqlite_file)
        finally:
            connection.invalidate()  # it was used in unusual ways


def revisions(engine: Engine, scripts: str = SCRIPTS) -> tuple[str | None, str | None]:
    """The version of the database's schema (None: it has none yet), and the newest one."""
    with engine.connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    return present, ScriptDirectory.from_config(_config(scripts)).get_current_head()


def _config(scripts: str) -> Config:
    config = Config()
    config.set_main_option("script_location", scripts)
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection, config: Config, directory: ScriptDirectory, sqlite_file: Path | None) -> None:
    if sqlite_file is None:
        _prepare_postgresql(connection)
    present = MigrationContext.configure(connection).get_current_revision()
    if present == directory.get_current_head():
        return
    if present is not None:
        if present not in {script.revision for script in directory.walk_revisions()}:
            raise StoreUnavailable(
                f"the database has schema version {present}, which this pushyd does not know: a newer pushyd made it. "
                "Start that version, or restore the copy of the database from before its upgrade."
            )
        if sqlite_file:
            _copy(sqlite_file, present)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if sqlite_file and connection.execute(text("PRAGMA foreign_key_check")).first():
        raise StoreUnavailable("the upgrade would leave references to what is not there; nothing was changed")


def _prepare_postgresql(connection: Connection) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise StoreUnavailable(f"the database has the encoding {encoding}, expected one made with ENCODING 'UTF8'")
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ONE_AT_A_TIME})


def _copy(database: Path, revision: str) -> None:
    target = database.with_name(f"{database.name}.before-{revision}")
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
    part.replace(target)
