"""The output of a command, kept within bounds: its head, its tail, and how much lay between. Pure.

Bytes stay bytes until a message is made of them; then those that are no UTF-8 become replacement characters.
"""

import codecs
from collections.abc import Callable

from attrs import frozen

CAPTURE_LIMIT = 1024 * 1024
"""Bytes kept of each channel."""


@frozen(kw_only=True)
class Captured:
    """What was kept of a channel: all of it in `head`, or both ends with `left_out` bytes between them."""

    head: bytes
    tail: bytes = b""
    left_out: int = 0

    def cut(self, limit: int) -> "Captured":
        """The same with at most `limit` bytes kept, half of them from each end."""
        kept = len(self.head) + len(self.tail)
        if kept <= limit:
            return self
        # Where nothing is left out yet, the end of the whole serves as the tail.
        end = self.tail if self.left_out else self.head + self.tail
        head = self.head[: limit - limit // 2]
        tail = end[max(0, len(end) - limit // 2) :]
        return Captured(head=head, tail=tail, left_out=self.left_out + kept - len(head) - len(tail))

    def text(self) -> str:
        """As text, with a line in between that says how many bytes are left out."""
        if not self.left_out:
            return (self.head + self.tail).decode(errors="replace")
        # No character is split where we cut; the fragments count as left out.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        head = decoder.decode(self.head)
        fragment = len(decoder.getstate()[0])
        start = 0
        while start < min(3, len(self.tail)) and self.tail[start] & 0xC0 == 0x80:
            start += 1
        line = missing_line(self.left_out + fragment + start, after=head[-1:].encode())
        return head + line.decode() + self.tail[start:].decode(errors="replace")


def missing_line(count: int, *, after: bytes, why: str | None = None) -> bytes:
    """The line that stands for so many bytes that are left out, and where something else than a limit did it, `why`.

    :param after: what comes before it; it begins a line of its own
    """
    line = f"[... {count} bytes left out{': ' if why else ''}{why or ''} ...]\n".encode()
    return line if not after or after.endswith(b"\n") else b"\n" + line


class Capture:
    """Takes the bytes of a channel as they come and keeps at most `limit` of them, a half from each end."""

    def __init__(self, limit: int = CAPTURE_LIMIT) -> None:
        self._head_limit = limit - limit // 2
        self._tail_limit = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    is_full = False
    """It takes whatever comes."""

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        room = self._head_limit - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        # Cut only when twice the limit is there, so that a byte is moved once and not with every piece that comes.
        if len(self._tail) > 2 * self._tail_limit:
            self._cut_tail()

    def captured(self) -> Captured:
        """What is kept so far."""
        self._cut_tail()
        return Captured(head=bytes(self._head), tail=bytes(self._tail), left_out=self._left_out)

    def _cut_tail(self) -> None:
        excess = max(0, len(self._tail) - self._tail_limit)
        del self._tail[:excess]
        self._left_out += excess


def fit(encode: Callable[[str, str], bytes], stdout: Captured, stderr: Captured, limit: int) -> bytes:
    """The longest body that `encode` makes of both outputs within `limit` bytes, cutting the longer one first.

    How many bytes an encoding needs is known only afterwards (a control character takes six), so it is searched for.
    Where not even the lines about what is left out fit, the shortest body there is.
    """

    def attempt(kept: int) -> bytes:
        return encode(stdout.cut(kept).text(), stderr.cut(kept).text())

    low, high = 0, max(len(stdout.head) + len(stdout.tail), len(stderr.head) + len(stderr.tail))
    best = attempt(high)
    if len(best) <= limit:
        return best
    # No byte that is kept takes less than one in the encoding.
    high = min(high, limit)
    best = attempt(0)
    while low < high:
        middle = (low + high + 1) // 2
        body = attempt(middle)
        if len(body) <= limit:
            low, best = middle, body
        else:
            high = middle - 1
    return best
