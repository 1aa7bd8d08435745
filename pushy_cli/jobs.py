"""Looks at jobs, aborts and deletes them: the ``job`` commands that do not wait. Output is :mod:`pushy_cli.outputs`'s.

Their options are in :mod:`pushy_cli.job_commands`, the looks of their results in :mod:`pushy_cli.job_text`.
"""

from pushy_cli import job_text, render
from pushy_cli.api import JobQuery
from pushy_cli.errors import USAGE, CliError, Conflict, UnknownJob
from pushy_cli.session import Session
from pushy_protocol.api import Job

SUCCEEDED = 0

LAST = "last"
"""Stands for the id of the newest job."""


class Rejection(CliError):
    """What is wanted cannot be, as the job is."""

    status = USAGE


async def status(session: Session, job_id: str, *, by_node: bool) -> int:
    """Show a job."""
    shown = job_text.job_by_node if by_node else job_text.job_details
    job = await session.server.job(await resolve_id(session, job_id))
    session.show(job, names=nodes_of(job), text=lambda style: shown(job, style))
    return SUCCEEDED


async def list_jobs(session: Session, query: JobQuery) -> int:
    """Show the jobs that are wanted, newest first."""
    jobs = await session.server.jobs(query)
    session.show(
        jobs,
        names=[job.id for job in jobs],
        text=lambda style: job_text.job_table(jobs, style),
        empty="There are no such jobs." if query.parameters() else "There are no jobs yet.",
    )
    return SUCCEEDED


async def abort(session: Session, job_id: str) -> int:
    """Have a job aborted."""
    job_id = await resolve_id(session, job_id)
    try:
        await session.server.abort(job_id)
    except Conflict as error:
        raise Conflict(error.what, f"See how it ended: pushy job status {job_id}") from None
    session.show(
        {"id": job_id},
        names=[job_id],
        text=lambda _style: f"Job {job_id} is being aborted. See: pushy job watch {job_id}",
    )
    return SUCCEEDED


async def purge(session: Session, before: float, *, yes: bool) -> int:
    """Delete the jobs that were created before a moment, and what they wrote.

    :param before: in seconds since the epoch
    """
    if not yes:
        await session.confirm(
            f"Delete every job that was created before {render.moment(before)}, and its output?", otherwise="Say --yes."
        )
    deleted = await session.server.purge(before)
    told = "Deleted." if deleted is None else f"Deleted {deleted} job{'s' * (deleted != 1)}."
    session.show({"deleted": deleted}, names=[], text=lambda _style: told)
    return SUCCEEDED


async def resolve_id(session: Session, job_id: str) -> str:
    """The id that is meant: ``last`` is the newest job's."""
    if job_id != LAST:
        return job_id
    jobs = await session.server.jobs(JobQuery(limit=1))
    if not jobs:
        raise UnknownJob("There are no jobs yet", "Start one with: pushy job start COMMAND NODE...")
    return jobs[0].id


def nodes_of(job: Job) -> list[str]:
    """The names of a job's nodes, sorted."""
    return sorted(name for names in (job.nodes or {}).values() for name in names)
