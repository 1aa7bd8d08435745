"""All outputs of a job as lines of JSON: each node's, or each different text with the nodes that wrote it.

However much it is, only some megabytes of it are held: what texts are alike is found by their digests first.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence

import msgspec
from attrs import frozen

from pushyd.outputs import Outputs
from pushyd.store.output_interface import OutputState

LINE_BYTES = 256 * 1024
"""The most bytes of a text in one line, before they are encoded; a longer one goes on in the next."""

_STREAMS_AT_ONCE = 1000
_EMPTY = hashlib.sha256().digest()


@frozen
class OutputLines:
    """The outputs of a job, as they were when they were listed."""

    outputs: Outputs
    organization: str
    job_id: str
    states: Sequence[OutputState]

    async def by_node(self) -> AsyncIterator[bytes]:
        """A line, or more, for each stream: ``node``, ``channel``, ``bytes``, ``dropped``, ``complete``, ``data``."""
        for batch in _batches(self.states):
            texts = await self._small(batch)
            for state in batch:
                async for line in self._lines({"node": state.node}, state, texts.get(state.id)):
                    yield line

    async def grouped(self) -> AsyncIterator[bytes]:
        """The same for each different text, with ``nodes`` for ``node``; the one of the most nodes comes first."""
        groups: defaultdict[tuple[object, ...], list[OutputState]] = defaultdict(list)
        sizes = Counter((state.channel, state.kept) for state in self.states)
        for batch in _batches(self.states):
            texts = await self._small(batch)
            for state in batch:
                is_alone = sizes[state.channel, state.kept] == 1
                digest = b"" if is_alone else await self._digest(state, texts.get(state.id))
                groups[state.channel, state.dropped, state.complete, state.problem, state.kept, digest].append(state)
        for group in sorted(groups.values(), key=lambda group: (-len(group), group[0].node, group[0].channel)):
            async for line in self._lines({"nodes": [state.node for state in group]}, group[0], None):
                yield line

    async def _small(self, batch: Sequence[OutputState]) -> dict[int, bytes]:
        """The texts of a batch that is held at once; of a long one nothing."""
        if len(batch) == 1 and batch[0].kept > LINE_BYTES:
            return {}
        # One that has grown meanwhile ends where it ended when it was listed.
        read = await self.outputs.whole([state.id for state in batch])
        return {state.id: read.get(state.id, b"")[: state.kept] for state in batch}

    async def _digest(self, state: OutputState, text: bytes | None) -> bytes:
        if text is not None:
            return hashlib.sha256(text).digest()
        digest = hashlib.sha256()
        for start in range(0, state.kept, LINE_BYTES):
            digest.update(await self._read(state, start))
        return digest.digest()

    async def _read(self, state: OutputState, start: int) -> bytes:
        stop = min(state.kept, start + LINE_BYTES)
        read = await self.outputs.read(
            self.organization, self.job_id, state.node, state.channel, start=start, stop=stop
        )
        return read or b""

    async def _lines(self, who: dict[str, object], state: OutputState, text: bytes | None) -> AsyncIterator[bytes]:
        head = {
            **who,
            "channel": state.channel,
            "bytes": state.kept,
            "dropped": state.dropped,
            "complete": state.complete,
            **({"problem": state.problem} if state.problem else {}),
        }
        for start in range(0, max(1, state.kept), LINE_BYTES):
            data = text if text is not None else await self._read(state, start)
            yield msgspec.json.encode({**(head if start == 0 else {}), "offset": start, "data": data}) + b"\n"


def _batches(states: Sequence[OutputState]) -> Iterator[list[OutputState]]:
    """As many at once as are held together; a long one alone."""
    batch: list[OutputState] = []
    size = 0
    for state in states:
        if batch and (size + state.kept > LINE_BYTES or len(batch) == _STREAMS_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(state)
        size += state.kept
    if batch:
        yield batch
