"""The wire of a 2.x push client: what a message is made of, and the connection that it goes over.

Section 5 of protocol.md, and of section 4 what it needs, written from that page alone: stdlib json and hmac, a plain
DEALER of pyzmq. It checks everything that it receives: frames, signature, timestamp, sequence, type, and that a
message has exactly the keys that the page lists.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import queue
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import zmq
from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from zmq.utils.monitor import recv_monitor_message

from tests.integration.signed_http_2x import Principal

Context = zmq.Context[zmq.Socket[bytes]]
PATIENCE_SECONDS = 8.0
HEADER_BYTES = 2048
_HEADER = re.compile(r"Version:2\.0;SigningMethod:(hmac_sha256|rsa2048_sha1);Signature:([A-Za-z0-9+/\n]+={0,2})")
_RFC_1123 = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
_COMMON_KEYS = {"type", "timestamp", "sequence"}
Keys = Mapping[str, tuple[set[str], set[str]]]
"""What each message of the server has beside the common keys: always, and sometimes."""

KEYS: Keys = {
    "commit": ({"job_id", "server", "command"}, {"user", "dir", "env", "file", "capture"}),
    "run": ({"job_id"}, set()),
    "abort": (set(), set()),
    "ack": (set(), set()),
    "heartbeat": ({"server", "incarnation_id"}, set()),
}


class BadMessage(AssertionError):
    """The server sent what the contract does not allow."""


def rfc_1123(shift_seconds: float = 0.0) -> str:
    """The time that it is, or that it is in so many seconds."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=shift_seconds), usegmt=True)


def seal(body: bytes, key: bytes) -> list[bytes]:
    """The two frames of a message that is signed with a session key."""
    signature = base64.b64encode(hmac.digest(key, body, "sha256"))
    return [b"Version:2.0;SigningMethod:hmac_sha256;Signature:" + signature, body]


@frozen(kw_only=True)
class Config:
    """The answer to ``GET config/NODE``, read as a 2.x client reads it."""

    raw: dict[str, Any]
    session_key: bytes = field(repr=False)
    server_key: RSAPublicKey = field(repr=False)

    @classmethod
    def read(cls, raw: dict[str, Any], requestor: Principal) -> "Config":
        """Decrypt the session key with the key of who asked."""
        encrypted = base64.b64decode(raw["encoded_session_key"]["key"], validate=True)
        server_key = load_pem_public_key(raw["public_key"].encode())
        assert isinstance(server_key, RSAPublicKey)
        return cls(raw=raw, session_key=requestor.key.decrypt(encrypted, padding.PKCS1v15()), server_key=server_key)

    @property
    def heartbeat_seconds(self) -> float:
        return float(self.raw["push_jobs"]["heartbeat"]["interval"])

    @property
    def command_address(self) -> str:
        return str(self.raw["push_jobs"]["heartbeat"]["command_addr"])

    @property
    def heartbeat_address(self) -> str:
        return str(self.raw["push_jobs"]["heartbeat"]["out_addr"])


class Receiver:
    """Checks what comes over one connection."""

    def __init__(self, config: Config, keys: Keys = KEYS) -> None:
        """:param keys: those of 2.x, unless said otherwise"""
        self._config = config
        self._keys = keys
        self._sequence = -1

    def open(self, frames: list[bytes]) -> dict[str, Any]:
        """The message in `frames`.

        :raise BadMessage: it is not as the contract says
        """
        expect(len(frames) == 2, f"{len(frames)} frames")
        header, body = frames
        expect(len(header) <= HEADER_BYTES and len(body) <= self._config.raw["max_body_size"], "too large")
        parts = _HEADER.fullmatch(header.decode("ascii", errors="replace"))
        expect(parts is not None, f"header {header!r}")
        assert parts
        message = json.loads(body, object_pairs_hook=_without_duplicates)
        expect(isinstance(message, dict) and message.get("type") in self._keys, f"type of {message}")
        method, signature = parts.groups()
        if message["type"] == "heartbeat":
            expect(method == "rsa2048_sha1" and self._is_by_server(signature, body), "signature of a heartbeat")
        else:
            made = base64.b64encode(hmac.digest(self._config.session_key, body, "sha256")).decode()
            expect(method == "hmac_sha256" and hmac.compare_digest(made, signature), f"signature of {message}")
        self._check(message)
        return {name: value for name, value in message.items() if name not in ("timestamp", "sequence")}

    def _is_by_server(self, signature: str, body: bytes) -> bool:
        digest = base64.b64encode(hashlib.sha1(body, usedforsecurity=False).digest())
        try:
            raw = base64.b64decode(signature)
            return self._config.server_key.recover_data_from_signature(raw, padding.PKCS1v15(), None) == digest
        except (binascii.Error, ValueError):
            return False

    def _check(self, message: dict[str, Any]) -> None:
        always, sometimes = self._keys[message["type"]]
        missing = (always | _COMMON_KEYS) - message.keys()
        strange = message.keys() - always - sometimes - _COMMON_KEYS
        expect(not missing and not strange, f"keys: missing {missing}, not in the contract {strange}, in {message}")
        expect(type(message["sequence"]) is int and message["sequence"] > self._sequence, f"sequence of {message}")
        self._sequence = message["sequence"]
        expect(_RFC_1123.fullmatch(message["timestamp"]) is not None, f"timestamp of {message}")
        off = abs((datetime.now(UTC) - parsedate_to_datetime(message["timestamp"])).total_seconds())
        expect(off <= self._config.raw["max_message_skew"], f"timestamp of {message}, {off} s off")


def expect(holds: bool, what: str) -> None:
    """:raise BadMessage: it does not hold"""
    if not holds:
        raise BadMessage(what)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    expect(len(dict(pairs)) == len(pairs), f"duplicate keys: {pairs}")
    return dict(pairs)


class Channel:
    """One connection to the command channel. A thread owns its DEALER, and sends a beat in every interval.

    :param beat: the frames of a heartbeat, or None for none this time
    """

    def __init__(
        self,
        context: Context,
        config: Config,
        curve: tuple[bytes, bytes],
        beat: Callable[[], list[bytes] | None],
    ) -> None:
        self.received: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
        self._interval = config.heartbeat_seconds
        self._beat = beat
        self._dealer = dealer(context, config, curve)
        self._dealer.connect(config.command_address)
        # To the thread: b"send" and frames, or b"stop".
        self._orders = context.socket(zmq.PULL)
        self._order = context.socket(zmq.PUSH)
        address = f"inproc://{uuid.uuid4()}"
        self._orders.bind(address)
        self._order.connect(address)
        self._thread = threading.Thread(target=self._run, name="channel", daemon=True)
        self._thread.start()

    def send(self, frames: list[bytes]) -> None:
        self._order.send_multipart([b"send", *frames])

    def close(self) -> None:
        self._order.send(b"stop")
        self._thread.join()
        self._order.close()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._dealer, zmq.POLLIN)
        poller.register(self._orders, zmq.POLLIN)
        due = time.monotonic()
        try:
            while True:
                ready = dict(poller.poll(max(0, int((due - time.monotonic()) * 1000))))
                if self._orders in ready:
                    kind, *frames = self._orders.recv_multipart()
                    if kind == b"stop":
                        return
                    self._send(frames)
                if self._dealer in ready:
                    self.received.put(self._dealer.recv_multipart())
                if time.monotonic() >= due:
                    due += self._interval
                    if beat := self._beat():
                        self._send(beat)
        finally:
            self._dealer.close()
            self._orders.close()

    def _send(self, frames: list[bytes]) -> None:
        # A DEALER whose handshake was refused has nowhere to send to, and would wait for ever.
        with contextlib.suppress(zmq.Again):
            self._dealer.send_multipart(frames, zmq.NOBLOCK)


def dealer(context: Context, config: Config, curve: tuple[bytes, bytes]) -> zmq.Socket[bytes]:
    """A DEALER with the CURVE keys `curve` (public, secret), not yet connected."""
    made = context.socket(zmq.DEALER)
    made.linger = 0
    made.curve_serverkey = config.raw["curve_public_key"].encode()
    made.curve_publickey, made.curve_secretkey = curve
    return made


def is_admitted(context: Context, config: Config, curve: tuple[bytes, bytes]) -> bool:
    """Whether the command channel lets a connection with these CURVE keys in."""
    with dealer(context, config, curve) as probe:
        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        monitor = probe.get_monitor_socket(events)
        probe.connect(config.command_address)
        try:
            assert monitor.poll(int(PATIENCE_SECONDS * 1000)), "the handshake neither succeeds nor fails"
            return bool(recv_monitor_message(monitor)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED)
        finally:
            probe.disable_monitor()
            monitor.close()
