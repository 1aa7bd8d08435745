"""Whole lines out of the pieces of output that come in as commands write them. Pure, and bounded for each node.

Pieces are bytes and may end anywhere; what a line is made of is only known when its end is here. Pieces may come twice,
as after a connection that broke, and some may be missing.
"""

from collections.abc import Iterator, Mapping

from attrs import define, field, frozen

MAX_LINE = 32 * 1024
"""Bytes after which a line is cut, whether or not it has an end in sight."""


@frozen
class Line:
    """A line without its end; `data` None tells of bytes that never came."""

    node: str
    channel: str
    data: bytes | None
    missing: int = 0


@define
class _Stream:
    """One channel of one node."""

    next: int = 0
    """The offset that comes next."""

    rest: bytearray = field(factory=bytearray)
    """Of the line that has not ended yet."""


class Lines:
    """The lines of all nodes of a job."""

    def __init__(self, starts: Mapping[tuple[str, str], int] | None = None) -> None:
        """:param starts: offsets that come first, by node and channel, where it is not 0"""
        self._streams = {key: _Stream(next=start) for key, start in (starts or {}).items()}

    def take(self, node: str, channel: str, offset: int, data: bytes) -> list[Line]:
        """The lines that a piece ends.

        :param offset: how many bytes of this stream come before it
        """
        stream = self._streams.setdefault((node, channel), _Stream())
        lines: list[Line] = []
        if offset > stream.next:
            lines += self._flush(node, channel, stream)
            lines.append(Line(node, channel, None, missing=offset - stream.next))
        else:
            data = data[stream.next - offset :]
        stream.next = max(stream.next, offset) + len(data)
        *ended, rest = data.split(b"\n")
        for part in ended:
            stream.rest += part
            lines += self._cut(node, channel, stream)
            lines.append(Line(node, channel, bytes(stream.rest)))
            stream.rest.clear()
        stream.rest += rest
        lines += self._cut(node, channel, stream)
        return lines

    def end(self, node: str | None = None) -> list[Line]:
        """The line that a node (None: every one) has begun and will not end."""
        ended = [(key, stream) for key, stream in self._streams.items() if node is None or key[0] == node]
        return [line for key, stream in ended for line in self._flush(*key, stream)]

    @staticmethod
    def _flush(node: str, channel: str, stream: _Stream) -> Iterator[Line]:
        if stream.rest:
            yield Line(node, channel, bytes(stream.rest))
            stream.rest.clear()

    @staticmethod
    def _cut(node: str, channel: str, stream: _Stream) -> Iterator[Line]:
        while len(stream.rest) > MAX_LINE:
            yield Line(node, channel, bytes(stream.rest[:MAX_LINE]))
            del stream.rest[:MAX_LINE]
