"""The statements that list jobs; run as the others about jobs are.

Every list is the beginning of a walk along one index, newest first, so what it costs depends on how many jobs it has,
not on how many there are. The exceptions: to a node, a status or command adds no index, and is looked for among the
jobs of that node; and those of many nodes are looked at one by one, for whether it is among them (some 3 µs each).
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, select

from pushy_protocol.states import JobStatus
from pushyd.store.interface import JobQuery, JobSummary, UnknownJob
from pushyd.store.schema import job_nodes, jobs, of_many_nodes
from pushyd.store.text import escape

_CLOCK_SLACK = 600.0
"""Seconds by which a job may say that it was made before one that was made before it, as the clock was set back."""

_summary = select(
    jobs.c.seq,
    jobs.c.id,
    jobs.c.command,
    jobs.c.status,
    jobs.c.run_timeout,
    jobs.c.created_at,
    jobs.c.updated_at,
    jobs.c.user_name,
    jobs.c.dir,
    jobs.c.env,
    jobs.c.capture,
    jobs.c.file.is_not(None).label("file_specified"),
)


def read_jobs(connection: Connection, organization: str, query: JobQuery) -> Sequence[JobSummary]:
    """The newest jobs of those that were asked for."""
    before = None
    if query.before is not None:
        found = select(jobs.c.seq).where(jobs.c.id == query.before, jobs.c.organization == organization)
        before = connection.execute(found).scalar()
        if before is None:
            raise UnknownJob(query.before)
    elif query.node is not None:
        # Several walks: what is made between one and the next is in none of them.
        before = connection.execute(select(func.max(jobs.c.seq) + 1)).scalar()
    walks = [connection.execute(statement) for statement in list_statements(organization, query, before)]
    return [
        JobSummary(
            id=row.id,
            command=row.command,
            status=JobStatus(row.status),
            run_timeout=row.run_timeout,
            created_at=row.created_at,
            updated_at=row.updated_at,
            user=row.user_name,
            dir=row.dir,
            env=decode_env(row.env),
            capture=row.capture,
            file_specified=row.file_specified,
        )
        for row in islice(merge(*walks, key=attrgetter("seq"), reverse=True), query.limit)
    ]


def list_statements(organization: str, query: JobQuery, before: int | None) -> Sequence[Select[Any]]:
    """What reads a list, each some of its jobs; `before` is the number of the job that it begins after."""
    every = _summary.where(jobs.c.organization == organization)
    if query.node is None:
        return [_walk(every, jobs.c.seq, organization, query, before)]
    part = and_(job_nodes.c.job == jobs.c.seq, job_nodes.c.node == query.node)
    of_few = every.join(job_nodes, part).where(job_nodes.c.by_node)
    of_many = every.where(of_many_nodes, exists().where(part))
    return [
        _walk(of_few, job_nodes.c.job, organization, query, before),
        # What is no plain column keeps a planner from walking along its index, past all the jobs of few.
        _walk(of_many, jobs.c.seq, organization, query, before, jobs.c.status.concat(""), jobs.c.command_digest + 0),
    ]


def _walk(
    statement: Select[Any],
    number: ColumnElement[int],
    organization: str,
    query: JobQuery,
    before: int | None,
    status: ColumnElement[str] = jobs.c.status,
    command_digest: ColumnElement[int] = jobs.c.command_digest,
) -> Select[Any]:
    """Newest first by `number`, those that are as the query says."""
    if before is not None:
        statement = statement.where(number < before)
    if query.status is not None:
        statement = statement.where(status == query.status.value)
    if query.command is not None:
        statement = statement.where(command_digest == digest(query.command), jobs.c.command == query.command)
    if query.since is not None:
        # Where the walk ends; the sum keeps a planner from walking along another index, to sort what it finds.
        end = (
            select(jobs.c.seq)
            .where(jobs.c.organization == organization, jobs.c.created_at < query.since - _CLOCK_SLACK)
            .order_by(jobs.c.created_at.desc())
            .limit(1)
            .correlate(None)
            .scalar_subquery()
        )
        statement = statement.where(number > func.coalesce(end, 0), jobs.c.created_at + 0 >= query.since)
    return statement.order_by(number.desc()).limit(query.limit)


def read_place(connection: Connection, organization: str, rank: int) -> int | None:
    """The number of the job with `rank` newer ones."""
    newest = select(jobs.c.seq).where(jobs.c.organization == organization).order_by(jobs.c.seq.desc())
    place: int | None = connection.execute(newest.offset(rank).limit(1)).scalar()
    return place


def digest(command: str) -> int:
    """By what a command is found: a number of 64 bits with a sign, as both databases have it."""
    return int.from_bytes(sha256(escape(command).encode()).digest()[:8], signed=True)


def decode_env(stored: str | None) -> dict[str, str] | None:
    """The environment of a job, out of its column."""
    return None if stored is None else json.loads(stored)
