"""The server's heartbeat: what subscribers hear, and when."""

import zmq
from twisted.internet import reactor
from twisted.internet.defer import DeferredQueue
from twisted.internet.task import Clock, LoopingCall
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pushy_protocol import envelope, messages
from pushy_protocol.keys import make_rsa_key
from pushy_protocol.timestamps import format_rfc1123
from pushy_protocol.zeromq import Connection, Context
from pushyd.broker.heartbeat import HeartbeatPublisher
from tests.pushyd.broker.peers import Frames, IdleReactor
from tests.pushyd.doubles import NOW

KEY = make_rsa_key()


def publisher_on(context: Context, clock: Clock) -> HeartbeatPublisher:
    return HeartbeatPublisher(
        context=context,
        key=KEY,
        clock=clock,
        now=lambda: NOW + clock.seconds(),
        interval=2.0,
        server_name="push.example.org",
        incarnation_id="0b5c1f6e-incarnation",
    )


class Heartbeats(TestCase):
    """With real sockets; the publisher's time is a Clock."""

    timeout = 20

    async def test_subscribers_hear_signed_heartbeats_every_interval(self) -> None:
        context = Context(reactor)
        self.addCleanup(context.shutdown)
        clock = Clock()
        publisher = publisher_on(context, clock)
        address = publisher.listen("tcp://127.0.0.1:0")
        received: DeferredQueue[Frames] = DeferredQueue()
        subscriber = Connection(context, zmq.SUB, lambda frames, _: received.put(frames))
        subscriber.socket.set(zmq.SUBSCRIBE, b"")
        subscriber.connect(address)
        await self.hear_first(publisher, received)

        start = clock.seconds()
        clock.pump([2.0] * 3)
        sequences = []
        for number in range(1, 4):
            header, body = await received.get()
            envelope.verify_rsa(header, body, KEY.public_key())
            message = messages.decode_heartbeat(body)
            assert message.server == "push.example.org"
            assert message.incarnation_id == "0b5c1f6e-incarnation"
            assert message.timestamp == format_rfc1123(NOW + start + 2.0 * number)
            sequences.append(message.sequence)
        assert sequences == [sequences[0], sequences[0] + 1, sequences[0] + 2]

    async def hear_first(self, publisher: HeartbeatPublisher, received: "DeferredQueue[Frames]") -> None:
        """Publish until a subscriber that has just connected hears it, and take what it heard."""
        again = LoopingCall(publisher.publish)
        ended = again.start(0.02)
        await received.get()
        again.stop()
        await ended
        # What was published last is the last to come in.
        publisher.publish()
        last = publisher._sequence
        while messages.decode_heartbeat((await received.get())[1]).sequence != last:
            pass


class Publishing(SynchronousTestCase):
    def setUp(self) -> None:
        self.context = Context(IdleReactor())
        self.addCleanup(self.context.shutdown)
        self.clock = Clock()
        self.publisher = publisher_on(self.context, self.clock)

    def test_it_begins_with_the_listening(self) -> None:
        self.clock.advance(10)
        assert self.publisher._sequence == 0
        self.publisher.listen("inproc://heartbeat")
        self.clock.advance(2)
        assert self.publisher._sequence == 1

    def test_a_stop_ends_it(self) -> None:
        self.publisher.listen("inproc://heartbeat")
        self.publisher.stop()
        self.clock.advance(10)
        assert self.publisher._sequence == 0
        assert self.clock.getDelayedCalls() == []

    def test_a_closed_socket_is_no_fault(self) -> None:
        self.publisher.listen("inproc://heartbeat")
        self.context.shutdown()
        self.clock.advance(2)
        self.publisher.stop()
