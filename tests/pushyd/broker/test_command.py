"""The command channel with real sockets and the real reactor: who gets in, what is believed, what reaches whom."""

from typing import Any

import pytest
import zmq
from twisted.internet import reactor
from twisted.internet.defer import DeferredQueue
from twisted.internet.task import LoopingCall
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from pushy_protocol import envelope, messages
from pushy_protocol.keys import CurveKeyPair, make_rsa_key
from pushy_protocol.timestamps import format_rfc1123
from pushy_protocol.zeromq import HIGH_WATER_MARK, Context
from pushyd.broker.command import CommandChannel
from pushyd.broker.zap import Authenticator
from pushyd.domain.node import NodeRef
from pushyd.sessions import Session, Sessions
from tests.pushyd.broker.peers import OTHER_WEB1, WEB1, WEB2, Frames, Peer, body_of, signed
from tests.pushyd.doubles import NOW, MemoryStore, texts

MAX_BODY_SIZE = 4096
MAX_TIME_SKEW = 300.0

Heard = tuple[NodeRef, bytes, messages.NodeMessage]


class Channels(TestCase):
    """A command channel with its ZAP, and peers that connect to it."""

    timeout = 20

    def setUp(self) -> None:
        self.now = NOW
        self.asked: DeferredQueue[str] = DeferredQueue()
        """The keys that ZAP was asked about."""
        self.heard: DeferredQueue[Heard] = DeferredQueue()
        self.logged: list[LogEvent] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

        self.context, self.peers = Context(reactor), Context(reactor)
        self.addCleanup(self.context.shutdown)
        self.addCleanup(self.peers.shutdown)
        self.sessions = Sessions(secret=b"secret", store=MemoryStore())
        Authenticator(self.context, self.is_admitted).listen()
        self.keys = CurveKeyPair.make()
        self.channel = CommandChannel(
            context=self.context,
            keys=self.keys,
            sessions=self.sessions,
            on_message=self.on_message,
            now=lambda: self.now,
            server_name="push.example.org",
            max_body_size=MAX_BODY_SIZE,
            max_time_skew=MAX_TIME_SKEW,
        )
        self.address = self.channel.listen("tcp://127.0.0.1:0")

    def is_admitted(self, key: str) -> bool:
        self.asked.put(key)
        return self.sessions.by_peer(key) is not None

    def on_message(self, session: Session, route: bytes, message: messages.NodeMessage) -> None:
        self.heard.put((session.node, route, message))

    async def admit(self, node: NodeRef, keys: CurveKeyPair) -> Session:
        return await self.sessions.admit(node, curve_key=keys.public, version="2.0")

    def connect(self, node: NodeRef, keys: CurveKeyPair) -> Peer:
        return Peer.connected(self.peers, self.address, self.keys.public, node, keys)

    async def peer(self, node: NodeRef) -> tuple[Peer, Session]:
        """A node that is connected and was heard."""
        keys = CurveKeyPair.make()
        session = await self.admit(node, keys)
        peer = self.connect(node, keys)
        peer.say(session, now=self.now)
        heard, _, _ = await self.heard.get()
        assert heard == node
        return peer, session

    def dropped(self) -> list[str]:
        """What was logged about dropped messages, since the last time."""
        found = texts(self.logged, "warn")
        self.logged.clear()
        return found


class Admission(Channels):
    async def test_an_admitted_key_gets_in_and_is_answered(self) -> None:
        peer, session = await self.peer(WEB1)
        peer.say(session, incarnation="abc")
        node, route, message = await self.heard.get()
        assert node == WEB1
        assert isinstance(message, messages.NodeHeartbeat)
        assert message.incarnation_id == "abc"
        body = self.channel.encode(messages.Ack, {})
        assert self.channel.send(route, session.signer, body)
        header, received = await peer.received.get()
        envelope.SessionSigner(session.session_key).verify(header, received)
        assert isinstance(messages.decode_from_server(received), messages.Ack)

    async def test_a_peer_that_is_not_read_has_to_wait(self) -> None:
        """Or a fleet that says more than is read of it would fill the memory."""
        peer, _ = await self.peer(WEB1)
        body = b"x" * MAX_BODY_SIZE
        # Nothing is read meanwhile: the reactor has no turn.
        more_than_its_own_queue_and_the_buffers_take = HIGH_WATER_MARK + 10_000
        sent = 0
        while peer.connection.socket.poll(2000, zmq.POLLOUT) and sent < more_than_its_own_queue_and_the_buffers_take:
            peer.connection.socket.send_multipart([b"header", body])
            sent += 1
        assert sent < more_than_its_own_queue_and_the_buffers_take

    async def test_a_stranger_does_not_and_does_not_disturb(self) -> None:
        _, session = await self.peer(WEB1)
        stranger = self.connect(WEB1, CurveKeyPair.make())
        stranger.say(session, incarnation="stranger")
        while await self.asked.get() != stranger.keys.public:
            pass
        await self.peer(WEB2)
        assert self.heard.pending == []
        assert self.dropped() == []

    async def test_one_that_was_refused_gets_in_when_it_is_admitted(self) -> None:
        """ZeroMQ goes on trying: an agent that was quicker than its registration needs no restart."""
        keys = CurveKeyPair.make()
        peer = self.connect(WEB1, keys)
        assert await self.asked.get() == keys.public
        session = await self.admit(WEB1, keys)
        peer.say(session)
        node, _, _ = await self.heard.get()
        assert node == WEB1

    async def test_a_key_that_is_replaced_is_cut_off(self) -> None:
        old, _ = await self.peer(WEB1)
        new, session = await self.peer(WEB1)
        old.say(session, incarnation="old")
        new.say(session, incarnation="new")
        _, _, message = await self.heard.get()
        assert message.incarnation_id == "new"
        # The old one's message may come in after the new one's.
        while not (dropped := self.dropped()):
            old.say(session, incarnation="old")
            new.say(session, incarnation="new")
            _, _, message = await self.heard.get()
            assert message.incarnation_id == "new"
        (text,) = dropped
        assert f"the key {old.keys.public}" in text
        assert "not admitted" in text

    async def test_without_curve_nobody_gets_in(self) -> None:
        plain = self.peers.context.socket(zmq.DEALER)
        self.addCleanup(plain.close, 0)
        plain.connect(self.address)
        keys = CurveKeyPair.make()
        session = await self.admit(WEB1, keys)
        plain.send_multipart(signed(session, body_of(WEB1)))
        await self.peer(WEB2)
        assert self.heard.pending == []


class Belief(Channels):
    """Each check: what fails is dropped, said once, and costs nobody anything but its sender."""

    async def check_dropped(self, frames: Frames, reason: str) -> None:
        """From one peer come `frames`, then what is good: that arrives, and so does another peer's."""
        for peer, session in (self.bad, self.other):
            if peer is self.bad[0]:
                peer.send(frames)
            peer.say(session, now=self.now, incarnation=reason[:64])
            node, _, message = await self.heard.get()
            assert (node, message.incarnation_id) == (peer.node, reason[:64])
        (text,) = self.dropped()
        assert text.startswith("A message of acme/web1 was dropped: ")
        assert reason in text
        self.now += 61

    async def begin(self) -> Session:
        self.bad, self.other = await self.peer(WEB1), await self.peer(WEB2)
        return self.bad[1]

    async def test_frames(self) -> None:
        session = await self.begin()
        good = signed(session, body_of(WEB1))
        await self.check_dropped(good[:1], "1 frames, expected 2")
        await self.check_dropped([*good, b""], "3 frames, expected 2")
        await self.check_dropped([b"", *good], "3 frames, expected 2")
        await self.check_dropped([b""] * 1000, "frames, expected 2")

    async def test_size(self) -> None:
        session = await self.begin()
        for size in (MAX_BODY_SIZE + 1, 2 * MAX_BODY_SIZE):
            await self.check_dropped(signed(session, b" " * size), f"a body of {size} bytes")

    async def test_the_largest_body_is_taken(self) -> None:
        peer, session = await self.peer(WEB1)
        body = body_of(WEB1)
        peer.send(signed(session, body + b" " * (MAX_BODY_SIZE - len(body))))
        await self.heard.get()

    async def test_signature(self) -> None:
        session = await self.begin()
        body = body_of(WEB1, now=self.now)
        _, other_session = self.other
        good = session.signer.sign(body)
        for header, reason in (
            (other_session.signer.sign(body), "the signature is not the body's"),
            (session.signer.sign(body + b" "), "the signature is not the body's"),
            (good[:-1], "the signature is not the body's"),
            (b"", "the header is not of the form"),
            (b"\xff" * 100, "the header is not of the form"),
            (good + b"A" * envelope.MAX_HEADER_BYTES, "the header has"),
            (good.replace(b"Version:2.0", b"Version:3.0"), "Version is not 2.0"),
            (envelope.sign_rsa(make_rsa_key(), body), "SigningMethod is not that of this channel"),
        ):
            await self.check_dropped([header, body], reason)

    async def test_shape(self) -> None:
        session = await self.begin()
        body = body_of(WEB1)
        for bad, reason in (
            (b"", "truncated"),
            (b"\xff\xfe", "malformed"),
            (b'{"type":"heartbeat","x":' + b"[" * 4000, "recursion"),
            (b"[]", "Expected `object`"),
            (body.replace(b'"heartbeat"', b'"commit"'), "Invalid value"),
            (body.replace(b'"sequence":1', b'"sequence":"1"'), "$.sequence"),
            (body.replace(b'"job_state":"idle",', b""), "job_state"),
            (body.replace(format_rfc1123(NOW).encode(), b"today"), "$.timestamp"),
        ):
            assert bad != body
            await self.check_dropped(signed(session, bad), reason)

    async def test_clock(self) -> None:
        session = await self.begin()
        for skew in (MAX_TIME_SKEW + 1, -MAX_TIME_SKEW - 1, -1e9, 1e9):
            frames = signed(session, body_of(WEB1, now=self.now + skew))
            await self.check_dropped(frames, f"off by {skew:.0f} s")

    async def test_a_clock_that_is_off_by_what_is_allowed_is_believed(self) -> None:
        peer, session = await self.peer(WEB1)
        for skew in (MAX_TIME_SKEW, -MAX_TIME_SKEW):
            peer.say(session, now=self.now + skew)
            await self.heard.get()

    async def test_speaking_for_another(self) -> None:
        session = await self.begin()
        for node in (WEB2, OTHER_WEB1, NodeRef("acme", "WEB1"), NodeRef("acme", "web1 ")):
            frames = signed(session, body_of(node, now=self.now))
            await self.check_dropped(frames, f"it speaks for {node.organization}/{node.name}")

    async def test_a_message_may_come_again(self) -> None:
        """A 2.x client starts its sequence anew, and CURVE forbids replays: nothing depends on it."""
        peer, session = await self.peer(WEB1)
        for _ in range(2):
            peer.send(signed(session, body_of(WEB1)))
            await self.heard.get()


class RefusalLog(Channels):
    async def drop(self, peer: Peer, session: Session, frames: Frames) -> list[str]:
        """What is logged when a peer sends `frames`."""
        peer.send(frames)
        peer.say(session, now=self.now)
        await self.heard.get()
        return self.dropped()

    async def test_it_speaks_once_per_peer_and_minute(self) -> None:
        (first, first_session), (second, second_session) = await self.peer(WEB1), await self.peer(WEB2)
        assert len(await self.drop(first, first_session, [b"bad"])) == 1
        self.now += 59
        assert await self.drop(first, first_session, [b"bad"]) == []
        assert len(await self.drop(second, second_session, [b"bad"])) == 1
        self.now += 1
        assert len(await self.drop(first, first_session, [b"bad"])) == 1
        assert await self.drop(second, second_session, [b"bad"]) == []

    async def test_a_clock_that_was_set_back_does_not_silence_it(self) -> None:
        peer, session = await self.peer(WEB1)
        assert len(await self.drop(peer, session, [b"bad"])) == 1
        self.now -= 3600
        assert len(await self.drop(peer, session, [b"bad"])) == 1

    async def test_what_came_in_cannot_write_into_the_log(self) -> None:
        peer, session = await self.peer(WEB1)
        body = body_of(WEB1).replace(b'"heartbeat"', b'"' + rb"x\n2026-01-01 forged \u001b[2J" * 50 + b'"')
        (text,) = await self.drop(peer, session, signed(session, body))
        assert text.isprintable()
        assert len(text) < 1000


class Disturbance(Channels):
    async def test_a_flood_of_garbage_does_not_stop_anothers_heartbeats(self) -> None:
        (flooding, flooding_session), (quiet, session) = await self.peer(WEB1), await self.peer(WEB2)
        for mark in ("among it", "after it"):
            for _ in range(5000):
                flooding.send([b"garbage", b"\xff" * 100])
            flooding.say(flooding_session, incarnation=mark)
        marks = [await self.next_mark()]
        quiet.say(session, incarnation="meanwhile")
        marks += [await self.next_mark(), await self.next_mark()]
        assert marks == ["among it", "meanwhile", "after it"]
        assert len(self.dropped()) == 1

    async def next_mark(self) -> str:
        _, _, message = await self.heard.get()
        return message.incarnation_id

    async def test_a_frame_that_is_far_too_large_ends_its_connection_only(self) -> None:
        (large, large_session), (quiet, session) = await self.peer(WEB1), await self.peer(WEB2)
        large.say(large_session)
        _, before, _ = await self.heard.get()
        large.send([b"header", b"x" * (10 * MAX_BODY_SIZE)])
        quiet.say(session)
        node, _, _ = await self.heard.get()
        assert node == WEB2
        # ZeroMQ connects again by itself; what was on its way when the connection ended is lost.
        again = LoopingCall(lambda: large.say(large_session))
        ended = again.start(0.02)
        node, route, _ = await self.heard.get()
        again.stop()
        await ended
        assert node == WEB1
        assert route != before

    async def test_a_handler_that_fails_costs_one_message(self) -> None:
        peer, session = await self.peer(WEB1)
        self.channel._on_message = self.fail_once
        peer.say(session, incarnation="first")
        peer.say(session, incarnation="second")
        _, _, message = await self.heard.get()
        assert message.incarnation_id == "second"
        assert len(self.flushLoggedErrors(LookupError)) == 1

    def fail_once(self, *heard: Any) -> None:
        self.channel._on_message = self.on_message
        raise LookupError


class Sending(Channels):
    async def test_what_goes_to_an_unknown_route_is_dropped_and_the_next_arrives(self) -> None:
        peer, session = await self.peer(WEB1)
        peer.say(session)
        _, route, _ = await self.heard.get()
        body = self.channel.encode(messages.Abort, {})
        for nowhere in (b"", b"nobody", b"\0" * 5, b"x" * 300):
            self.channel.send(nowhere, session.signer, body)
        assert self.channel.send(route, session.signer, body)
        header, received = await peer.received.get()
        assert (header, received) == (session.signer.sign(body), body)

    async def test_what_goes_to_a_route_whose_peer_is_gone_is_dropped(self) -> None:
        (gone, gone_session), (peer, session) = await self.peer(WEB1), await self.peer(WEB2)
        gone.say(gone_session)
        _, gone_route, _ = await self.heard.get()
        gone.connection.shutdown()
        peer.say(session)
        _, route, _ = await self.heard.get()
        body = self.channel.encode(messages.Abort, {})
        self.channel.send(gone_route, gone_session.signer, body)
        self.channel.send(route, session.signer, body)
        assert (await peer.received.get())[1] == body

    async def test_each_gets_its_own(self) -> None:
        (first, first_session), (second, second_session) = await self.peer(WEB1), await self.peer(OTHER_WEB1)
        for peer, session in ((first, first_session), (second, second_session)):
            peer.say(session)
            _, route, _ = await self.heard.get()
            self.channel.send(route, session.signer, self.channel.encode(messages.Run, {"job_id": peer.node[0]}))
        for peer, session in ((first, first_session), (second, second_session)):
            header, body = await peer.received.get()
            envelope.SessionSigner(session.session_key).verify(header, body)
            assert messages.decode_from_server(body).job_id == peer.node[0]

    def test_after_the_end_a_send_says_so(self) -> None:
        self.context.shutdown()
        assert not self.channel.send(b"route", envelope.SessionSigner(b"key"), b"body")

    def test_bodies_say_when_and_in_which_order_and_by_whom(self) -> None:
        first = messages.decode_from_server(self.channel.encode(messages.Abort, {}))
        self.now += 10
        second = messages.decode_from_server(
            self.channel.encode(messages.Commit, {"job_id": "1", "command": "true", "env": {"A": "b"}, "user": None})
        )
        assert (first.timestamp, second.timestamp) == (format_rfc1123(NOW), format_rfc1123(NOW + 10))
        assert second.sequence == first.sequence + 1
        assert isinstance(second, messages.Commit)
        assert second.server == "push.example.org"
        assert (second.job_id, second.command, second.env, second.user) == ("1", "true", {"A": "b"}, None)

    def test_an_address_that_is_taken_is_an_error(self) -> None:
        another = CommandChannel(
            context=self.context,
            keys=self.keys,
            sessions=self.sessions,
            on_message=self.on_message,
            now=lambda: self.now,
            server_name="another",
            max_body_size=MAX_BODY_SIZE,
            max_time_skew=MAX_TIME_SKEW,
        )
        with pytest.raises(zmq.ZMQError):
            another.listen(self.address)
