"""Starts jobs: ``job start`` and ``job rerun``. How they are followed to their end is :mod:`pushy_cli.watching`'s.

Their options are in :mod:`pushy_cli.start_commands`; looking at jobs without waiting is in :mod:`pushy_cli.jobs`.
"""

from collections.abc import Callable, Sequence

import msgspec
from attrs import frozen

from pushy_cli import job_text, render
from pushy_cli.api import job_id_in
from pushy_cli.errors import NoAnswer, Rejected
from pushy_cli.folding import fold
from pushy_cli.jobs import SUCCEEDED, Rejection, resolve_id
from pushy_cli.new_job import Draft, UsageProblem
from pushy_cli.nodes import NodeSource, note_never_seen
from pushy_cli.session import Session
from pushy_cli.targets import Targets, resolve
from pushy_cli.watching import NONE_RAN, Following, follow_started
from pushy_protocol.api import Job, JobCreated, JobRequest
from pushy_protocol.states import NodeStatus


@frozen(kw_only=True)
class Starting:
    """What is asked before a job is started, and whether it is waited for."""

    confirm_over: int
    yes: bool = False
    dry_run: bool = False
    wait: bool = True


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
    draft = _draft_like(job, quorum=quorum, live=following.live)
    return await _start(session, _request(draft.request, sorted(nodes)), starting, following)


async def _start(session: Session, request: JobRequest, starting: Starting, following: Following) -> int:
    console = session.console
    if starting.dry_run:
        return await _show_who_would_be_asked(session, request)
    if len(request.nodes) > starting.confirm_over and not starting.yes:
        await session.confirm(
            f"Run {render.plain(request.command)!r} on {len(request.nodes)} nodes, {fold(request.nodes)}?",
            otherwise="Say --yes, or raise --confirm-over.",
        )
    created = await _create(session, request)
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
    return await follow_started(session, job_id, request, following)


async def _create(session: Session, request: JobRequest) -> JobCreated:
    """Start the job; without what an older server does not know of output, where that is why it refuses."""
    try:
        try:
            return await session.server.start_job(request)
        except Rejected as error:
            plainer = msgspec.structs.replace(
                request, capture_output=request.capture_output is not False, output_limit=None
            )
            if plainer == request or _knows_output_limits(error):
                raise
            created = await session.server.start_job(plainer)  # it is refused again for whatever else is wrong
            session.console.note(
                "This server is older: output comes at the end of the job, and its limit is the server's."
            )
            return created
    except NoAnswer as error:
        error.hint = "The job may have been started nevertheless; look before you try again: pushy job list"
        raise


def _knows_output_limits(error: Rejected) -> bool:
    return "output_limit" in error.what and "invalid key" not in error.what


def _draft_like(job: Job, *, quorum: str | None, live: bool) -> Draft:
    body = {
        "command": job.command,
        "capture_output": "live" if live or job.output == "live" else job.capture_output,
        "output_limit": job.output_limit,
        "run_timeout": job.run_timeout,
        "user": job.user,
        "dir": job.dir,
        "env": job.env,
        "file": job.file,
    }
    return Draft(body={name: value for name, value in body.items() if value is not None}, quorum=quorum)


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


def _request(make: Callable[[Sequence[str]], JobRequest], nodes: Sequence[str]) -> JobRequest:
    try:
        return make(nodes)
    except UsageProblem as problem:
        raise Rejection(str(problem), "See: pushy job start --help") from None
