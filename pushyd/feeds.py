"""What happens to jobs, in order, for whoever reads along; section 7 of the protocol. How it travels is `web`'s.

A feed is one list, and a reader is a place in it: any number of readers costs no memory, a slow one least of all. A
job's feed is held while the job lives and a little longer, and kept in the store for good; an organization's is held
as long as its events are young.

What a reader has seen last may be what a server that was killed could not keep any more. So the events after a restart
have ids of their own: one that was lost is not taken for another, and its reader begins anew.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import uuid4

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pushyd.background import background
from pushyd.clock import Clock
from pushyd.domain.effects import Emit, FeedEvent
from pushyd.domain.job import JobSpec
from pushyd.store.interface import NO_DETAIL, FeedText, JobStore, NodeDetail

_SECOND = "%Y-%m-%d %H:%M:%S"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JOB = "job"  # the prefix of the ids
_END = b"\n\n"
_NOTHING_READ = (0, 0, b"")
_SHARED_BYTES = 256 * 1024  # of a text that is held for the next reader
_SUCCESS = "success"
_EXPLAINED = {FeedEvent.QUORUM_VOTE, FeedEvent.RUN_COMPLETE}
_OF_ORGANIZATION = {FeedEvent.START, FeedEvent.JOB_COMPLETE}


class _Timed(msgspec.Struct):
    timestamp: str


class Feed:
    """Events in the order in which they happened, each as the text of an SSE event. Times are seconds since the epoch.

    A place is how many events there were before: the first event is read from place 0.
    """

    def __init__(self, prefix: str) -> None:
        """:param prefix: of the ids: PREFIX-1, PREFIX-2, …"""
        self._prefix = prefix
        self._events: list[bytes] = []
        self._times: list[float] = []
        self._dropped = 0
        self._last = 0  # microseconds since the epoch, of the last event
        self._readers: dict[Deferred[None], None] = {}  # an ordered set
        self._was_read = _NOTHING_READ  # last: from where to where, and the text
        self.closed = False
        self.changes = 0
        """How many times there was something new."""

    @property
    def begin(self) -> int:
        """The first place that can still be read."""
        return self._dropped

    @property
    def end(self) -> int:
        """The place of the next event that will happen."""
        return self._dropped + len(self._events)

    def add(self, name: str, data: dict[str, Any], now: float) -> bytes:
        """Something has happened; the event's text. Its time is added to `data`."""
        # Strictly increasing, whatever the clock does: readers sort by it.
        data["timestamp"] = format_microseconds(self.stamp(1, now))
        event = sse_event(name, f"{self._prefix}-{self._dropped + len(self._events) + 1}", data)
        self._events.append(event)
        self._times.append(now)
        self.wake()
        return event

    def stamp(self, count: int, now: float) -> int:
        """The first of `count` microseconds that are later than every event and earlier than those to come."""
        first = max(_microseconds(now), self._last + 1)
        self._last = first + count - 1
        return first

    def restore(self, text: bytes, now: float, last_output: int = 0) -> None:
        """Take up the events of an earlier run, as :meth:`read` gave them; what comes is later than `last_output`."""
        self._events.extend(event + _END for event in text.split(_END) if event)
        self._times = [now] * len(self._events)
        self._last = max(_timestamp_of(self._events[-1]) if self._events else 0, last_output)

    def close(self) -> None:
        """Nothing more will happen."""
        self.closed = True
        self.wake()

    def forget_before(self, time: float) -> None:
        """Drop the events that are older."""
        # A clock that was set back only keeps some longer.
        count = bisect_left(self._times, time)
        if count:
            del self._events[:count], self._times[:count]
            self._was_read = _NOTHING_READ
            self._dropped += count

    def place_after(self, event_id: str) -> int | None:
        """The place after the event with this id; None where it is not known, or no longer."""
        prefix, _, number = event_id.rpartition("-")
        if not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        place = int(number)
        if self.begin < place <= self.end:
            # A feed that was restored has events with several prefixes.
            event = self._events[place - self.begin - 1]
            return place if event_id.isprintable() and b"\nid: %s\n" % event_id.encode() in event else None
        return place if place == self.begin and prefix == self._prefix else None

    def place_at(self, time: int) -> int:
        """The place of the first event that happened after `time`, in microseconds since the epoch."""
        places = range(self.begin, self.end)
        return self.begin + bisect_right(places, time, key=self.time_of)

    def time_of(self, place: int) -> int:
        """When the event at a place happened, in microseconds since the epoch."""
        return _timestamp_of(self._events[place - self._dropped])

    def start_of_history(self, now: float) -> bytes:
        """The text of an event that is none of the feed's: from :attr:`begin` on there follows what is still known."""
        if self._events:
            at = _timestamp_of(self._events[0]) - 1
        else:
            at = self._last = max(_microseconds(now), self._last)
        data = {"timestamp": format_microseconds(at)}
        return sse_event("start_of_history", f"{self._prefix}-{self.begin}", data)

    def read(self, place: int, limit: int) -> bytes:
        """At most `limit` events from a place that is not before :attr:`begin`."""
        stop = min(place + limit, self.end)
        # Readers come in turn, and most of them for what the one before them got.
        if self._was_read[:2] == (place, stop):
            return self._was_read[2]
        text = b"".join(self._events[place - self._dropped : stop - self._dropped])
        if len(text) <= _SHARED_BYTES:
            self._was_read = (place, stop, text)
        return text

    async def changed(self) -> None:
        """Return when something has happened, or nothing more will."""
        reader: Deferred[None] = Deferred(lambda gone: self._readers.pop(gone, None))
        self._readers[reader] = None
        await reader

    def wake(self) -> None:
        """Let those who wait for a change look again."""
        self.changes += 1
        if not self._readers:
            return
        readers, self._readers = self._readers, {}
        for reader in readers:
            if not reader.called:  # one that was woken may have made another one go
                reader.callback(None)


class FeedService:
    """The feeds of live jobs and of organizations. What happens to a job is also kept."""

    log = Logger()

    def __init__(
        self,
        *,
        store: JobStore,
        clock: Clock,
        now: Callable[[], float],
        wait_complete_seconds: float,
        expiry_seconds: float,
    ) -> None:
        """:param now: seconds since the epoch"""
        self._store = store
        self._clock = clock
        self._now = now
        self._wait_complete_seconds = wait_complete_seconds
        self._expiry_seconds = expiry_seconds
        self._jobs: dict[str, Feed] = {}
        self._organizations: dict[str, Feed] = {}
        # Ids of an earlier run of the server must not be taken for this one's.
        self._run = uuid4().hex[:8]

    def emit(self, spec: JobSpec, event: Emit, said: NodeDetail = NO_DETAIL) -> None:
        """Something has happened to a job; `said` is what the node that it is about told of it."""
        now = self._now()
        data = _data(spec, event, said)
        feed = self._jobs.get(spec.id)
        if feed is None:
            feed = self._jobs[spec.id] = Feed(_JOB)
        text = feed.add(event.event, data, now)
        if event.event in _OF_ORGANIZATION:
            self.organization(spec.organization).add(event.event, {**data, "job": spec.id}, now)
        # At once, so that it is in one transaction with the change that it tells of.
        self._store.record(FeedText(job_id=spec.id, first=feed.end, text=text))
        if event.event is FeedEvent.JOB_COMPLETE:
            feed.close()
            self._clock.callLater(self._wait_complete_seconds, self._let_go, spec.id)

    def restore(self, spec: JobSpec, kept: bytes, last_output: int) -> None:
        """Take up the feed of a job of an earlier run, as far as it was kept; its last output came at `last_output`."""
        feed = self._jobs[spec.id] = Feed(f"{_JOB}-{self._run}")
        feed.restore(kept, self._now(), last_output)

    def stamp(self, job_id: str, count: int) -> int:
        """The first of `count` microseconds since the epoch that no event of a job's feed has, nor will have."""
        feed = self._jobs.get(job_id)
        return feed.stamp(count, self._now()) if feed else _microseconds(self._now())

    def wake(self, job_id: str) -> None:
        """Let who reads a job's feed look again."""
        if feed := self._jobs.get(job_id):
            feed.wake()

    def job(self, job_id: str) -> Feed | None:
        """The feed of a job that lives or has just ended."""
        return self._jobs.get(job_id)

    async def ended(self, job_id: str) -> Feed:
        """The feed of a job that ended longer ago, as it was kept."""
        feed = Feed(_JOB)
        feed.restore(await self._store.feed(job_id), self._now())
        feed.close()
        return feed

    def organization(self, name: str) -> Feed:
        """The feed of an organization; it never closes."""
        feed = self._organizations.get(name)
        if feed is None:
            feed = self._organizations[name] = Feed(self._run)
        feed.forget_before(self._now() - self._expiry_seconds)
        return feed

    def _let_go(self, job_id: str) -> None:
        _ = background(self._forget(job_id), self.log, "The feed of an ended job stays in memory")

    async def _forget(self, job_id: str) -> None:
        """Let the store answer for the feed of an ended job, once it can."""
        await self._store.recorded()
        self._jobs.pop(job_id, None)


def format_time(epoch: float) -> str:
    """``2014-07-10 05:17:44.995958Z``."""
    return format_microseconds(_microseconds(epoch))


def _microseconds(epoch: float) -> int:
    """Whole ones: a float of today's size cannot count by them."""
    return round(epoch * 1_000_000)


def format_microseconds(epoch: int) -> str:
    """The same of microseconds since the epoch."""
    second, rest = divmod(epoch, 1_000_000)
    return f"{_format_second(second)}.{rest:06}Z"


# A job of ten thousand nodes has thousands of events in one second.
@lru_cache(maxsize=16)
def _format_second(epoch: int) -> str:
    return (_EPOCH + timedelta(seconds=epoch)).strftime(_SECOND)


def _timestamp_of(event: bytes) -> int:
    """The microseconds since the epoch at which an event of a job's feed happened."""
    data = event.rpartition(b"\ndata: ")[2]
    at = datetime.fromisoformat(msgspec.json.decode(data, type=_Timed).timestamp)
    return (at - _EPOCH) // timedelta(microseconds=1)


def sse_event(name: str, event_id: str, data: object) -> bytes:
    """An event as it is sent."""
    return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), event_id.encode(), msgspec.json.encode(data))


def _data(spec: JobSpec, event: Emit, said: NodeDetail) -> dict[str, Any]:
    if event.status == _SUCCESS:
        return {"node": event.node, "status": _SUCCESS}
    if event.event in _EXPLAINED:
        # That a command ended with 0 is told by `success`, and nothing else is said of it: 2.x has no such key.
        how = (("reason", said.reason), ("exit_status", said.exit_status), ("signal", said.signal))
        explanation = {name: value for name, value in how if value}
        return {"node": event.node, "status": event.status, **explanation}
    if event.event is not FeedEvent.START:
        return {name: value for name, value in (("node", event.node), ("status", event.status)) if value is not None}
    optional = {"job_user": spec.user, "dir": spec.dir, "env": spec.env and dict(spec.env)}
    flags = {"file_specified": spec.file is not None, "capture": spec.capture}
    return {
        "command": spec.command,
        "run_timeout": spec.run_timeout,
        "quorum": spec.quorum,
        "node_count": len(spec.nodes),
        "user": spec.created_by,
        **{name: value for name, value in optional.items() if value is not None},
        **{name: True for name, flag in flags.items() if flag},
    }
