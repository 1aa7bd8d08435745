"""What is believed of what the channels bring; real sockets, but nobody at their other end."""

from typing import Any

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from twisted.internet import reactor as the_reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from pushy_agent.bootstrap import BootstrapError, Session
from pushy_agent.connection import Channels, Complaints
from pushy_agent.heartbeat import SequenceGuard
from pushy_protocol import envelope, messages
from pushy_protocol.api import HeartbeatConfig
from pushy_protocol.keys import CurveKeyPair, make_rsa_key
from pushy_protocol.messages import Abort, Run, ServerCommand, ServerHeartbeat
from pushy_protocol.timestamps import format_rfc1123
from pushy_protocol.zeromq import Context

SESSION_KEY = b"k" * 32
NOW = 1_700_000_000.0
SERVER_KEY: RSAPrivateKey = make_rsa_key()


def make_session(**fields: Any) -> Session:
    """A session with nobody."""
    session = Session(
        node="node-1",
        organization="acme",
        heartbeat=HeartbeatConfig(out_addr="tcp://127.0.0.1:9", command_addr="tcp://127.0.0.1:9", interval=1.0),
        server_key=SERVER_KEY.public_key(),
        server_curve_key=CurveKeyPair.make().public,
        curve=CurveKeyPair.make(),
        session_key=SESSION_KEY,
        lifetime=3600,
        max_skew=300,
        max_body_size=65536,
        incarnation_id="first",
        extensions=None,
    )
    return evolve(session, **fields)


def run(when: float = NOW, **fields: Any) -> bytes:
    return messages.encode(Run(timestamp=format_rfc1123(when), sequence=1, job_id="j1", **fields))


def signed(body: bytes, key: bytes = SESSION_KEY) -> list[bytes]:
    return [envelope.SessionSigner(key).sign(body), body]


def beat(sequence: int, when: float = NOW, key: RSAPrivateKey = SERVER_KEY, incarnation: str = "first") -> list[bytes]:
    body = messages.encode(
        ServerHeartbeat(timestamp=format_rfc1123(when), sequence=sequence, server="s", incarnation_id=incarnation)
    )
    return [envelope.sign_rsa(key, body), body]


class ChannelsTests(TestCase):
    def setUp(self) -> None:
        self.commands: list[ServerCommand] = []
        self.heartbeats: list[ServerHeartbeat] = []
        self.context = Context(the_reactor)
        self.addCleanup(self.context.shutdown)
        self.channels = self.open(make_session())

    def open(self, session: Session) -> Channels:
        return Channels(
            session,
            context=self.context,
            clock=Clock(),
            now=lambda: NOW,
            guard=SequenceGuard(),
            on_command=self.commands.append,
            on_heartbeat=self.heartbeats.append,
        )

    def receive(self, frames: list[bytes]) -> int:
        """How many commands are believed once these frames came."""
        self.channels._commands.messageReceived(frames)
        return len(self.commands)

    def hear(self, frames: list[bytes]) -> int:
        self.channels._heartbeats.messageReceived(frames)
        return len(self.heartbeats)

    def test_a_good_command(self) -> None:
        assert self.receive(signed(run())) == 1
        assert isinstance(self.commands[0], Run)
        assert self.receive(signed(run(NOW - 299))) == 2

    def test_refused_commands(self) -> None:
        for frames in (
            [],
            [b""],
            [*signed(run()), b""],
            signed(run(), b"K" * 32),
            [signed(run())[0], run(NOW + 1)],
            signed(b"{}"),
            signed(b"\xff"),
            signed(b'{"type":"reboot"}'),
            signed(run(NOW - 301)),
            signed(run(NOW + 301)),
            signed(b" " * 65536 + run()),
            beat(1),
        ):
            assert self.receive(frames) == 0

    def test_a_good_heartbeat(self) -> None:
        assert self.hear(beat(0)) == 1
        assert self.hear(beat(5)) == 2
        assert self.hear(beat(0, incarnation="second")) == 3

    def test_refused_heartbeats(self) -> None:
        assert self.hear(beat(7)) == 1
        command = messages.encode(Abort(timestamp=format_rfc1123(NOW), sequence=9))
        for frames in (
            beat(7),
            beat(6),
            beat(8, NOW - 301),
            beat(8, key=make_rsa_key()),
            signed(beat(8)[1]),
            [envelope.sign_rsa(SERVER_KEY, command), command],
            [b""],
        ):
            assert self.hear(frames) == 1

    def test_nothing_is_queued_without_a_connection(self) -> None:
        assert not self.channels.send(b"{}")

    def test_close_twice(self) -> None:
        self.channels.close()
        self.channels.close()
        assert not self.channels.send(b"{}")

    def test_addresses_that_are_none(self) -> None:
        bad = HeartbeatConfig(out_addr="nowhere", command_addr="tcp://127.0.0.1:9", interval=1)
        with pytest.raises(BootstrapError, match="the server's addresses are not usable"):
            self.open(make_session(heartbeat=bad))
        assert len(self.context.connections) == 2


def test_one_complaint_a_minute_for_each_subject() -> None:
    clock = Clock()
    complaints = Complaints(clock)
    assert complaints.may_log("a") == 0
    assert [complaints.may_log("a") for _ in range(3)] == [None, None, None]
    assert complaints.may_log("b") == 0
    clock.advance(60)
    assert complaints.may_log("a") == 3
    clock.advance(60)
    assert complaints.may_log("a") == 0
