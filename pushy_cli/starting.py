"""Starts jobs and follows them to their end: ``job start``, ``job rerun``, ``job watch``.

Their options are in :mod:`pushy_cli.job_commands`; looking at jobs without waiting is in :mod:`pushy_cli.jobs`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import cast

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred

from pushy_cli import captured, job_text, render
from pushy_cli.api import job_id_in
from pushy_cli.errors import FAILED, CliError, NoAnswer
from pushy_cli.folding import fold
from pushy_cli.following import follow
from pushy_cli.jobs import SUCCEEDED, Rejection, fetch_output, resolve_id, show_output
from pushy_cli.new_job import Draft, UsageProblem
from pushy_cli.nodes import NodeSource, never_seen, note_never_seen
from pushy_cli.output_text import View
from pushy_cli.progress import progress_on
from pushy_cli.results import structured
from pushy_cli.session import Session
from pushy_cli.targets import Targets, resolve
from pushy_cli.terminal import Reader
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
    view: View = View.GROUPED
    ok_if_quorum: bool = False
    """Whether nodes that did not run it, of a job that reached its quorum, spoil nothing: knife's meaning."""


@frozen(kw_only=True)
class Starting:
    """What is asked before a job is started, and whether it is waited for."""

    confirm_over: int
    yes: bool = False
    dry_run: bool = False
    wait: bool = True


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


async def start(session: Session, draft: Draft, targets: Targets, starting: Starting, following: Following) -> int:
    """Start a job on the nodes that are meant."""
    nodes = await resolve(targets, NodeSource(session))
    return await _start(session, _request(draft.request, nodes), starting, following)


async def rerun(
    session: Session, job_id: str, starting: Starting, following: Following, *, failed_only: bool, quorum: str | None
) -> int:
    """Start a job like an earlier one, on the same nodes or on those where it did not succeed."""
    job = await session.server.job(await resolve_id(session, job_id), with_file=True)
    nodes = [
        name
        for status, names in (job.nodes or {}).items()
        if not failed_only or status != NodeStatus.SUCCEEDED
        for name in names
    ]
    if not nodes:
        raise Rejection(f"Job {job.id} succeeded on all of its nodes", "Without --failed it runs on all of them again.")
    if job.file_specified and job.file is None:
        raise Rejection(f"The server does not give the file of job {job.id}", "Start it anew, with --file.")
    body = {
        "command": job.command,
        "capture_output": job.capture_output,
        "run_timeout": job.run_timeout,
        "user": job.user,
        "dir": job.dir,
        "env": job.env,
        "file": job.file,
    }
    draft = Draft(body={name: value for name, value in body.items() if value is not None}, quorum=quorum)
    return await _start(session, _request(draft.request, sorted(nodes)), starting, following)


async def watch(session: Session, job_id: str, following: Following) -> int:
    """Follow a job that was started before."""
    return await _follow(session, await resolve_id(session, job_id), following)


async def _start(session: Session, request: JobRequest, starting: Starting, following: Following) -> int:
    console = session.console
    if starting.dry_run:
        return await _show_who_would_be_asked(session, request)
    if len(request.nodes) > starting.confirm_over and not starting.yes:
        await session.confirm(
            f"Run {render.plain(request.command)!r} on {len(request.nodes)} nodes, {fold(request.nodes)}?",
            otherwise="Say --yes, or raise --confirm-over.",
        )
    try:
        created = await session.server.start_job(request)
    except NoAnswer as error:
        error.hint = "The job may have been started nevertheless; look before you try again: pushy job list"
        raise
    job_id = job_id_in(created.uri)
    if not starting.wait:
        value = {"id": job_id, "uri": created.uri}
        session.show(value, names=[job_id], text=lambda _style: f"Started. Job ID: {job_id}")
        return SUCCEEDED
    if session.format == "names":
        console.result(job_id)
    elif not following.quiet:
        # With JSON, stdout is for the one document.
        (console.result if session.is_text else console.note)(f"Started. Job ID: {job_id}")
    return await _follow(session, job_id, following, capture=request.capture_output is not False)


async def _follow(session: Session, job_id: str, following: Following, *, capture: bool | None = None) -> int:
    console = session.console
    console.farewell = (f"Job {job_id} goes on without us.", f"Look at it with: pushy job status {job_id}")
    interruption = _Interruption(session, job_id)
    began = session.clock.seconds()
    try:
        with progress_on(console, session.clock, quiet=following.quiet) as progress, interruption:
            job = await follow(
                session.server, job_id, clock=session.clock, progress=progress, interval=following.interval
            )
    except CliError as error:
        if capture is not None:
            error.hint = f"The job may go on; look at it later with: pushy job status {job_id}"
        raise
    elapsed = session.clock.seconds() - began if capture is not None else None
    await _show_end(session, job, elapsed, following, capture=job.capture_output if capture is None else capture)
    return exit_status(job, ok_if_quorum=following.ok_if_quorum)


class _Interruption:
    """What Ctrl-C does while a job is followed: once it asks, twice it leaves. In a `with`."""

    def __init__(self, session: Session, job_id: str) -> None:
        self._session = session
        self._job_id = job_id
        self._asking: Deferred[None] | None = None

    def __enter__(self) -> None:
        if self._session.console.can_ask:
            self._session.on_interrupt = self._interrupted

    def __exit__(self, *_: object) -> None:
        self._session.on_interrupt = None
        if self._asking:
            self._asking.cancel()

    def _interrupted(self) -> None:
        self._asking = Deferred.fromCoroutine(self._ask())
        # It is cancelled when the job has ended meanwhile.
        _ = self._asking.addErrback(lambda failure: failure.trap(CancelledError) and None)

    async def _ask(self) -> None:
        session = self._session
        session.console.note("")
        answer = await session.console.ask(
            "Leave it running (l), abort it (a), or watch on (w)? Ctrl-C again leaves:",
            cast("Reader", session.reactor),
        )
        if answer in {"a", "abort"}:
            await self._abort()
        elif answer not in {"w", "watch"}:
            session.leave()
            return
        else:
            session.on_interrupt = self._interrupted

    async def _abort(self) -> None:
        console = self._session.console
        try:
            await self._session.server.abort(self._job_id)
        except CliError as error:
            console.note(f"The job cannot be aborted: {render.plain(error.what)}.")
            self._session.on_interrupt = self._interrupted
        else:
            console.note("The job is being aborted...")


async def _show_who_would_be_asked(session: Session, request: JobRequest) -> int:
    """Which nodes could take part now; exits as if the job ran nowhere where they are too few."""
    states = {state.node_name: state for state in await session.server.node_states()}
    nodes: dict[str, list[str]] = {"available": [], "unavailable": [], "offline": []}
    for name in request.nodes:
        state = states.get(name)
        kind = "offline" if state is None or state.status == "offline" else state.availability
        nodes[kind].append(name)
    quorum = len(request.nodes) if request.quorum is None else request.quorum
    enough = len(nodes["available"]) >= quorum
    note_never_seen(session, [name for name in request.nodes if name not in states])
    session.show(
        {"command": request.command, "quorum": quorum, "enough": enough, "nodes": nodes},
        names=request.nodes,
        text=lambda style: job_text.dry_run(request, nodes, quorum, style),
    )
    return SUCCEEDED if enough else NONE_RAN


async def _show_end(session: Session, job: Job, elapsed: float | None, following: Following, *, capture: bool) -> None:
    """What the nodes wrote, then the summary: last, so that it is in sight."""
    console = session.console
    if session.format == "names":
        return
    nodes = captured.nodes_with_output(job)
    texts: captured.Captured = {}
    if capture:
        try:
            texts = await fetch_output(session, job, nodes, captured.CHANNELS)
        except CliError as error:
            # How the job ended is known and decides the exit status.
            console.note(f"The output cannot be read: {error.what}.\nRead it later with: pushy job output {job.id}")
    if not session.is_text:
        added = {"output": captured.by_node(texts, nodes)} if capture else {}
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


def _request(make: Callable[[Sequence[str]], JobRequest], nodes: Sequence[str]) -> JobRequest:
    try:
        return make(nodes)
    except UsageProblem as problem:
        raise Rejection(str(problem), "See: pushy job start --help") from None
