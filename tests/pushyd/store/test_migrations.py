"""The schema's way: from nothing, from an older version, and from a newer one."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, column, inspect, table

from pushyd.store import migrations, output_reads, outputs
from pushyd.store.engine import parse_url, prepare_file, writer_engine
from pushyd.store.interface import JobQuery, StoreUnavailable
from pushyd.store.job_lists import read_jobs
from pushyd.store.migrations import bring_up_to_date
from pushyd.store.output_interface import OutputPiece, OutputRules, StreamRef
from pushyd.store.schema import FEW_NODES, metadata
from tests import postgres

HEAD = "0005"
"""The newest revision there is."""

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "test2"
down_revision = "{head}"

def upgrade():
    with op.batch_alter_table("jobs", recreate="auto") as batch:
        batch.alter_column("command", nullable=True)
    {more}
"""


def next_version(tmp_path: Path, more: str = "") -> str:
    """A directory of migrations with one more than there is."""
    directory = shutil.copytree(Path(migrations.__file__).parent, tmp_path / "migrations")
    (directory / "versions" / "rtest2_next.py").write_text(NEXT.format(head=HEAD, more=more))
    return str(directory)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Of a database without anything."""
    url = (
        f"sqlite:///{tmp_path}/pushyd.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    )
    prepare_file(parse_url(url))
    engine = writer_engine(parse_url(url))
    yield engine
    engine.dispose()


def insert_jobs(connection: Connection, *node_counts: int, node: str) -> None:
    """Jobs 1, 2, … that run and capture output, as every version has them; of their nodes only one."""
    connection.exec_driver_sql("INSERT INTO organizations (name, guid) VALUES ('acme', 'guid')")
    for number, count in enumerate(node_counts, start=1):
        connection.exec_driver_sql(
            "INSERT INTO jobs (seq, id, organization, status, created_at, updated_at, created_by, quorum, run_timeout,"
            " voting_timeout, node_count, capture, aborting, command_digest, command)"
            f" VALUES ({number}, '{number}', 'acme', 'running', 1, 1, 'me', 1, 1, 1, {count}, true, false, 0, 'true')"
        )
        connection.exec_driver_sql(
            f"INSERT INTO job_nodes (job, node, position, status) VALUES ({number}, '{node}', 0, 'running')"
        )


def revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def test_the_migrations_make_what_the_schema_says(engine: Engine) -> None:
    bring_up_to_date(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_again_does_nothing(engine: Engine, tmp_path: Path) -> None:
    bring_up_to_date(engine)
    bring_up_to_date(engine)
    assert revision(engine) == HEAD
    assert list(tmp_path.glob("*.before-*")) == []


def test_an_upgrade_keeps_what_is_there(engine: Engine, tmp_path: Path) -> None:
    bring_up_to_date(engine)
    with engine.begin() as connection:
        insert_jobs(connection, 1, node="web1")
    bring_up_to_date(engine, next_version(tmp_path))
    assert revision(engine) == "test2"
    with engine.connect() as connection:
        # The table of jobs was made anew in SQLite, and nothing that refers to it went with the old one.
        assert connection.exec_driver_sql("SELECT node FROM job_nodes").scalars().all() == ["web1"]
        if engine.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1


def test_jobs_of_earlier_versions_are_found_by_their_nodes(engine: Engine) -> None:
    """Until 0004 all were in the index of nodes."""
    config = migrations._config(migrations.SCRIPTS)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        insert_jobs(connection, 1, FEW_NODES, FEW_NODES + 1, node="a")
    bring_up_to_date(engine)
    with engine.connect() as connection:
        found = read_jobs(connection, "acme", JobQuery(limit=9, node="a"))
        assert [job.id for job in found] == ["3", "2", "1"]
        kept = connection.exec_driver_sql("SELECT job FROM job_nodes WHERE by_node ORDER BY job").scalars().all()
        assert kept == [1, 2]


def test_output_of_earlier_versions_stays(engine: Engine) -> None:
    """Until 0003 it was kept whole, in a table of its own."""
    config = migrations._config(migrations.SCRIPTS)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        insert_jobs(connection, 2, node="a")
        old = table("outputs", *map(column, ("job", "node", "channel", "data")))
        rows = [("a", "stdout", b"\0 and \xff"), ("a", "stderr", b""), ("b", "stdout", b"of b")]
        for node, channel, data in rows:
            connection.execute(old.insert().values(job=1, node=node, channel=channel, data=data))
    bring_up_to_date(engine)
    with engine.begin() as connection:
        read = [output_reads.read_output(connection, "acme", "1", *row[:2], 0, None) for row in rows]
        assert read == [data for *_, data in rows]
        states = output_reads.read_states(connection, "acme", "1", None, None)
        assert [(state.kept, state.complete) for state in states] == [(0, True), (7, True), (4, True)]
        events = output_reads.read_events(connection, "1", 0, 1000)
        assert sorted((event.node, event.data) for event in events) == [("a", rows[0][2]), ("b", b"of b")]
        # A job that was running goes on to send output piece by piece.
        stream = StreamRef("acme", "1", "a", "stderr")
        piece = OutputPiece(stream=stream, offset=0, at=9, data=b"late")
        rules = OutputRules(max_output=100, max_job_output=100, min_free_disk=0)
        assert outputs.append(connection, [piece], rules, None).offsets == {stream: 4}


def test_a_failing_upgrade_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    bring_up_to_date(engine)
    scripts = next_version(tmp_path, "op.execute('INSERT INTO nowhere VALUES (1)')")
    with pytest.raises(Exception, match="nowhere"):
        bring_up_to_date(engine, scripts)
    assert revision(engine) == HEAD
    columns = {column["name"]: column for column in inspect(engine).get_columns("jobs")}
    assert not columns["command"]["nullable"]


def test_a_database_of_a_newer_version_is_refused(engine: Engine, tmp_path: Path) -> None:
    bring_up_to_date(engine, next_version(tmp_path))
    with pytest.raises(StoreUnavailable, match=r"version test2, which .* a newer pushyd made it\. Start that version"):
        bring_up_to_date(engine)


def test_sqlite_is_copied_before_an_upgrade(tmp_path: Path) -> None:
    url = parse_url(f"sqlite:///{tmp_path}/pushyd.sqlite")
    prepare_file(url)
    engine = writer_engine(url)
    bring_up_to_date(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO organizations (name, guid) VALUES ('acme', 'guid')")
    copy = tmp_path / f"pushyd.sqlite.before-{HEAD}"
    copy.write_text("of an upgrade that was tried before")
    bring_up_to_date(engine, next_version(tmp_path))
    engine.dispose()
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT name FROM organizations").fetchall() == [("acme",)]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    assert sorted(path.name for path in tmp_path.glob("pushyd.sqlite*")) == ["pushyd.sqlite", copy.name]


def test_an_upgrade_that_would_leave_loose_ends_is_undone(tmp_path: Path) -> None:
    url = parse_url(f"sqlite:///{tmp_path}/pushyd.sqlite")
    prepare_file(url)
    engine = writer_engine(url)
    bring_up_to_date(engine)
    orphan = """op.execute("INSERT INTO clients VALUES ('nowhere', 'c')")"""
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        bring_up_to_date(engine, next_version(tmp_path, orphan))
    assert revision(engine) == HEAD
    engine.dispose()


def test_postgresql_must_hold_unicode(postgres_server: postgres.Server) -> None:
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    engine = writer_engine(parse_url(postgres_server.url("latin")))
    with pytest.raises(StoreUnavailable, match=r"encoding LATIN1, expected .* 'UTF8'"):
        bring_up_to_date(engine)
    engine.dispose()
