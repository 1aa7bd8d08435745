"""What is held of what another server answers: bounded, for a short time, and longer where that server is away.

Something that is there and something that is not are held apart, so that names made up by strangers drop nobody who
is known. Who asks for what is being loaded already waits for that. Nothing is served beyond its lifetime while the
other server answers; while it does not, what was there last is, for a bounded time.
"""

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred

from pushyd.identity.interface import IdentityUnavailable

T = TypeVar("T")
Key = tuple[str, ...]


@frozen(kw_only=True)
class Lifetimes:
    """How long answers are held, in seconds.

    :param present: something that is there
    :param absent: that it is not there
    :param stale: something that was there, beyond `present`, while it cannot be asked for again
    """

    present: float
    absent: float
    stale: float


@frozen
class _Held(Generic[T]):
    value: T
    since: float


class Cache(Generic[T]):
    """Answers by key."""

    def __init__(self, *, seconds: Callable[[], float], lifetimes: Lifetimes, size: int) -> None:
        """:param seconds: of a clock that never goes back
        :param size: how many answers are held of what is there, and as many of what is not
        """
        self._seconds = seconds
        self._lifetimes = lifetimes
        self._size = size
        self._present: OrderedDict[Key, _Held[T]] = OrderedDict()
        self._absent: OrderedDict[Key, float] = OrderedDict()
        self._loading: dict[Key, list[Deferred[T | None]]] = {}
        self._drops = 0

    async def get(self, key: Key, load: Callable[[], Coroutine[Deferred[Any], Any, T | None]]) -> T | None:
        """What is held under `key`, else what `load` gives; None is what is not there.

        :raise IdentityUnavailable: as `load` does, where nothing is held for that case
        """
        held = self._present.get(key)
        age = self._seconds() - held.since if held else 0.0
        if held and age < self._lifetimes.present:
            self._present.move_to_end(key)
            return held.value
        if self.is_absent(key):
            return None
        try:
            return await self._load(key, load)
        except IdentityUnavailable:
            held = self._present.get(key)  # as it is by now
            if held is None or self._seconds() - held.since >= self._lifetimes.present + self._lifetimes.stale:
                raise
            self._present.move_to_end(key)
            return held.value

    def forget(self, key: Key) -> None:
        """Hold nothing under `key`, nor what is being loaded for it."""
        self._drops += 1
        self._present.pop(key, None)
        self._absent.pop(key, None)

    def is_absent(self, key: Key) -> bool:
        """Whether it is held that there is nothing under `key`."""
        since = self._absent.get(key)
        return since is not None and self._seconds() - since < self._lifetimes.absent

    async def _load(self, key: Key, load: Callable[[], Coroutine[Deferred[Any], Any, T | None]]) -> T | None:
        waiting: Deferred[T | None] = Deferred()
        waiters = self._loading.setdefault(key, [])
        waiters.append(waiting)
        if len(waiters) == 1:
            # Whoever asked first may go away; the others, and the cache, still want it.
            loading = Deferred.fromCoroutine(self._load_and_hold(key, load))
            _ = loading.addBoth(self._tell, key)
        return await waiting

    async def _load_and_hold(self, key: Key, load: Callable[[], Coroutine[Deferred[Any], Any, T | None]]) -> T | None:
        asked, drops = self._seconds(), self._drops
        value = await load()
        # It may have changed right after it was read, so its time began when it was asked for.
        if drops == self._drops:
            self._hold(key, value, asked)
        return value

    def _hold(self, key: Key, value: T | None, since: float) -> None:
        self._present.pop(key, None)
        self._absent.pop(key, None)
        if value is None:
            self._absent[key] = since
        else:
            self._present[key] = _Held(value, since)
        if len(self._present) > self._size:
            self._present.popitem(last=False)
        if len(self._absent) > self._size:
            self._absent.popitem(last=False)

    def _tell(self, result: Any, key: Key) -> None:
        for waiting in self._loading.pop(key):
            waiting.callback(result)  # a Failure too, which then fails it
