"""Server-sent events, as bytes come in: what the HTML standard calls interpreting an event stream.

Nothing is connected here, and `retry` is passed over: how to reconnect is the reader's business.
"""

from collections.abc import Callable

from attrs import frozen

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""The largest event that is kept; a `summary` names every node of its job."""


class TooLarge(ValueError):
    """An event is larger than :data:`MAX_EVENT_BYTES`."""


@frozen(kw_only=True)
class Event:
    """One event; `id` is None where it had none."""

    name: str
    data: str
    id: str | None = None


class Parser:
    """Cuts a stream into events."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self._unread = bytearray()
        self._size = 0
        self._fields: dict[str, list[str]] = {}

    def feed(self, data: bytes) -> None:
        """Take the next bytes, and tell of every event that they end.

        :raise TooLarge: an event has no end in sight.
        """
        self._unread += data
        if b"\n" in data:
            *lines, rest = bytes(self._unread).split(b"\n")
            self._unread = bytearray(rest)
            for line in lines:
                self._take(line.removesuffix(b"\r"))
        if self._size + len(self._unread) > MAX_EVENT_BYTES:
            raise TooLarge(f"an event has more than {MAX_EVENT_BYTES} bytes")

    def _take(self, line: bytes) -> None:
        if line:
            name, _, value = line.decode("utf-8", "replace").partition(":")
            if name:  # else a comment, such as keeps a connection alive
                self._size += len(line)
                self._fields.setdefault(name, []).append(value.removeprefix(" "))
            return
        fields, self._fields, self._size = self._fields, {}, 0
        if "data" in fields:
            self._on_event(
                Event(
                    name=fields.get("event", ["message"])[-1],
                    data="\n".join(fields["data"]),
                    id=fields.get("id", [None])[-1],
                )
            )
