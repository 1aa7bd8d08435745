"""What heartbeats tell: whether the server is there, and that a heartbeat is newer than those before. Pure.

Time is a monotonic clock's, given with each call; nothing is sent or scheduled here.
"""

from collections import OrderedDict

_INCARNATIONS = 8


class Liveness:
    """Whether the server is there, from when its heartbeats came.

    It counts as there at first. Silent for `offline_threshold` intervals it is away, and back with
    `online_threshold` heartbeats in a row.
    """

    def __init__(self, *, interval: float, offline_threshold: int, online_threshold: int, now: float) -> None:
        """:param interval: seconds; the thresholds count intervals and heartbeats"""
        self._patience = interval * offline_threshold
        self._online_threshold = online_threshold
        self._last = now
        self._in_a_row = 0
        self.online = True

    def heard(self, now: float) -> None:
        """A heartbeat came."""
        self._in_a_row = self._in_a_row + 1 if now - self._last <= self._patience else 1
        self._last = now
        if self._in_a_row >= self._online_threshold:
            self.online = True

    def check(self, now: float) -> bool:
        """Whether the server is there, at this time."""
        if now - self._last > self._patience:
            self.online = False
            self._in_a_row = 0
        return self.online


class SequenceGuard:
    """Refuses heartbeats that were there before: within one server incarnation the sequence must grow.

    It remembers the last incarnations, so that an old one cannot be played again after a restart, and it outlives
    the connection.
    """

    def __init__(self) -> None:
        self._sequences: OrderedDict[str, int] = OrderedDict()

    def is_new(self, incarnation_id: str, sequence: int) -> bool:
        """Whether this heartbeat is none of those before; if so it is noted."""
        if sequence <= self._sequences.get(incarnation_id, -1):
            return False
        self._sequences[incarnation_id] = sequence
        self._sequences.move_to_end(incarnation_id)
        if len(self._sequences) > _INCARNATIONS:
            self._sequences.popitem(last=False)
        return True
