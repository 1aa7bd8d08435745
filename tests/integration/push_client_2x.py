"""A push client that speaks 2.x and nothing newer, under the control of a test: sections 4 to 6 of protocol.md.

Written from that page alone. It does nothing by itself but send heartbeats when it is told to; what it receives is
checked by :mod:`push_channel_2x`.
"""

import itertools
import json
import queue
import uuid
from typing import Any, ClassVar

import zmq

from tests.integration.push_channel_2x import (
    KEYS,
    PATIENCE_SECONDS,
    Channel,
    Config,
    Context,
    Keys,
    Receiver,
    expect,
    rfc_1123,
    seal,
)
from tests.integration.signed_http_2x import Answer, Api, Principal


class PushClient:
    """A node. It is to be closed; closing it raises what the contract does not allow and no test has seen."""

    version = "2.0"
    keys: ClassVar[Keys] = KEYS

    def __init__(self, context: Context, api: Api, organization: str, identity: Principal) -> None:
        self.name = identity.name
        self.identity = identity
        self.curve = zmq.curve_keypair()
        self.incarnation_id = str(uuid.uuid4())
        self.job_state = "idle"
        self.job_id: str | None = None
        self.is_beating = False
        self._context = context
        self._api = api
        self._organization = organization
        self._sequence = itertools.count()
        self._config: Config | None = None
        self._channel: Channel | None = None
        self._receiver: Receiver | None = None
        self._server: tuple[zmq.Socket[bytes], Receiver] | None = None

    # Its configuration.

    def ask_for_config(self, *, node: str | None = None, verb: str = "config", query: str | None = None) -> Answer:
        """The answer to a request for the configuration of `node` (itself, unless said otherwise)."""
        if query is None:
            query = f"?ccpk={_quoted(self.curve[0])}&version={self.version}"
        path = f"/organizations/{self._organization}/pushy/{verb}/{node or self.name}{query}"
        return self._api.request(self.identity, "GET", path)

    def configure(self) -> Config:
        """Fetch the configuration anew."""
        answer = self.ask_for_config()
        assert answer.status == 200, answer
        self._config = Config.read(answer.json(), self.identity)
        return self._config

    @property
    def config(self) -> Config:
        """What was fetched last; fetched now when nothing was."""
        return self._config or self.configure()

    # Its connection.

    def connect(self) -> None:
        """Connect to the command channel, in place of a connection that there is."""
        config = self.config
        self.disconnect()
        self._receiver = Receiver(config, self.keys)
        self._channel = Channel(self._context, config, self.curve, lambda: self._frames() if self.is_beating else None)

    def disconnect(self) -> None:
        """Close the connection, after a look at what came over it and was not expected by name.

        :raise BadMessage: some of it is not as the contract says
        """
        channel, self._channel = self._channel, None
        if channel:
            channel.close()
            assert self._receiver
            while not channel.received.empty():
                self._receiver.open(channel.received.get())

    def close(self) -> None:
        """End."""
        self.is_beating = False
        if self._server:
            self._server[0].close()
            self._server = None
        self.disconnect()

    def restart(self) -> None:
        """Become a new process of the same node, which the server learns from the next message."""
        self.incarnation_id = str(uuid.uuid4())
        self.job_state, self.job_id = "idle", None

    # What it says.

    def body(self, kind: str, job_id: str | None = None, **extra: object) -> dict[str, object]:
        """A message; `extra` adds keys, and replaces some."""
        return {
            "node": self.name,
            "client": "host.example.com",
            "org": self._organization,
            "protocol_version": self.version,
            "type": kind,
            "sequence": next(self._sequence),
            "timestamp": rfc_1123(),
            "incarnation_id": self.incarnation_id,
            "job_id": job_id,
            **extra,
        }

    def say(self, kind: str, job_id: str | None = None, **extra: object) -> None:
        """Send a message."""
        self.send(seal(json.dumps(self.body(kind, job_id, **extra)).encode(), self.config.session_key))

    def heartbeat(self, state: str = "idle", job_id: str | None = None) -> None:
        """Send a heartbeat, and the like of it from now on when it is beating."""
        self.job_state, self.job_id = state, job_id
        self.send(self._frames())

    def beat(self) -> None:
        """Send heartbeats from now on."""
        self.is_beating = True

    def stop_beating(self) -> None:
        """Send no heartbeats from now on, and stay connected."""
        self.is_beating = False

    def send(self, frames: list[bytes]) -> None:
        """Send frames as they are."""
        assert self._channel, "not connected"
        self._channel.send(frames)

    def _frames(self) -> list[bytes]:
        body = self.body("heartbeat", self.job_id, job_state=self.job_state)
        return seal(json.dumps(body).encode(), self.config.session_key)

    # What it hears.

    def next(self, within: float = PATIENCE_SECONDS) -> dict[str, Any] | None:
        """The next message without its timestamp and sequence; None when there is none.

        :raise BadMessage: it is not as the contract says
        """
        assert self._channel, "not connected"
        assert self._receiver
        try:
            frames = self._channel.received.get(timeout=within)
        except queue.Empty:
            return None
        message = self._receiver.open(frames)
        expect(message["type"] != "heartbeat", f"{message} on the command channel")
        return message

    def expect(self, kind: str, within: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The next message, which is of this type."""
        message = self.next(within)
        assert message is not None, f"{self.name}: no {kind} within {within} s"
        assert message["type"] == kind, f"{self.name}: expected {kind}, heard {message}"
        return message

    def expect_nothing(self, within: float = 0.05) -> None:
        """Nothing is there, and nothing comes in this time."""
        message = self.next(within)
        assert message is None, f"{self.name}: heard {message}"

    def pass_over_aborts(self) -> None:
        """Take what is there, which is aborts: of them, a rehab may have had more than were answered."""
        while message := self.next(within=0):
            assert message["type"] == "abort", f"{self.name}: heard {message}"

    def server_heartbeat(self, within: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The next heartbeat of the server, of a subscription that begins with the first call."""
        if self._server is None:
            subscriber = self._context.socket(zmq.SUB)
            subscriber.linger = 0
            subscriber.subscribe(b"")
            subscriber.connect(self.config.heartbeat_address)
            self._server = subscriber, Receiver(self.config)
        subscriber, receiver = self._server
        assert subscriber.poll(int(within * 1000)), f"no heartbeat within {within} s"
        message = receiver.open(subscriber.recv_multipart())
        expect(message["type"] == "heartbeat", f"{message} instead of a heartbeat")
        return message


def _quoted(key: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in key)
