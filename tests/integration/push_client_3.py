"""A push client that speaks 3.0's `output`, under the control of a test: written from docs/protocol-3.md alone."""

import base64
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from tests.integration.push_channel_2x import KEYS, Keys
from tests.integration.push_channel_2x import PATIENCE_SECONDS as MESSAGE_SECONDS
from tests.integration.push_client_2x import PushClient

CHUNK_BYTES = 32 * 1024
WINDOW_BYTES = 256 * 1024
PATIENCE_SECONDS = 1.0
ALIVE = {"type": "ack"}


class OutputClient(PushClient):
    """A node whose agent speaks 3.0."""

    version = "3.0"
    keys: ClassVar[Keys] = {
        **KEYS,
        "commit": (KEYS["commit"][0], KEYS["commit"][1] | {"output_limit", "live"}),
        "abort": (set(), {"job_id"}),
        "ack": (set(), {"job_id", "offsets"}),
    }

    def expect(self, kind: str, within: float = MESSAGE_SECONDS) -> dict[str, Any]:
        """The next message, which is of this type; but the server may show at any time that the channel is alive."""
        while (message := self.next(within)) == ALIVE and kind != "ack":
            pass
        assert message is not None, f"{self.name}: no {kind} within {within} s"
        assert message["type"] == kind, f"{self.name}: expected {kind}, heard {message}"
        return message

    def expect_nothing(self, within: float = 0.05) -> None:
        """Nothing is there, and nothing comes in this time, but that the channel is alive."""
        message = self.next(within)
        assert message in (None, ALIVE), f"{self.name}: heard {message}"

    def say_output(self, job_id: str, channel: str, offset: int, data: bytes) -> None:
        """Send one piece."""
        self.say("output", job_id, channel=channel, offset=offset, data=base64.b64encode(data).decode())

    def expect_offsets(self, job_id: str) -> dict[str, int]:
        """The next acknowledgement of output."""
        while True:
            message = self.expect("ack")
            if "offsets" in message:
                assert message["job_id"] == job_id
                offsets: dict[str, int] = message["offsets"]
                return offsets


class Stream:
    """One channel on its way to the server: sent in a window, again from where an acknowledgement shows a hole."""

    def __init__(self, data: bytes, stored: int = 0) -> None:
        """:param stored: how much of it is believed to be stored"""
        self.data = data
        self.sent = self.stored = stored
        self.moved_at = time.monotonic()

    @property
    def done(self) -> bool:
        return self.stored == len(self.data)

    def send(self, node: OutputClient, job_id: str, channel: str, chunk: int = CHUNK_BYTES) -> None:
        if time.monotonic() - self.moved_at > PATIENCE_SECONDS:
            self.back()
        while self.sent < len(self.data) and self.sent - self.stored < WINDOW_BYTES:
            piece = self.data[self.sent : self.sent + chunk]
            node.say_output(job_id, channel, self.sent, piece)
            self.sent += len(piece)

    def heard(self, offset: int) -> None:
        assert offset <= len(self.data)
        if offset == self.stored:
            self.back()
            return
        assert offset > self.stored, f"{offset} after {self.stored}: what was stored is gone"
        self.moved_at = time.monotonic()
        self.stored, self.sent = offset, max(self.sent, offset)

    def back(self) -> None:
        self.sent, self.moved_at = self.stored, time.monotonic()


def deliver(
    node: OutputClient,
    job_id: str,
    texts: Mapping[str, bytes],
    *,
    chunk: int = CHUNK_BYTES,
    within: float = 60,
    stored: Mapping[str, int] = MappingProxyType({}),
    between: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Send outputs whole, however often parts of them have to be sent again; what else was heard meanwhile.

    :param stored: how much of each is believed to be stored
    :param between: called between two messages of the server
    """
    streams = {channel: Stream(data, stored.get(channel, 0)) for channel, data in texts.items()}
    end = time.monotonic() + within
    others = []
    while not all(stream.done for stream in streams.values()):
        assert time.monotonic() < end, f"not stored: {[(s.stored, len(s.data)) for s in streams.values()]}"
        for channel, stream in streams.items():
            if not stream.done:
                stream.send(node, job_id, channel, chunk)
        message = node.next(within=0.2)
        if message and message["type"] == "ack" and message.get("job_id") == job_id and "offsets" in message:
            for channel, offset in message["offsets"].items():
                streams[channel].heard(offset)
        elif message and message != ALIVE:
            others.append(message)
        between()
    return others


def totals(texts: Mapping[str, bytes], dropped: int = 0) -> dict[str, dict[str, int]]:
    """What the end says of outputs."""
    return {channel: {"bytes": len(data), "dropped": dropped} for channel, data in texts.items()}
