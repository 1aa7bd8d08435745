"""The newest output of the jobs that somebody follows, as it was stored: most reads of a feed need no database then.

What is here is bounded, and a reader that is too slow for it goes on in the database, where all of it is. So a tail
may be dropped at any time.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from attrs import define, field

from pushyd.store.output_interface import OutputEvent

TAIL_BYTES = 4 * 1024 * 1024
"""Of one job."""

TAILS = 8
"""Jobs of which there is one; of those that were read last."""

EVENTS_AT_ONCE = 1000
"""Events that are read at once: to encode them takes some milliseconds."""

_EVENT_BYTES = 256  # what one costs beyond its data, about


@define(eq=False)
class _Tail:
    since: int
    """All that came later is here."""
    read_at: float
    events: list[OutputEvent] = field(factory=list)
    size: int = 0

    def forget(self, count: int) -> None:
        """Drop the oldest."""
        self.since = self.events[count - 1].at
        self.size -= sum(_size(event) for event in self.events[:count])
        del self.events[:count]


class OutputTails:
    """The tails, by job. Times of output are microseconds since the epoch, as in the store."""

    def __init__(self) -> None:
        self._tails: dict[str, _Tail] = {}  # what was read last is last

    def read(self, job_id: str, after: int, limit: int, now: float) -> Sequence[OutputEvent] | None:
        """The first events that came after a time, about `limit` bytes; None where the store has to be asked."""
        tail = self._tails.pop(job_id, None)
        if tail is None:
            return None
        self._tails[job_id] = tail
        tail.read_at = now
        if after < tail.since:
            return None
        start = stop = bisect_right(tail.events, after, key=_time)
        end = min(len(tail.events), start + EVENTS_AT_ONCE)
        while stop < end and limit > 0:
            limit -= len(tail.events[stop].data)
            stop += 1
        return tail.events[start:stop]

    def follow(self, job_id: str, since: int, now: float) -> int:
        """Keep what comes later than `since`, where that is not done already; since when it is."""
        tail = self._tails.get(job_id)
        if tail is None:
            while len(self._tails) >= TAILS:
                del self._tails[next(iter(self._tails))]
            tail = self._tails[job_id] = _Tail(since, now)
        return tail.since

    def followed(self, job_ids: Iterable[str]) -> list[str]:
        """Those of the jobs of which there is a tail."""
        return [job_id for job_id in job_ids if job_id in self._tails]

    def none_between(self, job_id: str, time: int, since: int) -> None:
        """There is nothing after a time, up to what :meth:`follow` said."""
        tail = self._tails.get(job_id)
        if tail and tail.since == since:
            tail.since = min(since, time)

    def add(self, job_id: str, events: Iterable[OutputEvent]) -> None:
        """What was stored, later than all that is here."""
        tail = self._tails.get(job_id)
        if tail is None:
            return
        new = sorted((event for event in events if event.at > tail.since), key=_time)
        tail.events += new
        tail.size += sum(map(_size, new))
        if tail.size > TAIL_BYTES:
            count, size = 0, tail.size
            while size > TAIL_BYTES:
                size -= _size(tail.events[count])
                count += 1
            tail.forget(count)

    def skip(self, job_id: str, time: int) -> None:
        """What came up to a time is not here."""
        if tail := self._tails.get(job_id):
            tail.events, tail.size, tail.since = [], 0, max(tail.since, time)

    def forget_before(self, read_at: float) -> None:
        """Drop what nobody has read since."""
        for job_id in [job_id for job_id, tail in self._tails.items() if tail.read_at < read_at]:
            del self._tails[job_id]


def _time(event: OutputEvent) -> int:
    return event.at


def _size(event: OutputEvent) -> int:
    return len(event.data) + _EVENT_BYTES
