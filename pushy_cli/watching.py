"""Follows a job to its end and tells of it: for ``job watch``, and for ``job start`` and ``job rerun`` after they did.

Their options are in :mod:`pushy_cli.start_commands`.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress

from attrs import frozen

from pushy_cli import captured, job_text
from pushy_cli.errors import FAILED, CliError
from pushy_cli.following import follow
from pushy_cli.interrupting import Interruption
from pushy_cli.jobs import SUCCEEDED, resolve_id
from pushy_cli.live_output import LiveOutput
from pushy_cli.nodes import never_seen, note_never_seen
from pushy_cli.output_text import View
from pushy_cli.outputs import fetch_output, show_output
from pushy_cli.progress import progress_on
from pushy_cli.results import structured
from pushy_cli.session import Session
from pushy_protocol.api import Job, JobRequest
from pushy_protocol.states import JobStatus, NodeStatus

NONE_RAN = 3
TIMED_OUT = 4
ABORTED = 5

_RAN = {NodeStatus.SUCCEEDED, NodeStatus.FAILED, NodeStatus.CRASHED, NodeStatus.TIMED_OUT, NodeStatus.ABORTED}
_NOT_COUNTED_BY_KNIFE = {NodeStatus.SUCCEEDED, NodeStatus.NACKED, NodeStatus.UNAVAILABLE}
_STATUS_OF_ENDS: Mapping[str, int] = {
    JobStatus.QUORUM_FAILED: NONE_RAN,
    JobStatus.TIMED_OUT: TIMED_OUT,
    JobStatus.ABORTED: ABORTED,
    JobStatus.CRASHED: FAILED,
}


@frozen(kw_only=True)
class Following:
    """How a job is followed and its end is told."""

    interval: float | None = None
    """Seconds between two looks at the job; None reads its feed."""

    quiet: bool = False
    ok_if_quorum: bool = False
    """Whether nodes that did not run it, of a job that reached its quorum, spoil nothing: knife's meaning."""

    live: bool = False
    """Whether what nodes write is shown as it comes."""

    view: View = View.GROUPED
    """How what they wrote is put together at the end."""

    again: bool = True
    """Whether it is shown at the end even if all of it was shown as it came."""


@frozen(kw_only=True)
class Followed:
    """The job that is followed, as far as it is known before its end."""

    id: str
    nodes: Collection[str] = ()
    captures: bool = False
    is_ours: bool = True
    """Whether it was started by this call: then the time is ours too."""


def exit_status(job: Job, *, ok_if_quorum: bool = False) -> int:
    """The exit status for a job that has ended; `job start --help` tells them."""
    if job.status != JobStatus.COMPLETE:
        return _STATUS_OF_ENDS.get(job.status, FAILED)
    present = {status for status, names in (job.nodes or {}).items() if names}
    if ok_if_quorum and present <= _NOT_COUNTED_BY_KNIFE:
        return SUCCEEDED
    if not present & _RAN:
        return NONE_RAN
    return SUCCEEDED if present == {NodeStatus.SUCCEEDED} else FAILED


async def watch(session: Session, job_id: str, following: Following) -> int:
    """Follow a job that was started before."""
    job_id = await resolve_id(session, job_id)
    if not following.live:
        return await follow_job(session, Followed(id=job_id, is_ours=False), following)
    job = await session.server.job(job_id)
    if not job.capture_output:
        session.console.note("Nothing is captured: the job was started without --live or --capture.")
    elif job.output != "live":
        session.console.note("The job was started without --live: what it writes may come late.")
    nodes = [name for names in (job.nodes or {}).values() for name in names]
    return await follow_job(session, Followed(id=job_id, nodes=nodes, is_ours=False), following)


async def follow_started(session: Session, job_id: str, request: JobRequest, following: Following) -> int:
    """Follow a job that was just started."""
    captures = request.capture_output is not False
    return await follow_job(session, Followed(id=job_id, nodes=request.nodes, captures=captures), following)


async def follow_job(session: Session, followed: Followed, following: Following) -> int:
    """Follow a job, and tell its end; the exit status."""
    console = session.console
    job_id = followed.id
    console.farewell = (f"Job {job_id} goes on without us.", f"Look at it with: pushy job status {job_id}")
    output = None
    if following.live:
        output = LiveOutput(
            console, session.clock, job_id=job_id, nodes=followed.nodes, only_stderr=not session.is_text
        )
    began = session.clock.seconds()
    try:
        with progress_on(console, session.clock, quiet=following.quiet) as progress, Interruption(session, job_id):
            job = await follow(
                session.server,
                job_id,
                clock=session.clock,
                progress=progress,
                output=output,
                interval=following.interval,
            )
    except CliError as error:
        if followed.is_ours:
            error.hint = f"The job may go on; look at it later with: pushy job status {job_id}"
        raise
    finally:
        if output is not None:
            output.close()
    elapsed = session.clock.seconds() - began if followed.is_ours else None
    was_shown = output is not None and output.has_shown
    captures = followed.captures or job.capture_output
    await _show_end(session, job, elapsed, following, has_output=captures, was_shown=was_shown)
    return exit_status(job, ok_if_quorum=following.ok_if_quorum)


async def _show_end(
    session: Session, job: Job, elapsed: float | None, following: Following, *, has_output: bool, was_shown: bool
) -> None:
    """What the nodes wrote, unless it was shown; then the summary: last, so that it is in sight."""
    console = session.console
    if session.format == "names":
        return
    texts: captured.Captured = {}
    nodes = captured.nodes_with_output(job)
    if has_output and not (session.is_text and was_shown and not following.again):
        try:
            texts = await fetch_output(session, job, nodes)
        except CliError as error:
            # How the job ended is known and decides the exit status.
            console.note(f"The output cannot be read: {error.what}.\nRead it later with: pushy job output {job.id}")
    if not session.is_text:
        added = {"output": captured.by_node(texts, nodes)} if has_output else {}
        console.result(structured(job, session.format, **added))
        return
    show_output(session, texts, following.view)
    if not following.quiet or exit_status(job) != SUCCEEDED:
        console.result(job_text.summary(job, console.out_style, elapsed))
        await _note_misspelled(session, job)


async def _note_misspelled(session: Session, job: Job) -> None:
    """Of the nodes that were unavailable, say which the server does not know at all."""
    if unavailable := (job.nodes or {}).get(NodeStatus.UNAVAILABLE):
        with suppress(CliError):  # how the job ended is told, and decides the exit status
            note_never_seen(session, await never_seen(session, unavailable))
