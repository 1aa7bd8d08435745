"""What a connection does: sending, reading, ending, and CURVE with the names that ZAP gives.

What needs time of its own (CURVE over TCP) is at the end, on the real reactor.
"""

from collections.abc import Callable
from typing import Any

import pytest
import zmq
import zmq.utils.monitor
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zmq.utils import z85

from pushy_protocol.keys import CurveKeyPair
from pushy_protocol.zeromq import MAX_FRAMES, READ_BATCH, Connection, Context
from tests.pushy_protocol.bench import Bench, Frames, StepReactor, is_readable


class TestSending:
    def test_a_message_goes_out_whole(self, bench: Bench) -> None:
        peer = bench.peer()
        connection = Connection(bench.context, zmq.DEALER)
        connection.connect("inproc://peer")
        assert connection.send([b"header", b"", b"body"]) is True
        assert peer.recv_multipart(zmq.NOBLOCK) == [b"header", b"", b"body"]

    def test_to_a_full_queue_it_fails_and_does_not_wait(self, bench: Bench) -> None:
        class Narrow(Connection):
            highWaterMark = 2

        peer = bench.peer(receive_high_water_mark=2)
        connection = Narrow(bench.context, zmq.DEALER)
        connection.connect("inproc://peer")
        sent = [connection.send([b"a", b"b"]) for _ in range(10)]
        room = sent.count(True)
        assert 0 < room < 10
        assert sent == [True] * room + [False] * (10 - room)
        assert [peer.recv_multipart(zmq.NOBLOCK) for _ in range(room)] == [[b"a", b"b"]] * room

    def test_without_a_peer_it_fails_and_does_not_wait(self, bench: Bench) -> None:
        connection = Connection(bench.context, zmq.DEALER)
        assert connection.send([b"x"]) is False

    def test_of_a_router_to_an_unknown_peer_is_dropped(self, bench: Bench) -> None:
        got: list[Frames] = []
        router = Connection(bench.context, zmq.ROUTER, lambda frames, _: got.append(frames))
        router.bind("inproc://router")
        router.send([b"nobody", b"header", b"body"])
        known = bench.context.context.socket(zmq.DEALER)
        known.connect("inproc://router")
        bench.raw.append(known)
        known.send(b"hello")
        bench.reactor.turn()
        ((identity, _),) = got
        assert router.send([identity, b"header", b"body"])
        assert known.recv_multipart(zmq.NOBLOCK) == [b"header", b"body"]

    def test_what_is_no_bytes_is_a_mistake_of_ours(self, bench: Bench) -> None:
        connection = Connection(bench.context, zmq.DEALER)
        with pytest.raises(TypeError):
            connection.send(["text"])  # type: ignore[list-item]  # the mistake


class TestReading:
    def test_a_handler_that_fails_costs_its_message_only(self, bench: Bench, logged: list[Any]) -> None:
        got: list[Frames] = []

        def handle(frames: Frames, peer: str) -> None:
            if frames == [b"bad"]:
                raise LookupError(frames)
            got.append(frames)

        peer = bench.peer()
        connection = Connection(bench.context, zmq.DEALER, handle)
        connection.connect("inproc://peer")
        for text in (b"a", b"bad", b"b"):
            peer.send(text)
        bench.reactor.turn()
        assert got == [[b"a"], [b"b"]]
        assert [event["log_failure"].type for event in logged if "log_failure" in event] == [LookupError]
        assert bench.reactor.readers == [connection]

    def test_a_message_of_very_many_frames_is_cut_and_read_at_leisure(self, bench: Bench) -> None:
        got: list[Frames] = []
        peer = bench.peer()
        connection = bench.connected(Connection, lambda frames, _: got.append(frames))
        many = [b"%d" % number for number in range(MAX_FRAMES + 3 * READ_BATCH)]
        for frames in (many[:MAX_FRAMES], many[: MAX_FRAMES + 1], many, [b"next"]):
            peer.send_multipart(frames)
        connection.doRead()
        assert got == [many[:MAX_FRAMES]] * 3
        while connection.read_scheduled is not None:
            bench.reactor.turn()
        assert got == [many[:MAX_FRAMES]] * 3 + [[b"next"]]

    def test_without_a_handler_messages_are_dropped(self, bench: Bench) -> None:
        peer = bench.peer()
        connection = Connection(bench.context, zmq.DEALER)
        connection.connect("inproc://peer")
        peer.send(b"x")
        bench.reactor.turn()
        assert not is_readable(connection)

    def test_without_zap_nobody_has_a_name(self, bench: Bench) -> None:
        names: list[str] = []
        peer = bench.peer()
        connection = Connection(bench.context, zmq.DEALER, lambda _, name: names.append(name))
        connection.connect("inproc://peer")
        peer.send(b"x")
        bench.reactor.turn()
        assert names == [""]

    @pytest.mark.parametrize("last", [1, READ_BATCH - 1, READ_BATCH, READ_BATCH + 1])
    def test_a_shutdown_in_the_middle_of_a_batch_ends_it(self, bench: Bench, last: int) -> None:
        got: list[Frames] = []

        def handle(frames: Frames, peer: str) -> None:
            got.append(frames)
            if len(got) == last:
                connection.shutdown()

        peer = bench.peer()
        connection = Connection(bench.context, zmq.DEALER, handle)
        connection.connect("inproc://peer")
        for _ in range(2 * READ_BATCH):
            peer.send(b"x")
        for _ in range(3):
            bench.reactor.turn()
        assert len(got) == last
        assert connection.closed
        assert bench.reactor.getDelayedCalls() == []

    def test_a_shutdown_of_the_context_in_the_middle_of_a_batch_ends_it(self, bench: Bench) -> None:
        got: list[Frames] = []

        def handle(frames: Frames, _: str) -> None:
            got.append(frames)
            peer.close(linger=0)
            bench.context.shutdown()

        peer = bench.peer()
        connection = Connection(bench.context, zmq.DEALER, handle)
        connection.connect("inproc://peer")
        for _ in range(3):
            peer.send(b"x")
        bench.reactor.turn()
        assert len(got) == 1
        assert connection.closed

    def test_an_answer_from_the_handler_reaches_the_peer(self, bench: Bench) -> None:
        peer = bench.peer()
        connection = Connection(bench.context, zmq.DEALER, lambda frames, _: answer(frames))

        def answer(frames: Frames) -> None:
            assert connection.send(frames)

        connection.connect("inproc://peer")
        peer.send(b"x")
        bench.reactor.turn()
        assert peer.recv(zmq.NOBLOCK) == b"x"

    def test_a_socket_that_only_sends_costs_nothing(self, bench: Bench, logged: list[Any]) -> None:
        publisher = Connection(bench.context, zmq.PUB)
        address = publisher.bind("inproc://publisher")
        subscriber = bench.context.context.socket(zmq.SUB)
        bench.raw.append(subscriber)
        subscriber.connect(address)
        subscriber.subscribe(b"")
        bench.reactor.turn()
        # The subscription has been taken: nothing is left to be done, now or later.
        assert not is_readable(publisher)
        assert bench.reactor.getDelayedCalls() == []
        assert logged == []
        assert publisher.send([b"header", b"body"])
        assert subscriber.recv_multipart(zmq.NOBLOCK) == [b"header", b"body"]


class TestContext:
    def test_it_closes_what_is_open_and_once(self) -> None:
        reactor = StepReactor()
        context = Context(reactor)
        connections = [Connection(context, zmq.DEALER) for _ in range(3)]
        connections[0].shutdown()
        context.shutdown()
        context.shutdown()
        assert all(connection.closed for connection in connections)
        assert reactor.readers == []
        assert reactor.getDelayedCalls() == []

    def test_it_waits_for_what_is_queued_but_not_for_ever(self) -> None:
        context = Context(StepReactor())
        connection = Connection(context, zmq.DEALER)
        assert connection.socket.get(zmq.LINGER) == Context.lingerPeriod == 500
        context.shutdown()


class TestEndpoints:
    def test_a_bound_port_is_told(self, bench: Bench) -> None:
        router = Connection(bench.context, zmq.ROUTER)
        address = router.bind("tcp://127.0.0.1:0")
        host, _, port = address.rpartition(":")
        assert host == "tcp://127.0.0.1"
        assert int(port) > 0

    def test_an_address_in_use_is_an_error(self, bench: Bench) -> None:
        address = Connection(bench.context, zmq.ROUTER).bind("tcp://127.0.0.1:0")
        with pytest.raises(zmq.ZMQError, match="in use"):
            Connection(bench.context, zmq.ROUTER).bind(address)

    @pytest.mark.parametrize("address", ["", "nonsense", "tcp://", "http://127.0.0.1:1", "tcp://127.0.0.1:port"])
    def test_an_address_that_is_none_is_an_error(self, bench: Bench, address: str) -> None:
        connection = Connection(bench.context, zmq.DEALER)
        for action in (connection.bind, connection.connect):
            with pytest.raises(zmq.ZMQError):
                action(address)


def test_without_an_answer_from_zap_no_curve_key_gets_in(bench: Bench) -> None:
    server_keys = CurveKeyPair.make()
    server = Connection(bench.context, zmq.ROUTER)
    server.serve_curve(server_keys, "push")
    monitor = server.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_SUCCEEDED)
    client = Connection(bench.context, zmq.DEALER)
    client.use_curve(CurveKeyPair.make(), server_keys.public)
    client.connect(server.bind("tcp://127.0.0.1:0"))
    try:
        assert monitor.poll(10_000)
        event = zmq.utils.monitor.recv_monitor_message(monitor)["event"]
    finally:
        server.socket.disable_monitor()
        monitor.close()
    assert event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


class Curve(TestCase):
    """CURVE and ZAP over TCP, on the real reactor."""

    timeout = 20

    def setUp(self) -> None:
        self.context = Context(real_reactor)
        self.addCleanup(self.context.shutdown)
        self.server_keys = CurveKeyPair.make()
        self.names: dict[str, bytes] = {}
        """What ZAP answers, by public key; who is not in it is refused."""
        self.refused: Deferred[str] = Deferred()
        self.zap = Connection(self.context, zmq.ROUTER, self.answer_zap)
        self.zap.bind("inproc://zeromq.zap.01")
        self.received: Deferred[tuple[Frames, str]] = Deferred()
        self.server = Connection(self.context, zmq.ROUTER, lambda *message: self.received.callback(message))
        self.server.serve_curve(self.server_keys, "push")
        self.address = self.server.bind("tcp://127.0.0.1:0")

    def answer_zap(self, frames: Frames, peer: str) -> None:
        *route, version, request, domain, _address, _identity, mechanism, key = frames
        assert (version, domain, mechanism) == (b"1.0", b"push", b"CURVE")
        name = self.names.get(z85.encode(key).decode())
        if name is None:
            self.zap.send([*route, version, request, b"400", b"no", b"", b""])
            if not self.refused.called:
                self.refused.callback(z85.encode(key).decode())
        else:
            self.zap.send([*route, version, request, b"200", b"OK", name, b""])

    def client(self, keys: CurveKeyPair, on_message: Callable[[Frames, str], None] | None = None) -> Connection:
        client = Connection(self.context, zmq.DEALER, on_message)
        client.use_curve(keys, self.server_keys.public)
        client.connect(self.address)
        return client

    async def test_the_name_that_zap_gave_comes_with_each_message(self) -> None:
        keys = CurveKeyPair.make()
        self.names[keys.public] = b"acme/web1"
        answered: Deferred[Frames] = Deferred()
        client = self.client(keys, lambda frames, _: answered.callback(frames))
        client.send([b"header", b"body"])
        (identity, *frames), peer = await self.received
        assert (frames, peer) == ([b"header", b"body"], "acme/web1")
        self.server.send([identity, b"to", b"you"])
        assert await answered == [b"to", b"you"]

    async def test_an_empty_name_is_none(self) -> None:
        keys = CurveKeyPair.make()
        self.names[keys.public] = b""
        self.client(keys).send([b"header", b"body"])
        _, peer = await self.received
        assert peer == ""

    async def test_a_name_that_is_no_text_is_none(self) -> None:
        keys = CurveKeyPair.make()
        self.names[keys.public] = b"\xff"
        self.client(keys).send([b"header", b"body"])
        _, peer = await self.received
        assert peer == ""

    async def test_a_name_outside_ascii(self) -> None:
        keys = CurveKeyPair.make()
        self.names[keys.public] = "büro".encode()
        self.client(keys).send([b"header", b"body"])
        _, peer = await self.received
        assert peer == "büro"

    async def test_a_key_that_zap_does_not_know_is_refused_and_the_next_gets_in(self) -> None:
        stranger, known = CurveKeyPair.make(), CurveKeyPair.make()
        self.names[known.public] = b"known"
        self.client(stranger).send([b"from a stranger"])
        assert await self.refused == stranger.public
        self.client(known).send([b"hello"])
        (_, *frames), peer = await self.received
        assert (frames, peer) == ([b"hello"], "known")
