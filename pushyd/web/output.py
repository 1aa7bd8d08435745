"""``pushy/jobs/ID/output``: what the commands of a job wrote, byte for byte; read from the store piece by piece."""

import contextlib
import re

from attrs import frozen
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from pushyd.clock import Clock
from pushyd.feeds import FeedService
from pushyd.identity.authorize import Right
from pushyd.jobs import JobService
from pushyd.outputs import Outputs
from pushyd.store.interface import StoreUnavailable
from pushyd.store.output_interface import OutputState
from pushyd.web.app import Api, Call
from pushyd.web.errors import ApiError
from pushyd.web.jobs import unknown_job
from pushyd.web.output_lines import OutputLines
from pushyd.web.requests import argument
from pushyd.web.streaming import Body

_BYTES = "application/octet-stream"
_LINES = "application/x-ndjson"
_AT_ONCE = 256 * 1024  # bytes that are read before the connection is asked whether it takes more
_LOOK_SECONDS = 0.5  # a follower looks so often whether the node has ended, if nothing tells it before
_REST_SECONDS = 5.0  # for which a follower waits for bytes that are missing after the node has ended
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})-(\d{0,18})\s*\Z")
_CHANNELS = {None, "stdout", "stderr"}


@frozen(kw_only=True)
class OutputRoutes:
    """What the routes use."""

    jobs: JobService
    outputs: Outputs
    feeds: FeedService
    clock: Clock

    def add_to(self, api: Api) -> None:
        """Serve the outputs of one node, and of all."""
        path = "pushy/jobs/<job_id>/output"
        channel = f"{path}/<node>/<any(stdout, stderr):channel>"
        api.stream_route(channel, self.output, right=Right.READ, content_type=_BYTES, is_download=True)
        api.stream_route(path, self.outputs_of_job, right=Right.READ, content_type=_LINES)

    async def output(self, call: Call, job_id: str, node: str, channel: str) -> None:
        """One channel of one node."""
        request = call.request
        await self.jobs.recorded()
        state = await self.outputs.state(call.organization, job_id, node, channel)
        follows = argument(request, "follow") == "true"
        if state is None and not (follows and await self._may_come(call, job_id, node)):
            if await self.jobs.job(call.organization, job_id) is None:
                raise unknown_job(job_id)
            raise ApiError(404, f"No {channel} of node '{node}' was captured in job '{job_id}'.")
        _describe(request, state)
        start, stop = _window(request, state.kept if state else 0, follows=follows)
        if request.method == b"HEAD":
            return
        stream = (call.organization, job_id, node, channel)
        with Body(request) as body:
            if follows:
                await self._follow(body, stream, start)
            else:
                await self._send(body, stream, start, stop)

    async def outputs_of_job(self, call: Call, job_id: str) -> None:
        """All nodes' outputs, as lines of JSON."""
        channel = argument(call.request, "channel") or None
        if channel not in _CHANNELS:
            raise ApiError(400, f"channel: expected stdout or stderr, got '{channel}'")
        await self.jobs.recorded()
        if await self.jobs.job(call.organization, job_id) is None:
            raise unknown_job(job_id)
        states = await self.outputs.states(call.organization, job_id, channel)
        lines = OutputLines(self.outputs, call.organization, job_id, states)
        grouped = argument(call.request, "group") == "true"
        with Body(call.request) as body:
            async for line in lines.grouped() if grouped else lines.by_node():
                await body.send(line)

    async def _may_come(self, call: Call, job_id: str, node: str) -> bool:
        job = await self.jobs.job(call.organization, job_id)
        return job is not None and job.spec.capture and self.jobs.is_awaited(call.organization, job_id, node)

    async def _send(self, body: Body, stream: tuple[str, str, str, str], start: int, stop: int) -> None:
        while start < stop:
            data = await self.outputs.read(*stream, start=start, stop=min(stop, start + _AT_ONCE))
            if not data:
                raise StoreUnavailable("the output was deleted while it was read")
            start += len(data)
            await body.send(data)

    async def _follow(self, body: Body, stream: tuple[str, str, str, str], start: int) -> None:
        """Send what there is and what comes, until the node's part in the job has ended and all of it is there."""
        organization, job_id, node, _ = stream
        waited_from: float | None = None
        while True:
            is_awaited = self.jobs.is_awaited(organization, job_id, node)
            try:
                if not is_awaited:
                    await self.jobs.recorded()
                state = await self.outputs.state(*stream)
                if state is not None and start < state.kept:
                    await self._send(body, stream, start, state.kept)
                    start, waited_from = state.kept, None
                    continue
            except StoreUnavailable:
                state = None  # it may be back in a moment
            now = self.clock.seconds()
            if not is_awaited:
                waited_from = now if waited_from is None else waited_from
                if (state is not None and state.complete) or now - waited_from >= _REST_SECONDS:
                    return
            await self._look_again(job_id)

    async def _look_again(self, job_id: str) -> None:
        feed = self.feeds.job(job_id)
        changed = Deferred.fromCoroutine(feed.changed()) if feed and not feed.closed else Deferred()
        with contextlib.suppress(defer.TimeoutError):
            await changed.addTimeout(_LOOK_SECONDS, self.clock)  # type: ignore[arg-type]  # zope's IReactorTime


def _describe(request: Request, state: OutputState | None) -> None:
    request.setHeader("Accept-Ranges", "bytes")
    request.setHeader("X-Pushy-Output-Bytes", str(state.kept if state else 0))
    request.setHeader("X-Pushy-Output-Dropped", str(state.dropped if state else 0))
    request.setHeader("X-Pushy-Output-Complete", "true" if state and state.complete else "false")
    if state and state.problem:
        request.setHeader("X-Pushy-Output-Problem", state.problem)


def _window(request: Request, size: int, *, follows: bool) -> tuple[int, int]:
    """Which bytes are wanted, of so many; says so in the headers.

    :raise ApiError: none of them are there
    """
    found = _RANGE.match(request.getHeader("range") or "")
    if found is None or found.groups() == ("", "") or (follows and not found[1]):
        if not follows:
            request.setHeader("Content-Length", str(size))
        return 0, size
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    if follows:
        request.setResponseCode(206)
        request.setHeader("Content-Range", f"bytes {start}-*/*")
        return start, size
    if start >= stop:
        request.setHeader("Content-Range", f"bytes */{size}")
        raise ApiError(416, f"Range: expected some of the {size} bytes that there are")
    request.setResponseCode(206)
    request.setHeader("Content-Range", f"bytes {start}-{stop - 1}/{size}")
    request.setHeader("Content-Length", str(stop - start))
    return start, stop
