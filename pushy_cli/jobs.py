"""Looks at jobs and what they wrote, and aborts and deletes them: the ``job`` commands that do not wait.

Their options are in :mod:`pushy_cli.job_commands`, the looks of their results in :mod:`pushy_cli.render`.
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from pushy_cli import captured, job_text, render
from pushy_cli.api import JobQuery
from pushy_cli.errors import USAGE, CliError, ConfigurationError, Conflict, UnknownJob
from pushy_cli.output_text import View, blocks
from pushy_cli.session import Session
from pushy_cli.transport import CONNECTIONS
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
    session.show(job, names=_nodes(job), text=lambda style: shown(job, style))
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


async def output(
    session: Session, job_id: str, nodes: Sequence[str], channel: str | None, *, view: View, to_dir: Path | None
) -> int:
    """Show, or write to files, what those nodes of a job (or all) wrote to one channel, or to both.

    One node's one channel goes to a pipe or file as it is, byte by byte.
    """
    job = await session.server.job(await resolve_id(session, job_id))
    known = set(_nodes(job))
    if strange := [name for name in nodes if name not in known]:
        raise UnknownJob(
            f"Job {job.id} has no node {', '.join(strange)}", f"Its nodes are told by: pushy job status {job.id}"
        )
    chosen = list(dict.fromkeys(nodes)) or captured.nodes_with_output(job)
    channels = captured.CHANNELS if channel is None else (channel,)
    texts = await fetch_output(session, job, chosen, channels)
    is_raw = session.is_text and len(nodes) == len(channels) == 1 and not session.console.out_style.terminal
    if to_dir is not None:
        files = _write(texts, to_dir)
        session.show(
            [str(file) for file in files], names=map(str, files), text=lambda _style: f"Wrote {len(files)} files."
        )
    elif is_raw:
        for text in texts[channels[0]]:
            session.console.raw_result(text)
    else:
        _show_texts(session, job, texts, chosen, view)
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


async def fetch_output(session: Session, job: Job, nodes: Sequence[str], channels: Sequence[str]) -> captured.Captured:
    """What those nodes wrote; on a terminal it is shown how far it is read."""
    console = session.console

    def on_progress(done: int, total: int) -> None:
        if console.is_live:
            console.live(render.reading_line(done, total, console.err_style))

    texts = await captured.fetch(session.server, job.id, nodes, channels, at_once=CONNECTIONS, on_progress=on_progress)
    console.live("")
    return texts


def show_output(session: Session, texts: captured.Captured, view: View) -> bool:
    """Show what nodes wrote, for people; whether there was anything."""
    some = False
    for block in blocks(texts, session.console.out_style, view):
        session.console.result(block)
        some = True
    return some


def _show_texts(session: Session, job: Job, texts: captured.Captured, nodes: Sequence[str], view: View) -> None:
    if not session.is_text:
        by_node = captured.by_node(texts, nodes)
        session.show(by_node, names=[node for node, written in by_node.items() if any(written.values())], text=str)
        return
    some = show_output(session, texts, view)
    if not job.capture_output:
        session.console.note("Nothing was captured: the job was started without --capture.")
    elif not some:
        session.console.note("There is no output.")


def _write(texts: captured.Captured, directory: Path) -> list[Path]:
    """Write ``DIRECTORY/NODE/CHANNEL`` for every node that wrote something there; the files."""
    written = []
    for channel, by_text in texts.items():
        for text, nodes in by_text.items():
            for node in nodes:
                # A name may hold a slash; and one that begins with a dot would be hidden, or be ".." itself.
                name = quote(node, safe=" @:+,")
                path = directory / (f"%2E{name[1:]}" if name.startswith(".") else name) / channel
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(text)
                except OSError as error:
                    raise ConfigurationError(
                        f"{path} cannot be written: {error.strerror}", "Give a directory that can be, with --to-dir."
                    ) from None
                written.append(path)
    return sorted(written)


def _nodes(job: Job) -> list[str]:
    return sorted(name for names in (job.nodes or {}).values() for name in names)
