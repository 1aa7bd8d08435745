"""What is kept of what commands write, and the promises of keeping it; a part of :mod:`interface`.

The output of one channel of one node of one job is a *stream*: bytes, which only grow. Times here are microseconds
since the epoch, by which output and the events of a job's feed are told in one order.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from attrs import field, frozen

DEFAULT_OUTPUT_LIMIT = 1024 * 1024
"""Bytes of each channel that are kept of a job that does not say."""

LINE_BYTES = 4096
"""What is kept of a channel beyond its limit: room for the line that says what is missing."""


class StreamRef(NamedTuple):
    """Which stream."""

    organization: str
    job_id: str
    node: str
    channel: str  # stdout or stderr


@frozen(kw_only=True)
class OutputPiece:
    """A piece of a stream, which begins after `offset` bytes of it; it came at `at`."""

    stream: StreamRef
    offset: int
    at: int
    data: bytes = field(repr=False)


@frozen(kw_only=True)
class OutputRules:
    """How much may be kept, in bytes.

    :param max_output: of a channel of a node
    :param max_job_output: of a job
    :param min_free_disk: that must be free on the disk before anything is kept, where the disk is known
    """

    max_output: int
    max_job_output: int
    min_free_disk: int


@frozen(kw_only=True)
class Appended:
    """What became of pieces.

    :param offsets: how far each stream is
    :param kept: what was added to each: where in it, when it came, the bytes
    :param no_room: why nothing could be kept now, if so
    """

    offsets: Mapping[StreamRef, int]
    kept: Mapping[StreamRef, Sequence[tuple[int, int, bytes]]]
    no_room: str | None = None


@frozen(kw_only=True)
class OutputCaptured:
    """What a command wrote, whole; None: not captured. `stdout` came at `at`, `stderr` a microsecond later."""

    job_id: str
    node: str
    stdout: bytes | None = field(repr=False)
    stderr: bytes | None = field(repr=False)
    at: int = 0


@frozen(kw_only=True)
class OutputEnd:
    """A node has said how long a stream will be in the end, and how many bytes its middle lacks."""

    job_id: str
    node: str
    channel: str
    bytes: int
    dropped: int


@frozen(kw_only=True)
class OutputState:
    """A stream, but for its bytes.

    :param kept: bytes that can be read
    :param dropped: bytes that were written and are not kept
    :param complete: nothing more is to come
    :param problem: why some is missing that the node did not leave out itself
    """

    id: int
    node: str
    channel: str
    kept: int
    dropped: int
    complete: bool
    problem: str | None = None


@frozen(kw_only=True)
class OutputEvent:
    """A piece of a stream, as it was kept."""

    node: str
    channel: str
    offset: int
    at: int
    data: bytes = field(repr=False)


class OutputStore(Protocol):
    """What commands wrote."""

    async def append_output(self, pieces: Sequence[OutputPiece], rules: OutputRules) -> Appended:
        """Append to streams what goes on from where they are, in order; it is committed when this returns.

        A piece that lies below is a repetition and changes nothing, of one that overlaps the rest is taken, one that
        begins beyond is not taken. What will never be kept (its job is gone, did not capture, or has not that node; it
        is beyond a limit) is left out, but counts as if it were kept: a stream goes on after it.

        :raise StoreUnavailable: nothing is kept
        """

    async def output(
        self, organization: str, job_id: str, node: str, channel: str, start: int = 0, stop: int | None = None
    ) -> bytes | None:
        """The bytes of a stream from `start` to `stop` (None: to its end); None where there is no such stream."""

    async def output_states(
        self, organization: str, job_id: str, node: str | None = None, channel: str | None = None
    ) -> Sequence[OutputState]:
        """The streams of a job, or of one of its nodes or channels, sorted by node."""

    async def whole_outputs(self, ids: Sequence[int]) -> Mapping[int, bytes]:
        """All bytes of some streams, by id; how much that is, is the caller's affair. An empty stream has no item."""

    async def output_events(self, job_id: str, after: int, limit: int) -> Sequence[OutputEvent]:
        """The first pieces of a job that came after `after`, in order.

        :param limit: in bytes; there may be one piece more than that
        """

    async def last_output(self, job_id: str) -> int:
        """When the last piece of a job came; 0 where there is none."""
