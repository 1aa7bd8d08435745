"""Databases that have the schema already: making it anew would be most of the time of most tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from pushy_protocol.states import JobStatus
from pushyd.store import identity, jobs
from pushyd.store.engine import parse_url, prepare_file, writer_engine
from pushyd.store.interface import JobStatusChange
from pushyd.store.migrations import bring_up_to_date
from pushyd.store.output_interface import OutputCaptured
from tests import postgres
from tests.pushyd.store.backend import ORGANIZATION, job_spec


def migrated(url: str) -> str:
    """Make the schema in a database, and let go of it."""
    prepare_file(parse_url(url))
    engine = writer_engine(parse_url(url))
    bring_up_to_date(engine)
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "pushyd.sqlite"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a new SQLite database with the schema."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path)}"


@pytest.fixture(scope="session")
def postgres_template(postgres_server: postgres.Server) -> str:
    return migrated(postgres_server.create_database()).partition("?")[0].rpartition("/")[2]


@pytest.fixture(scope="session")
def _shared_postgres_database(postgres_server: postgres.Server, postgres_template: str) -> str:
    return postgres_server.create_database(postgres_template)


@pytest.fixture
def postgres_database(_shared_postgres_database: str) -> str:
    """The URL of a PostgreSQL database with the schema and nothing else; a new one each time would take long."""
    with psycopg.connect(_shared_postgres_database) as connection:
        connection.execute("SET lock_timeout = '10s'")
        connection.execute("TRUNCATE organizations, users CASCADE")  # on which all else depends
    return _shared_postgres_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of a new database with the schema: the test is run with each of the two."""
    name = "sqlite_database" if request.param == "sqlite" else "postgres_database"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture(scope="module")
def many_jobs(
    sqlite_template: Path,
    postgres_server: postgres.Server,
    postgres_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Engine]]:
    """Both databases with many jobs, few of which are of our organization: where a scan would cost most."""
    path = shutil.copy(sqlite_template, tmp_path_factory.mktemp("plans"))
    engines = {}
    for url in (f"sqlite:///{path}", postgres_server.create_database(postgres_template)):
        engine = writer_engine(parse_url(url))
        with engine.begin() as connection:
            for organization in (ORGANIZATION, "other"):
                identity.create_organization(connection, organization, organization, "")
            for number in range(600):
                nodes = tuple(f"n{index}" for index in range(number % 37, 40 if number % 30 else 140))
                organization = "other" if number % 60 else ORGANIZATION
                command = f"c{number % 41}"
                spec = job_spec(number, organization=organization, nodes=nodes, command=command, capture=True)
                jobs.create_job(connection, spec)
                texts = [OutputCaptured(job_id=spec.id, node=node, stdout=b"x", stderr=b"y") for node in nodes[:5]]
                jobs.write_changes(connection, texts)
            ends = [JobStatus.TIMED_OUT, *[JobStatus.COMPLETE] * 16]
            ended = [JobStatusChange(job_id=job_spec(n).id, status=ends[n % 17], at=1) for n in range(595)]
            jobs.write_changes(connection, ended)
        if engine.dialect.name == "postgresql":  # as it does by itself; SQLite does not
            with engine.begin() as connection:
                connection.exec_driver_sql("ANALYZE")
        engines[engine.dialect.name] = engine
    yield engines
    for engine in engines.values():
        engine.dispose()
