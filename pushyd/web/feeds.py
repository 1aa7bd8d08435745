"""``pushy/job_status_feed``: feeds as server-sent events (SSE).

A reader is sent what its connection takes: while that is full nothing is read from the feed, so nothing is held for it.
"""

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request
from zope.interface import implementer

from pushyd.clock import Clock, Periodic
from pushyd.feeds import Feed, FeedService, format_time, sse_event
from pushyd.identity.authorize import Right
from pushyd.jobs import JobService
from pushyd.web.app import Api, Call
from pushyd.web.jobs import job_shape, unknown_job

_EVENT_STREAM = "text/event-stream"
_AT_ONCE = 500  # events that are written before the connection is asked whether it takes more
_KEEP_ALIVE = b": keep-alive\n\n"


def add_routes(
    api: Api, *, feeds: FeedService, jobs: JobService, clock: Clock, now: Callable[[], float], keep_alive_seconds: float
) -> None:
    """:param now: seconds since the epoch"""

    async def job_feed(call: Call, job_id: str) -> None:
        job = await jobs.job(call.organization, job_id)
        if job is None:
            raise unknown_job(job_id)
        last = call.request.getHeader("last-event-id")
        live = feeds.job(job_id)
        # Of one that ended longer ago only who has read a part of it gets the rest.
        feed = live or (await feeds.ended(job_id) if last else None)
        place = feed.place_after(last) if feed and last else None
        if feed is None or (place is None and live is None):
            _begin(call.request)
            call.request.write(sse_event("summary", "job-1", _with_time(job_shape(job), now())))
            return
        await _Reader(call.request, clock, keep_alive_seconds).follow(feed, place or 0)

    async def organization_feed(call: Call) -> None:
        feed = feeds.organization(call.organization)
        last = call.request.getHeader("last-event-id")
        place = feed.place_after(last) if last else feed.end
        reader = _Reader(call.request, clock, keep_alive_seconds)
        if place is None:
            place = feed.begin
            reader.write(feed.start_of_history(now()))
        await reader.follow(feed, place)

    for name in ("job_status_feed", "jobs_status_feed"):
        api.stream_route(f"pushy/{name}/<job_id>", job_feed, right=Right.READ, content_type=_EVENT_STREAM)
        api.stream_route(f"pushy/{name}", organization_feed, right=Right.READ, content_type=_EVENT_STREAM)


@implementer(IPushProducer)
class _Reader:
    """Who reads a feed over one request. Gone when the request is: Klein cancels what awaits here."""

    def __init__(self, request: Request, clock: Clock, keep_alive_seconds: float) -> None:
        self._request = request
        self._clock = clock
        self._keep_alive_seconds = keep_alive_seconds
        self._full: Deferred[None] | None = None
        _begin(request)

    def write(self, data: bytes) -> None:
        """Send, whether or not the connection is full."""
        self._request.write(data)

    async def follow(self, feed: Feed, place: int) -> None:
        """Send what happens from `place` on, until the feed closes."""
        self._request.registerProducer(self, True)
        self.write(b"")  # the headers: the reader shall know that it is connected
        try:
            while not (feed.closed and place >= feed.end):
                # What a reader was too slow for may be gone; it goes on with what there is.
                place = max(place, feed.begin)
                stop = min(feed.end, place + _AT_ONCE)
                if stop > place:
                    self.write(feed.read(place, _AT_ONCE))
                    place = stop
                    await self._room()
                else:
                    await self._changed(feed)
        finally:
            if self._request.channel is not None:  # else the reader is gone
                self._request.unregisterProducer()

    async def _changed(self, feed: Feed) -> None:
        """Wait for more; a comment now and then keeps proxies from closing the connection."""
        beat = Periodic(lambda: self.write(_KEEP_ALIVE), self._keep_alive_seconds, self._clock)
        beat.start()
        try:
            await feed.changed()
        finally:
            beat.stop()

    async def _room(self) -> None:
        if self._full:
            await self._full

    def pauseProducing(self) -> None:
        """The connection is full."""
        if self._full is None:
            self._full = Deferred()

    def resumeProducing(self) -> None:
        """The connection takes more."""
        full, self._full = self._full, None
        if full:
            full.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone; Klein ends the waiting."""


def _begin(request: Request) -> None:
    request.setHeader("Cache-Control", "no-cache")
    request.setHeader("X-Accel-Buffering", "no")


def _with_time(job: object, now: float) -> dict[str, object]:
    return {**msgspec.to_builtins(job), "timestamp": format_time(now)}
