"""The statements that delete jobs, so that none of them takes long, however many rows a job has.

A job is *retired* first: it loses its organization, and with that nobody finds it any more, whole or in part. Its rows
are deleted later, some at a time, the job's own at last: what a crash interrupts goes on from there.
"""

from sqlalchemy import Connection, delete, select, tuple_, update

from pushyd.store.schema import (
    feeds,
    job_nodes,
    jobs,
    output_chunks,
    output_jobs,
    output_streams,
    retired,
    unfinished,
)

_JOBS_AT_ONCE = 100

# How much of a step's limit a row of each takes: a chunk of output may have 64 KB, most other rows have 100 bytes.
_CHILDREN = {job_nodes: 1, feeds: 1, output_chunks: 20, output_streams: 1, output_jobs: 1}


def retire_jobs(
    connection: Connection, organization: str, *, limit: int, created_before: float | None, up_to: int | None
) -> int:
    """Retire the oldest jobs that have ended; how many."""
    oldest = select(jobs.c.seq).where(jobs.c.organization == organization, ~unfinished).limit(limit)
    if created_before is not None:
        oldest = oldest.where(jobs.c.created_at < created_before).order_by(jobs.c.created_at)
    if up_to is not None:
        oldest = oldest.where(jobs.c.seq <= up_to).order_by(jobs.c.seq)
    return connection.execute(update(jobs).where(jobs.c.seq.in_(oldest)).values(organization=None)).rowcount


def has_unfinished_jobs(connection: Connection, organization: str) -> bool:
    """Whether an organization has jobs that have not ended."""
    # Of all organizations there are few that have not; the index of those is asked.
    found = select(jobs.c.seq).where(unfinished, jobs.c.organization == organization).limit(1)
    return connection.execute(found).first() is not None


def purge(connection: Connection, limit: int) -> int:
    """Delete rows of retired jobs, those of the oldest first; how many."""
    oldest = select(jobs.c.seq).where(retired).order_by(jobs.c.seq).limit(min(limit, _JOBS_AT_ONCE))
    gone = connection.execute(oldest).scalars().all()
    if not gone:
        return 0
    deleted = 0
    for table, weight in _CHILDREN.items():
        key = tuple(table.primary_key)
        at_once = max(1, (limit - deleted) // weight)
        some = select(*key).where(table.c.job.in_(gone)).limit(at_once)
        rows = connection.execute(delete(table).where(tuple_(*key).in_(some))).rowcount
        deleted += rows
        if rows == at_once:
            return deleted
    return deleted + connection.execute(delete(jobs).where(jobs.c.seq.in_(gone[: limit - deleted]))).rowcount
