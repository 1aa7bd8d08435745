"""What the ``job`` commands do: start a job and wait for it, and show jobs and what they wrote.

Their options are in :mod:`pushy_cli.job_commands`, the looks of their results in :mod:`pushy_cli.render`.
"""

from collections.abc import Sequence

from pushy_cli import captured, render
from pushy_cli.api import job_id_in
from pushy_cli.errors import FAILED, CliError, NoAnswer, UnknownJob
from pushy_cli.following import follow, pace, progress_on
from pushy_cli.json_results import to_json
from pushy_cli.session import Session
from pushy_cli.transport import CONNECTIONS
from pushy_protocol.api import Job, JobRequest
from pushy_protocol.states import JobStatus, NodeStatus

SUCCEEDED = 0
NONE_RAN = 3
TIMED_OUT = 4
ABORTED = 5

LAST = "last"
"""Stands for the id of the newest job."""

_RAN = {NodeStatus.SUCCEEDED, NodeStatus.FAILED, NodeStatus.CRASHED, NodeStatus.TIMED_OUT, NodeStatus.ABORTED}
_STATUS_OF_ENDS = {
    JobStatus.QUORUM_FAILED: NONE_RAN,
    JobStatus.TIMED_OUT: TIMED_OUT,
    JobStatus.ABORTED: ABORTED,
    JobStatus.CRASHED: FAILED,
}


def exit_status(job: Job) -> int:
    """The exit status for a job that has ended; `job start --help` tells them."""
    if job.status != JobStatus.COMPLETE:
        return _STATUS_OF_ENDS.get(JobStatus(job.status), FAILED)
    present = {status for status, names in (job.nodes or {}).items() if names}
    if not present & _RAN:
        return NONE_RAN
    return SUCCEEDED if present == {NodeStatus.SUCCEEDED} else FAILED


async def start(session: Session, request: JobRequest, *, wait: bool, interval: float | None) -> int:
    """Start a job; unless not to `wait`, follow it to its end and show that.

    :param interval: seconds between two looks, or None for what is sensible
    """
    console = session.console
    try:
        created = await session.server.start_job(request)
    except NoAnswer as error:
        error.hint = "The job may have been started nevertheless; look before you try again: pushy job list"
        raise
    job_id = job_id_in(created.uri)
    if not wait and session.json:
        console.result(to_json({"id": job_id, "uri": created.uri}))
        return SUCCEEDED
    # With JSON, stdout is for the one document.
    (console.note if session.json else console.result)(f"Started. Job ID: {job_id}")
    if not wait:
        return SUCCEEDED
    console.farewell = (f"Job {job_id} goes on without us.", f"Look at it with: pushy job status {job_id}")
    started = session.clock.seconds()
    try:
        job = await follow(
            session.server, job_id, clock=session.clock, waits=pace(interval), progress=progress_on(console)
        )
    except CliError as error:
        error.hint = f"The job may go on; look at it later with: pushy job status {job_id}"
        raise
    elapsed = session.clock.seconds() - started
    await _show_end(session, job, elapsed, capture=request.capture_output)
    return exit_status(job)


async def status(session: Session, job_id: str) -> int:
    """Show a job."""
    job = await session.server.job(await _resolve(session, job_id))
    style = session.console.out_style
    session.console.result(to_json(job) if session.json else render.job_details(job, style))
    return SUCCEEDED


async def list_jobs(session: Session) -> int:
    """Show all jobs, newest first."""
    jobs = await session.server.jobs()
    if session.json:
        session.console.result(to_json(jobs))
    elif jobs:
        session.console.result(render.job_table(jobs, session.console.out_style))
    else:
        session.console.note("There are no jobs yet.")
    return SUCCEEDED


async def output(session: Session, job_id: str, nodes: Sequence[str], channel: str | None) -> int:
    """Show what those nodes of a job (or all) wrote to one channel, or to both.

    One node's one channel goes to a pipe or file as it is, byte by byte.
    """
    job = await session.server.job(await _resolve(session, job_id))
    known = {name for names in (job.nodes or {}).values() for name in names}
    if strange := [name for name in nodes if name not in known]:
        raise UnknownJob(
            f"Job {job.id} has no node {', '.join(strange)}", f"Its nodes are told by: pushy job status {job.id}"
        )
    chosen = list(dict.fromkeys(nodes)) or captured.nodes_with_output(job)
    channels = captured.CHANNELS if channel is None else (channel,)
    texts = await _fetch(session, job, chosen, channels)
    if not session.json and len(nodes) == len(channels) == 1 and not session.console.out_style.terminal:
        for text in texts[channels[0]]:
            session.console.raw_result(text)
    else:
        _show_output(session, job, texts, chosen)
    return SUCCEEDED


async def _resolve(session: Session, job_id: str) -> str:
    if job_id != LAST:
        return job_id
    jobs = await session.server.jobs()
    if not jobs:
        raise UnknownJob("There are no jobs yet", "Start one with: pushy job start COMMAND NODE...")
    return jobs[0].id


async def _fetch(session: Session, job: Job, nodes: Sequence[str], channels: Sequence[str]) -> captured.Captured:
    console = session.console

    def on_progress(done: int, total: int) -> None:
        if console.is_live:
            console.live(render.reading_line(done, total, console.err_style))

    texts = await captured.fetch(session.server, job.id, nodes, channels, at_once=CONNECTIONS, on_progress=on_progress)
    console.live("")
    return texts


async def _show_end(session: Session, job: Job, elapsed: float, *, capture: bool) -> None:
    """What the nodes wrote, then the summary: last, so that it is in sight."""
    console = session.console
    nodes = captured.nodes_with_output(job)
    texts: captured.Captured = {}
    if capture:
        try:
            texts = await _fetch(session, job, nodes, captured.CHANNELS)
        except CliError as error:
            # How the job ended is known and decides the exit status.
            console.note(f"The output cannot be read: {error.what}.\nRead it later with: pushy job output {job.id}")
    if session.json:
        console.result(to_json(job, output=captured.by_node(texts, nodes)) if capture else to_json(job))
        return
    for block in render.outputs(texts, console.out_style):
        console.result(block)
    console.result(render.summary(job, console.out_style, elapsed))


def _show_output(session: Session, job: Job, texts: captured.Captured, nodes: Sequence[str]) -> None:
    console = session.console
    if session.json:
        console.result(to_json(captured.by_node(texts, nodes)))
        return
    blocks = list(render.outputs(texts, console.out_style))
    for block in blocks:
        console.result(block)
    if not job.capture_output:
        console.note("Nothing was captured: the job was started without --capture.")
    elif not blocks:
        console.note("There is no output.")
