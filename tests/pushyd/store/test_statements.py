"""The statements on a plain connection, over both databases: hostile values, plans, and how many there are."""

import json
import math
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, Executable, event

from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.domain.job import JobSpec
from pushyd.store import identity, job_lists, jobs, output_reads, outputs
from pushyd.store.engine import parse_url, writer_engine
from pushyd.store.interface import (
    NO_DETAIL,
    JobQuery,
    JobStatusChange,
    NodeDetail,
    NodeStatusChange,
)
from pushyd.store.output_interface import OutputCaptured
from tests.pushyd.store.backend import ORGANIZATION, job_spec
from tests.pushyd.store.plans import SQLITE_NAMES, explain

numbers = count(1)

# Every text that Python can hold; what can come from outside is less.
hostile = st.text(st.characters(exclude_categories=()) | st.sampled_from("\0\ud800\udfff\ufdd0'\"\\%:"), max_size=20)
finite = st.floats(allow_nan=False)
specs = st.fixed_dictionaries(
    {
        "command": hostile,
        "created_by": hostile,
        "nodes": st.lists(hostile, min_size=1, max_size=5, unique=True).map(tuple),
        "quorum": finite,
        "run_timeout": finite,
        "voting_timeout": finite,
        "created_at": finite,
        "capture": st.booleans(),
        "user": st.none() | hostile,
        "dir": st.none() | hostile,
        "env": st.none() | st.dictionaries(hostile, hostile, max_size=3),
        "file": st.none() | hostile,
    }
)
# What a database and the protocol hold; times to the millisecond.
milliseconds = st.none() | st.integers(0, 2**50).map(lambda count: count / 1000)
node_details = st.builds(
    NodeDetail,
    reason=st.none() | hostile,
    exit_status=st.none() | st.integers(0, 2**32 - 1),
    signal=st.none() | st.integers(1, 127),
    started_at=milliseconds,
    finished_at=milliseconds,
)

shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = writer_engine(parse_url(database))
    with engine.begin() as connection:
        identity.create_organization(connection, ORGANIZATION, "guid-1", "")
    yield engine
    engine.dispose()


def read(connection: Connection, spec: JobSpec) -> Any:
    return jobs.read_job(connection, ORGANIZATION, spec.id)


@shared
@given(values=specs)
def test_every_job_comes_back_as_it_was(engine: Engine, values: dict[str, Any]) -> None:
    spec = job_spec(next(numbers), **values)
    with engine.begin() as connection:
        jobs.create_job(connection, spec)
        stored = read(connection, spec)
        [summary] = job_lists.read_jobs(connection, ORGANIZATION, JobQuery(limit=1))
    assert stored.spec == spec
    assert (summary.command, summary.env, summary.file_specified) == (spec.command, spec.env, spec.file is not None)


@shared
@given(nodes=st.lists(hostile, min_size=1, max_size=5, unique=True), data=st.data())
def test_every_change_comes_back_as_it_was(engine: Engine, nodes: list[str], data: st.DataObject) -> None:
    spec = job_spec(next(numbers), nodes=tuple(nodes))
    statuses = {node: data.draw(st.sampled_from(NodeStatus)) for node in nodes}
    details = {node: detail for node in nodes if (detail := data.draw(node_details)) != NO_DETAIL}
    captured = {node: data.draw(st.none() | st.binary(max_size=50)) for node in nodes}
    at = data.draw(finite)
    with engine.begin() as connection:
        jobs.create_job(connection, spec)
        node_changes = [
            NodeStatusChange(job_id=spec.id, node=node, status=status, detail=details.get(node, NO_DETAIL))
            for node, status in statuses.items()
        ]
        texts = [OutputCaptured(job_id=spec.id, node=node, stdout=out, stderr=b"") for node, out in captured.items()]
        job_change = JobStatusChange(job_id=spec.id, status=JobStatus.RUNNING, at=at)
        jobs.write_changes(connection, [*texts, *node_changes, job_change])
        stored = read(connection, spec)
        read_back = {
            node: output_reads.read_output(connection, ORGANIZATION, spec.id, node, "stdout", 0, None) for node in nodes
        }
    assert (stored.nodes, stored.details, stored.updated_at) == (statuses, details, at)
    assert read_back == captured


def test_a_number_that_is_none_is_refused(engine: Engine) -> None:
    """SQLite takes NaN for NULL; PostgreSQL would keep it."""
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            jobs.create_job(connection, job_spec(quorum=math.nan))
            assert math.isnan(read(connection, job_spec()).spec.quorum)
        return
    with pytest.raises(Exception, match="NOT NULL"), engine.begin() as connection:
        jobs.create_job(connection, job_spec(quorum=math.nan))


def test_the_number_of_statements_does_not_depend_on_the_number_of_nodes(engine: Engine) -> None:
    statements: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def _count(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        statements.append(statement)

    counted = []
    for number, size in enumerate((1, 10, 1000)):
        statements.clear()
        spec = job_spec(number, nodes=tuple(f"n{index}" for index in range(size)))
        with engine.begin() as connection:
            jobs.create_job(connection, spec)
            changes = [NodeStatusChange(job_id=spec.id, node=node, status=NodeStatus.READY) for node in spec.nodes]
            texts = [OutputCaptured(job_id=spec.id, node=node, stdout=b"x", stderr=b"y") for node in spec.nodes]
            jobs.write_changes(connection, [*changes, *texts])
            assert len(read(connection, spec).nodes) == size
        counted.append(len(statements))
    assert counted == [counted[0]] * 3
    assert counted[0] <= 8


STREAM = {"organization": ORGANIZATION, "job_id": "x", "node": "n", "channel": "stdout"}
ROWS = {"rows": json.dumps([["n1", "ready", None, None, None, None, None]])}
PLANS: dict[str, tuple[Executable, dict[str, Any], str]] = {
    "unfinished": (jobs._UNFINISHED_JOBS, {}, "jobs_unfinished"),
    "one": (jobs._JOB, {"organization": ORGANIZATION, "job_id": "x"}, "jobs_id_unique"),
    "nodes of one": (jobs._JOB, {"organization": ORGANIZATION, "job_id": "x"}, "job_nodes_key"),
    "set nodes": (jobs._SET_NODES, {"job_id": "x"} | ROWS, "job_nodes_key"),
    "output": (output_reads._OUTPUT, STREAM | {"start": 5, "stop": 9}, "output_streams_job_node_channel_unique"),
    "part of an output": (output_reads._OUTPUT, STREAM | {"start": 5, "stop": 9}, "output_chunks_by_stream"),
    "outputs of a job": (
        output_reads._STATES[False, False],
        {"organization": ORGANIZATION, "job_id": "x"},
        "output_streams_job_node_channel_unique",
    ),
    "whole outputs": (output_reads._WHOLE, {"rows": "[[1]]"}, "output_chunks_by_stream"),
    "output events": (output_reads._EVENTS, {"job_id": "x", "after": 5, "limit": 9}, "output_chunks_by_job"),
    "last output": (output_reads._LAST, {"job_id": "x"}, "output_chunks_by_job"),
    "append": (
        outputs._STREAMS,
        {"rows": json.dumps([[ORGANIZATION, "x", "n", "stdout", 0]])},
        "output_streams_job_node_channel_unique",
    ),
}


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_what_is_asked_often_never_scans(many_jobs: dict[str, Engine], dialect: str, name: str) -> None:
    statement, parameters, index = PLANS[name]
    with many_jobs[dialect].begin() as connection:
        plan = explain(connection, statement, parameters)
    assert (SQLITE_NAMES.get(index, index) if dialect == "sqlite" else index) in plan, plan
    for table in ("jobs", "job_nodes", "output_streams", "output_chunks"):
        assert not re.search(rf"(SCAN|Seq Scan on) {table}\b(?! USING)", plan), plan


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_each_node_that_changed_is_looked_up_by_its_name(many_jobs: dict[str, Engine], dialect: str) -> None:
    statement, parameters, _ = PLANS["set nodes"]
    with many_jobs[dialect].begin() as connection:
        plan = explain(connection, statement, parameters, without=("seqscan",))
    # By the job alone every change would be compared with every node.
    assert re.search(r"\(job=\? AND node=\?\)|Hash Cond: .*\bnode\b", plan), plan


def test_a_job_of_many_nodes_is_made_in_as_many_pages_however_many_were_before(
    sqlite_template: Path, tmp_path: Path
) -> None:
    engine = writer_engine(parse_url(f"sqlite:///{shutil.copy(sqlite_template, tmp_path)}"))
    nodes = tuple(f"node-{index:04}" for index in range(2000))
    with engine.begin() as connection:
        identity.create_organization(connection, ORGANIZATION, ORGANIZATION, "")
    pages = []
    for number in range(40):
        with closing(engine.raw_connection()) as driver:
            driver.execute("PRAGMA wal_checkpoint(RESTART)")
        with engine.begin() as connection:
            jobs.create_job(connection, job_spec(number, nodes=nodes))
        with closing(engine.raw_connection()) as driver:
            [_, written, _] = driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        pages.append(written)
    engine.dispose()
    assert max(pages) < 1.5 * min(pages), pages
