"""``pushy/job_status_feed``: feeds as server-sent events (SSE).

A reader is a place in a feed, and is sent what its connection takes. One that wants output too is two places, of which
the other one is a time: what was stored is read from the store, so that any number of bytes costs no memory.
"""

from collections.abc import Callable

import msgspec
from attrs import Factory, field, frozen
from twisted.web.server import Request

from pushyd.clock import Clock, Periodic
from pushyd.feeds import Feed, FeedService, format_microseconds, format_time, sse_event
from pushyd.identity.authorize import Right
from pushyd.jobs import JobService
from pushyd.outputs import Outputs
from pushyd.store.output_interface import OutputEvent
from pushyd.turns import Turns
from pushyd.web.app import Api, Call
from pushyd.web.errors import ApiError
from pushyd.web.jobs import job_shape, unknown_job
from pushyd.web.requests import argument
from pushyd.web.streaming import Body

_EVENT_STREAM = "text/event-stream"
_AT_ONCE = 500  # events that are written before the connection is asked whether it takes more
_BYTES_AT_ONCE = 256 * 1024  # of output
_OUTPUT_ID = "o-"
_KEEP_ALIVE = b": keep-alive\n\n"


@frozen(kw_only=True)
class FeedRoutes:
    """What the routes use; `now` is in seconds since the epoch."""

    feeds: FeedService
    jobs: JobService
    outputs: Outputs
    clock: Clock
    now: Callable[[], float]
    keep_alive_seconds: float
    turns: Turns = field(init=False, default=Factory(lambda self: Turns(self.clock), takes_self=True))

    def add_to(self, api: Api) -> None:
        """Serve the feeds."""
        for name in ("job_status_feed", "jobs_status_feed"):
            api.stream_route(f"pushy/{name}/<job_id>", self.job_feed, right=Right.READ, content_type=_EVENT_STREAM)
            api.stream_route(f"pushy/{name}", self.organization_feed, right=Right.READ, content_type=_EVENT_STREAM)

    async def job_feed(self, call: Call, job_id: str) -> None:
        """What happens to a job."""
        job = await self.jobs.job(call.organization, job_id)
        if job is None:
            raise unknown_job(job_id)
        last = call.request.getHeader("last-event-id")
        live = self.feeds.job(job_id)
        # Of one that ended longer ago only who has read a part of it gets the rest.
        feed = live or (await self.feeds.ended(job_id) if last else None)
        wants_output = argument(call.request, "output") == "true"
        place = _place_after(feed, last, wants_output=wants_output) if feed and last else None
        _begin(call.request)
        if feed is None or (place is None and live is None):
            call.request.write(sse_event("summary", "job-1", _with_time(job_shape(job), self.now())))
            return
        with Body(call.request) as body:
            if wants_output:
                await self._follow_with_output(body, feed, job_id, place or (0, 0))
            else:
                await self._follow(body, feed, place[0] if place else 0)

    async def organization_feed(self, call: Call) -> None:
        """Which jobs of an organization begin and end."""
        if argument(call.request, "output") == "true":
            raise ApiError(400, "output: expected a job, job_status_feed/ID?output=true; this feed has no output")
        feed = self.feeds.organization(call.organization)
        last = call.request.getHeader("last-event-id")
        place = feed.place_after(last) if last else feed.end
        _begin(call.request)
        with Body(call.request) as body:
            if place is None:
                place = feed.begin
                body.write(feed.start_of_history(self.now()))
            await self._follow(body, feed, place)

    async def _follow(self, body: Body, feed: Feed, place: int) -> None:
        """Send what happens from `place` on, until the feed closes."""
        while not (feed.closed and place >= feed.end):
            # What a reader was too slow for may be gone; it goes on with what there is.
            place = max(place, feed.begin)
            stop = min(feed.end, place + _AT_ONCE)
            if stop > place:
                text = feed.read(place, _AT_ONCE)
                place = stop
                await body.send(text)
                if place < feed.end:
                    # A thousand connections may take more at once: what nodes say is read in between.
                    await self.turns.mine()
            else:
                await self._changed(body, feed)

    async def _follow_with_output(self, body: Body, feed: Feed, job_id: str, place_and_time: tuple[int, int]) -> None:
        """The same with the output that came after a time, in the order of times.

        What is not stored yet holds up the events that came after it. So what is still to come has to be known before
        the store is asked.
        """
        place, time = place_and_time
        while True:
            changes, end, closed = feed.changes, feed.end, feed.closed
            settled = self.outputs.settled(job_id)
            found = await self.outputs.events(job_id, time, _BYTES_AT_ONCE)
            texts = []
            for output in found:
                if settled is not None and output.at >= settled:
                    break
                place, text = _events_until(feed, place, end, output.at)
                time = output.at
                texts += [text, _output_event(output)]
            has_more = bool(found) and time >= found[-1].at
            if not has_more:
                place, text = _events_until(feed, place, end, settled)
                texts.append(text)
            await body.send(b"".join(texts))
            if has_more:
                await self.turns.mine()
                continue
            if closed and place >= end and settled is None:
                return
            if feed.changes == changes:
                await self._changed(body, feed)

    async def _changed(self, body: Body, feed: Feed) -> None:
        """Wait for more; a comment now and then keeps proxies from closing the connection."""
        beat = Periodic(lambda: body.write(_KEEP_ALIVE), self.keep_alive_seconds, self.clock)
        beat.start()
        try:
            await feed.changed()
            await self.turns.mine()
        finally:
            beat.stop()


def _place_after(feed: Feed, event_id: str, *, wants_output: bool) -> tuple[int, int] | None:
    """The place in a feed, and the time, after the event with this id; None where it is not known."""
    number = event_id.removeprefix(_OUTPUT_ID)
    if wants_output and number != event_id and number.isascii() and number.isdigit() and len(number) <= 18:
        return feed.place_at(int(number)), int(number)
    place = feed.place_after(event_id)
    return None if place is None else (place, feed.time_of(place - 1) if place else 0)


def _events_until(feed: Feed, place: int, end: int, time: int | None) -> tuple[int, bytes]:
    """The place of the first event that came later (None: of `end`), and the text of those from `place` to it."""
    stop = place
    while stop < end and (time is None or feed.time_of(stop) < time):
        stop += 1
    return stop, feed.read(place, stop - place)


def _output_event(output: OutputEvent) -> bytes:
    data = {
        "node": output.node,
        "channel": output.channel,
        "offset": output.offset,
        "data": output.data,
        "timestamp": format_microseconds(output.at),
    }
    return sse_event("output", f"{_OUTPUT_ID}{output.at}", data)


def _begin(request: Request) -> None:
    request.setHeader("Cache-Control", "no-cache")
    request.setHeader("X-Accel-Buffering", "no")


def _with_time(job: object, now: float) -> dict[str, object]:
    return {**msgspec.to_builtins(job), "timestamp": format_time(now)}
