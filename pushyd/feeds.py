"""What happens to jobs, in order, for whoever reads along; section 7 of the protocol. How it travels is `web`'s.

A feed is one list, and a reader is a place in it: any number of readers costs no memory, a slow one least of all. A
job's feed is kept while the job lives and a little longer, an organization's as long as its events are young.
"""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
from attrs import frozen
from twisted.internet.defer import Deferred

from pushyd.clock import Clock
from pushyd.domain.effects import Emit, FeedEvent
from pushyd.domain.job import JobSpec
from pushyd.store.interface import FeedText, JobStore

_TIME = "%Y-%m-%d %H:%M:%S.%fZ"
_JOB = "job"  # the prefix of the ids
_KEEP_SECONDS = 0.1
_END = b"\n\n"
_OF_ORGANIZATION = {FeedEvent.START, FeedEvent.JOB_COMPLETE}


@frozen
class _Kept:
    at: float
    text: bytes


class Feed:
    """Events in the order in which they happened, each as the text of an SSE event. Times are seconds since the epoch.

    A place is how many events there were before: the first event is read from place 0.
    """

    def __init__(self, prefix: str) -> None:
        """:param prefix: of the ids: PREFIX-1, PREFIX-2, …"""
        self._prefix = prefix
        self._events: deque[_Kept] = deque()
        self._dropped = 0
        self._last = 0.0
        self._readers: list[Deferred[None]] = []
        self.closed = False

    @property
    def begin(self) -> int:
        """The first place that can still be read."""
        return self._dropped

    @property
    def end(self) -> int:
        """The place of the next event that will happen."""
        return self._dropped + len(self._events)

    def add(self, name: str, data: dict[str, Any], now: float) -> bytes:
        """Something has happened; the event's text."""
        # Strictly increasing, whatever the clock does: readers sort by it.
        self._last = at = max(now, self._last + 1e-6)
        event = sse_event(name, f"{self._prefix}-{self.end + 1}", {**data, "timestamp": format_time(at)})
        self._events.append(_Kept(at, event))
        self._wake()
        return event

    def restore(self, text: bytes, now: float) -> None:
        """Take up the events of an earlier run, as :meth:`read` gave them."""
        self._events.extend(_Kept(now, event + _END) for event in text.split(_END) if event)
        self._last = now

    def close(self) -> None:
        """Nothing more will happen."""
        self.closed = True
        self._wake()

    def forget_before(self, time: float) -> None:
        """Drop the events that are older."""
        while self._events and self._events[0].at < time:
            self._events.popleft()
            self._dropped += 1

    def place_after(self, event_id: str) -> int | None:
        """The place after the event with this id; None where it is not known, or no longer."""
        prefix, _, number = event_id.rpartition("-")
        if prefix != self._prefix or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        return int(number) if self.begin <= int(number) <= self.end else None

    def id_before(self, place: int) -> str:
        """The id with which a reader goes on from `place`."""
        return f"{self._prefix}-{place}"

    def read(self, place: int, limit: int) -> bytes:
        """At most `limit` events from a place that is not before :attr:`begin`."""
        start = place - self._dropped
        stop = min(len(self._events), start + limit)
        return b"".join(self._events[index].text for index in range(start, stop))

    async def changed(self) -> None:
        """Return when something has happened, or nothing more will."""
        reader: Deferred[None] = Deferred(self._readers.remove)
        self._readers.append(reader)
        await reader

    def _wake(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            reader.callback(None)


class FeedService:
    """The feeds of live jobs and of organizations. What happens to a job is also kept, a little at a time."""

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
        # What has happened since the last piece was given to the store: the number of its first event, and the texts.
        self._to_keep: dict[str, tuple[int, list[bytes]]] = {}
        # Ids of an earlier run of the server must not be taken for this one's.
        self._run = uuid4().hex[:8]

    def emit(self, spec: JobSpec, event: Emit) -> None:
        """Something has happened to a job."""
        now = self._now()
        data = _data(spec, event)
        feed = self._jobs.get(spec.id)
        if feed is None:
            feed = self._jobs[spec.id] = Feed(_JOB)
        text = feed.add(event.event, data, now)
        if event.event in _OF_ORGANIZATION:
            self.organization(spec.organization).add(event.event, {**data, "job": spec.id}, now)
        if not self._to_keep:
            self._clock.callLater(_KEEP_SECONDS, self.keep)
        self._to_keep.setdefault(spec.id, (feed.end, []))[1].append(text)
        if event.event is FeedEvent.JOB_COMPLETE:
            self.keep()
            feed.close()
            self._clock.callLater(self._wait_complete_seconds, self._jobs.pop, spec.id, None)

    def restore(self, spec: JobSpec, kept: bytes) -> None:
        """Take up the feed of a job of an earlier run, as far as it was kept."""
        feed = self._jobs[spec.id] = Feed(_JOB)
        feed.restore(kept, self._now())

    def keep(self) -> None:
        """Give the store what it does not have yet."""
        to_keep, self._to_keep = self._to_keep, {}
        for job_id, (first, texts) in to_keep.items():
            self._store.record(FeedText(job_id=job_id, first=first, text=b"".join(texts)))

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


def format_time(epoch: float) -> str:
    """``2014-07-10 05:17:44.995958Z``."""
    return datetime.fromtimestamp(epoch, UTC).strftime(_TIME)


def sse_event(name: str, event_id: str, data: object) -> bytes:
    """An event as it is sent."""
    return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), event_id.encode(), msgspec.json.encode(data))


def _data(spec: JobSpec, event: Emit) -> dict[str, Any]:
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
