"""What commands write, as it comes from agents that speak 3.0: held for moments, stored in batches, acknowledged.

An agent keeps what it sends until it hears that it is stored (`output`, section 8 of the protocol). So nothing has to
be held here that cannot be stored soon: it is dropped, and the agent told how far its stream is. How much is held is
bounded, for each node and in all, and nodes take turns: a loud one has its own part of a batch, and no more.

Whether a piece is wanted is for the store to say; what is known of streams here only saves it work. Output that comes
whole, with the end of a command (2.x), is stored by the way, for it is read in the same ways.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from attrs import evolve, frozen
from twisted.logger import Logger

from pushy_protocol import messages
from pushyd.background import background
from pushyd.clock import Clock, DelayedCall, Periodic
from pushyd.domain.job import JobSpec
from pushyd.domain.node import NodeRef
from pushyd.output_acks import Acknowledge, Acks, Stream, Talker
from pushyd.output_tails import OutputTails
from pushyd.store.interface import JobStore, StoreUnavailable
from pushyd.store.output_interface import (
    Appended,
    OutputCaptured,
    OutputEnd,
    OutputEvent,
    OutputPiece,
    OutputRules,
    OutputState,
    OutputStore,
    StreamRef,
)

NODE_BYTES = 256 * 1024
"""The most that is held of one node."""

ALL_BYTES = 64 * 1024 * 1024
"""The most that is held in all. The second half of it is for nodes of which little is held."""

BATCH_BYTES = 4 * 1024 * 1024
"""About how much is stored at once: changes of jobs wait for so much at the most."""

TURN_BYTES = 64 * 1024
"""How much of a stream goes into a batch before it is the next one's turn."""

STREAMS = 64
"""Streams of one node that are known at a time: an agent has one job, and a few that it could not end."""

GATHER_SECONDS = 0.04
"""For how long pieces are waited for that go into the same batch; half as long as the last one took, if that is longer.

So some time is left for all else however much comes, and agents, who hear later that what they sent is stored, send
more at once.
"""

LONGEST_GATHER = 0.2

REFUSAL_SECONDS = 1.0
"""For how long nothing is taken after the store could not."""

IDLE_SECONDS = 60.0
"""After which a node that says nothing is forgotten."""

_LITTLE = messages.CHUNK_BYTES
_LOG_SECONDS = 60.0
_UNTAKEN = 20_000
_NO_STREAM = 0  # the id of none in the store


class Store(JobStore, OutputStore, Protocol):
    """What is used of the store."""


class Feeds(Protocol):
    """Who tells readers."""

    def stamp(self, job_id: str, count: int) -> int:
        """The first of `count` microseconds that no event of the job's feed has, nor will have."""

    def wake(self, job_id: str) -> None:
        """There is more to read."""


@frozen
class _Batch:
    """What is stored at once."""

    pieces: Sequence[OutputPiece]
    streams: Mapping[StreamRef, Stream]
    began: Mapping[str, int]
    """Of each job, when the first of its pieces came."""


class Outputs:
    """The output of all nodes."""

    log = Logger()

    def __init__(
        self, *, store: Store, feeds: Feeds, acknowledge: Acknowledge, clock: Clock, rules: OutputRules
    ) -> None:
        self._store = store
        self._feeds = feeds
        self._acks = Acks(acknowledge, clock)
        self._clock = clock
        self._rules = rules
        self._talkers: dict[NodeRef, Talker] = {}
        self._turns: dict[Stream, None] = {}  # streams of which something is held; whose turn it is first
        self._held = 0
        self._refuse_until = 0.0
        self._refusal_logged = -_LOG_SECONDS
        self._trouble = ""  # why nothing can be stored now
        self._untaken: set[StreamRef] = set()  # what was not taken for that
        self._storing = False
        self._took = 0.0  # seconds, of the last batch
        self._timer: DelayedCall | None = None
        self._unsettled: dict[str, list[int]] = {}
        self._tails = OutputTails()
        self._sweeps = Periodic(self._sweep, IDLE_SECONDS / 2, clock)

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def start(self) -> None:
        """Begin to forget who is silent."""
        self._sweeps.start()

    def stop(self) -> None:
        """Store and acknowledge nothing any more: agents send it again."""
        self._sweeps.stop()
        self._acks.stop()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    # For nodes

    def received(self, node: NodeRef, message: messages.Output) -> None:
        """A piece came from a node that was offered to send it."""
        now = self._clock.seconds()
        talker = self._talkers.get(node)
        if talker is None:
            talker = self._talkers[node] = Talker(node)
        talker.heard_at = now
        stream = self._stream(talker, message.job_id, message.channel)
        if stream is None:
            return
        end = message.offset + len(message.data)
        is_known = stream.end is not None and (message.offset > stream.end or end <= stream.end)
        if is_known or now < self._refuse_until or not self._has_room(talker, len(message.data)):
            stream.missed = True
            if self._trouble and len(self._untaken) < _UNTAKEN:
                self._untaken.add(stream.ref)
            self._acks.owe(stream)
            return
        stream.end = end
        stream.pieces.append((message.offset, message.data))
        talker.held += len(message.data)
        self._held += len(message.data)
        self._turns.setdefault(stream, None)
        self._plan(soon=talker.held >= NODE_BYTES // 2 or self._held >= BATCH_BYTES)

    def ended(self, spec: JobSpec, node: str, message: messages.Succeeded | messages.Failed) -> None:
        """A node's command has ended: keep what it wrote, if it says so here, or how much that is."""
        for channel, total in (message.output or {}).items():
            end = OutputEnd(job_id=spec.id, node=node, channel=channel, bytes=total.bytes, dropped=total.dropped)
            self._store.record(end)
        stdout, stderr = (None if text is None else text.encode() for text in (message.stdout, message.stderr))
        if message.output is None and (stdout is not None or stderr is not None):
            at = self._feeds.stamp(spec.id, 2)
            self._store.record(OutputCaptured(job_id=spec.id, node=node, stdout=stdout, stderr=stderr, at=at))
            self._unsettled.setdefault(spec.id, []).append(at)
            self._tails.skip(spec.id, at + 1)
            _ = background(self._settle_recorded(spec.id, at), self.log, "Readers were not told of an output")

    # For readers

    def settled(self, job_id: str) -> int | None:
        """The microsecond before which nothing more comes of a job; None: all that came so far is stored."""
        return min(self._unsettled.get(job_id, ()), default=None)

    async def state(self, organization: str, job_id: str, node: str, channel: str) -> OutputState | None:
        """A stream as it is stored; None where there is none."""
        states = await self._store.output_states(organization, job_id, node, channel)
        untaken = [ref for ref in (StreamRef(organization, job_id, node, channel),) if ref in self._untaken]
        return next(iter(self._explained(states, untaken)), None)

    async def states(self, organization: str, job_id: str, channel: str | None) -> Sequence[OutputState]:
        """The streams of a job, or those of one channel, sorted by node."""
        states = await self._store.output_states(organization, job_id, channel=channel)
        untaken = [ref for ref in self._untaken if ref[:2] == (organization, job_id) and channel in {None, ref.channel}]
        return self._explained(states, untaken)

    async def read(
        self, organization: str, job_id: str, node: str, channel: str, *, start: int, stop: int
    ) -> bytes | None:
        """The bytes of a stream from `start` to `stop`, as far as there are; None where there is no such stream."""
        return await self._store.output(organization, job_id, node, channel, start, stop)

    async def whole(self, ids: Sequence[int]) -> Mapping[int, bytes]:
        """All bytes of some streams, by id; how much that is, is the caller's affair. An empty stream has no item."""
        return await self._store.whole_outputs(ids)

    async def events(self, job_id: str, after: int, limit: int) -> Sequence[OutputEvent]:
        """The first pieces of a job that came after a microsecond, in order: about `limit` bytes."""
        now = self._clock.seconds()
        newest = self._tails.read(job_id, after, limit, now)
        if newest is not None:
            return newest
        since = self._tails.follow(job_id, self._feeds.stamp(job_id, 1), now)
        is_settled = self.settled(job_id) is None
        found = await self._store.output_events(job_id, after, limit)
        if is_settled and not found:
            self._tails.none_between(job_id, after, since)
        return found

    # Within

    def _explained(self, states: Sequence[OutputState], untaken: Sequence[StreamRef]) -> list[OutputState]:
        """The same, and why some of these streams do not go on now, or have not begun."""
        if not untaken:
            return list(states)
        problem = f"the server cannot store output now ({self._trouble}); it stays with the node until it can"
        known = {(state.node, state.channel): state for state in states}
        for ref in untaken:
            place = (ref.node, ref.channel)
            state = known.get(place) or OutputState(
                id=_NO_STREAM, node=ref.node, channel=ref.channel, kept=0, dropped=0, complete=False
            )
            known[place] = evolve(state, problem=state.problem or problem)
        return [known[place] for place in sorted(known)]

    def _stream(self, talker: Talker, job_id: str, channel: str) -> Stream | None:
        key = (job_id, channel)
        stream = talker.streams.pop(key, None)
        if stream is None:
            if len(talker.streams) >= STREAMS:
                oldest = next((key for key, other in talker.streams.items() if not other.pieces), None)
                if oldest is None:
                    return None
                talker.owed.pop(talker.streams.pop(oldest), None)
            stream = Stream(StreamRef(talker.node.organization, job_id, talker.node.name, channel), talker)
        talker.streams[key] = stream  # the last one: those that were silent longest come first
        return stream

    def _has_room(self, talker: Talker, size: int) -> bool:
        if talker.held + size > NODE_BYTES:
            return False
        return self._held + size <= (ALL_BYTES if talker.held + size <= _LITTLE else ALL_BYTES // 2)

    def _plan(self, *, soon: bool) -> None:
        """Store what is held: soon, or once more has gathered."""
        if self._storing:
            return
        gather = 0.0 if soon else min(max(GATHER_SECONDS, self._took / 2), LONGEST_GATHER)
        if self._timer is None or not self._timer.active():
            self._timer = self._clock.callLater(gather, self._begin)
        elif soon:
            self._timer.cancel()
            self._timer = self._clock.callLater(0, self._begin)

    def _begin(self) -> None:
        if self._turns and not self._storing:
            self._storing = True
            _ = background(self._store_batch(), self.log, "Output was not stored; agents send it again")

    async def _store_batch(self) -> None:
        began = self._clock.seconds()
        batch = self._take()
        try:
            appended = await self._store.append_output(batch.pieces, self._rules)
        except StoreUnavailable as error:
            for job_id in batch.began:  # some may be stored all the same
                self._tails.skip(job_id, self._feeds.stamp(job_id, 1))
            self._refuse(str(error), batch.streams)
        else:
            for ref, stream in batch.streams.items():
                stream.missed |= appended.no_room is not None
                self._stored(stream, appended.offsets[ref])
            self._keep_tails(batch, appended)
            if appended.no_room:
                self._refuse(appended.no_room, batch.streams)
            elif self._refuse_until:
                self._refuse_until = 0.0
                self._trouble = ""
                self._untaken.clear()
                self.log.info("Output is stored again")
        finally:
            self._storing = False
            for job_id, at in batch.began.items():
                self._settle(job_id, at)
                self._feeds.wake(job_id)
            self._acks.send()
            self._took = self._clock.seconds() - began
            if self._turns:
                self._plan(soon=self._held >= NODE_BYTES // 2)

    def _take(self) -> _Batch:
        """The next batch: of every stream its part, in turn, until it is full."""
        pieces: list[OutputPiece] = []
        streams: dict[StreamRef, Stream] = {}
        began: dict[str, int] = {}
        size = 0
        while self._turns and size < BATCH_BYTES:
            stream = next(iter(self._turns))
            del self._turns[stream]
            streams[stream.ref] = stream
            offset, data, taken = _joined(stream.pieces)
            stream.talker.held -= taken
            self._held -= taken
            size += taken
            at = self._feeds.stamp(stream.ref.job_id, 1)
            began.setdefault(stream.ref.job_id, at)
            pieces.append(OutputPiece(stream=stream.ref, offset=offset, at=at, data=data))
            if stream.pieces:
                self._turns[stream] = None
        for job_id, at in began.items():
            self._unsettled.setdefault(job_id, []).append(at)
        return _Batch(pieces, streams, began)

    def _keep_tails(self, batch: _Batch, appended: Appended) -> None:
        for job_id in self._tails.followed(batch.began):
            self._tails.add(
                job_id,
                (
                    OutputEvent(node=ref.node, channel=ref.channel, offset=offset, at=at, data=data)
                    for ref, added in appended.kept.items()
                    if ref.job_id == job_id
                    for offset, at, data in added
                ),
            )

    def _stored(self, stream: Stream, offset: int) -> None:
        stream.stored = offset
        if stream.pieces and stream.pieces[0][0] > offset:
            self._drop(stream)  # what comes before is missing, so it would not be taken
        if not stream.pieces:
            stream.end = offset
        self._acks.owe(stream)

    def _drop(self, stream: Stream) -> None:
        size = sum(len(data) for _, data in stream.pieces)
        stream.pieces.clear()
        stream.talker.held -= size
        self._held -= size
        stream.end = stream.stored
        stream.missed = True
        self._turns.pop(stream, None)

    def _refuse(self, why: str, lost: Iterable[StreamRef]) -> None:
        """Take nothing for a moment, and hold nothing: the agents have it, also what was `lost` now."""
        now = self._clock.seconds()
        self._trouble = why
        self._untaken.update(lost, (stream.ref for stream in self._turns))
        self._refuse_until = now + REFUSAL_SECONDS
        for stream in list(self._turns):
            self._drop(stream)
            self._acks.owe(stream)
        for talker in self._talkers.values():
            for stream in talker.streams.values():
                stream.end = stream.stored
        if now - self._refusal_logged >= _LOG_SECONDS:
            self._refusal_logged = now
            self.log.error("Output is not stored now, and stays with the agents; jobs go on: {why}", why=why)

    def _settle(self, job_id: str, at: int) -> None:
        times = self._unsettled[job_id]
        times.remove(at)
        if not times:
            del self._unsettled[job_id]

    async def _settle_recorded(self, job_id: str, at: int) -> None:
        try:
            await self._store.recorded()
        finally:
            self._settle(job_id, at)
            self._feeds.wake(job_id)

    def _sweep(self) -> None:
        silent_since = self._clock.seconds() - IDLE_SECONDS
        for node, talker in list(self._talkers.items()):
            if talker.heard_at < silent_since and not talker.held and not talker.owed:
                del self._talkers[node]
        self._tails.forget_before(silent_since)


def _joined(pieces: deque[tuple[int, bytes]]) -> tuple[int, bytes, int]:
    """Where the first pieces begin, them as one (as far as one goes on from the other, for a turn), and its length."""
    offset, data = pieces.popleft()
    parts, size = [data], len(data)
    while pieces and pieces[0][0] == offset + size and size + len(pieces[0][1]) <= TURN_BYTES:
        _, data = pieces.popleft()
        parts.append(data)
        size += len(data)
    return offset, b"".join(parts), size
