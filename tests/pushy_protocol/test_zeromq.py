"""The faults of txZMQ: each is checked on our connection and on txZMQ's own class, which must show it."""

from collections.abc import Callable
from typing import Any

import pytest
import zmq
from txzmq import ZmqConnection, ZmqEndpoint, ZmqEndpointType, ZmqSubConnection

from pushy_protocol.zeromq import HIGH_WATER_MARK, MANY, PROMPT, READ_BATCH, REST, RETRY_DELAY, Connection, Context
from tests.pushy_protocol.bench import Bench, Frames, is_readable


class Plain(ZmqConnection):  # type: ignore[misc]  # txZMQ has no types
    """TxZMQ's own class, with the little that makes it usable, under the interface of ours."""

    def __init__(self, context: Context, socket_type: int, on_message: Callable[[Frames, str], None]) -> None:
        self.socketType = socket_type
        self._on_message = on_message
        super().__init__(context)

    def messageReceived(self, message: Frames) -> None:
        self._on_message(message, "")

    def connect(self, address: str) -> None:
        self.addEndpoints([ZmqEndpoint(ZmqEndpointType.connect, address)])


# The check of a fault gives whether the class is free of it.
both_classes = pytest.mark.parametrize(
    ("kind", "is_mended"), [pytest.param(Connection, True, id="ours"), pytest.param(Plain, False, id="txZMQ's")]
)


def stops(action: Callable[[], object]) -> bool:
    """Whether something raises."""
    try:
        action()
    except Exception:
        return True
    return False


def sends(connection: Any) -> bool:
    """Whether a send succeeds, however the class says that it does not."""
    try:
        return connection.send([b"x"]) is not False
    except zmq.Again:
        return False


@both_classes
def test_a_send_that_fails_does_not_eat_the_readiness_edge(bench: Bench, kind: Any, is_mended: bool) -> None:
    class Narrow(kind):  # type: ignore[misc]  # one of two classes
        highWaterMark = 1

    peer = bench.peer(receive_high_water_mark=1)
    got: list[Frames] = []
    connection = bench.connected(Narrow, lambda frames, _: got.append(frames))
    while sends(connection):
        pass
    connection.doRead()
    assert connection.read_scheduled is None
    peer.send(b"news")
    assert is_readable(connection)
    # By a clock of its own, ZeroMQ looks at what came in on some sends only.
    while is_readable(connection):
        assert not sends(connection)
    bench.reactor.turn()
    assert (got == [[b"news"]]) is is_mended


@both_classes
def test_the_first_message_after_connecting_is_noticed(bench: Bench, kind: Any, is_mended: bool) -> None:
    peer = bench.peer()
    got: list[Frames] = []
    connection = kind(bench.context, zmq.DEALER, lambda frames, _: got.append(frames))
    connection.connect("inproc://peer")
    peer.send(b"news")
    bench.reactor.turn()
    assert (got == [[b"news"]]) is is_mended


@both_classes
def test_reading_does_not_starve_the_reactor(bench: Bench, kind: Any, is_mended: bool) -> None:
    peer = bench.peer()
    got: list[Frames] = []
    connection = bench.connected(kind, lambda frames, _: got.append(frames))
    for number in range(2 * READ_BATCH + 1):
        peer.send(b"%d" % number)
    connection.doRead()
    assert (len(got) <= READ_BATCH) is is_mended
    bench.reactor.turn()
    bench.reactor.turn()
    assert got == [[b"%d" % number] for number in range(2 * READ_BATCH + 1)]


class FailsOnce:
    """A socket whose next reading fails."""

    def __init__(self, socket: "zmq.Socket[bytes]", errno: int) -> None:
        self._socket = socket
        self._errors = [zmq.ZMQError(errno)]

    def recv(self, *args: Any, **kwargs: Any) -> Any:
        if self._errors:
            raise self._errors.pop()
        return self._socket.recv(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


@both_classes
def test_an_error_does_not_end_the_reading(bench: Bench, logged: list[Any], kind: Any, is_mended: bool) -> None:
    peer = bench.peer()
    got: list[Frames] = []
    connection = bench.connected(kind, lambda frames, _: got.append(frames))
    connection.socket = FailsOnce(connection.socket, zmq.EFAULT)
    peer.send(b"first")
    bench.reactor.turn()
    assert (connection in bench.reactor.readers) is is_mended
    assert any("Reading from a socket failed" in (event["log_format"] or "") for event in logged) is is_mended
    # It is tried again by itself, but not at once: what fails may go on failing.
    assert got == []
    bench.reactor.advance(RETRY_DELAY)
    assert (got == [[b"first"]]) is is_mended
    peer.send(b"second")
    bench.reactor.turn()
    assert (got == [[b"first"], [b"second"]]) is is_mended


@pytest.mark.parametrize("errno", [zmq.ETERM, zmq.ENOTSOCK])
def test_an_error_that_is_the_end_closes(bench: Bench, errno: int) -> None:
    peer = bench.peer()
    connection = Connection(bench.context, zmq.DEALER)
    connection.connect("inproc://peer")
    bench.reactor.turn()
    connection.socket = FailsOnce(connection.socket, errno)
    peer.send(b"x")
    bench.reactor.turn()
    assert connection.closed
    assert bench.reactor.readers == []
    assert bench.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("frames", [[b"one, without a topic"], [b"topic", b"text", b"more"], [b""] * 10])
def test_any_number_of_frames_is_passed_on(bench: Bench, frames: Frames) -> None:
    """TxZMQ's classes take messages apart and raise where they are not as expected; ours leaves that to the handler."""

    class Subscriber(ZmqSubConnection):  # type: ignore[misc]  # txZMQ has no types
        def gotMessage(self, text: bytes, topic: bytes) -> None:
            raise AssertionError("no such message is sent")

    plain = Subscriber(bench.context)
    with pytest.raises(TypeError):
        plain.messageReceived(frames)

    peer = bench.peer()
    got: list[Frames] = []
    connection = Connection(bench.context, zmq.DEALER, lambda frames, _: got.append(frames))
    connection.connect("inproc://peer")
    peer.send_multipart(frames)
    bench.reactor.turn()
    assert got == [frames]


@both_classes
def test_a_second_shutdown_does_nothing(bench: Bench, kind: Any, is_mended: bool) -> None:
    connection = kind(bench.context, zmq.DEALER, lambda *_: None)
    connection.shutdown()
    assert stops(connection.shutdown) is not is_mended
    assert bench.reactor.readers == []


@both_classes
def test_a_send_after_the_shutdown_fails_softly(bench: Bench, kind: Any, is_mended: bool) -> None:
    connection = kind(bench.context, zmq.DEALER, lambda *_: None)
    connection.shutdown()
    assert stops(lambda: connection.send([b"x"])) is not is_mended
    assert connection.read_scheduled is None


def test_such_a_send_says_so(bench: Bench) -> None:
    connection = Connection(bench.context, zmq.DEALER)
    connection.shutdown()
    assert connection.closed
    assert connection.send([b"x"]) is False
    connection.doRead()  # as a reactor may, that had it on its list already


@both_classes
def test_there_is_a_high_water_mark(bench: Bench, kind: Any, is_mended: bool) -> None:
    connection = kind(bench.context, zmq.DEALER, lambda *_: None)
    marks = {connection.socket.get(option) for option in (zmq.SNDHWM, zmq.RCVHWM)}
    assert (marks == {HIGH_WATER_MARK}) is is_mended
    assert (marks == {0}) is not is_mended  # none: queues grow until memory ends


@both_classes
def test_calls_are_scheduled_on_the_reactor_that_was_given(bench: Bench, kind: Any, is_mended: bool) -> None:
    bench.peer()
    connection = kind(bench.context, zmq.DEALER, lambda *_: None)
    connection.connect("inproc://peer")
    connection.send([b"x"])
    assert connection.read_scheduled is not None
    assert (connection.read_scheduled in bench.reactor.getDelayedCalls()) is is_mended


class Resting:
    """A connection that rests, and what it got."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.peer = bench.peer()
        self.got: list[Frames] = []
        self.connection = Connection(bench.context, zmq.DEALER, lambda frames, _: self.got.append(frames), rests=True)
        self.connection.connect("inproc://peer")
        bench.reactor.turn()

    def hear(self, *texts: bytes) -> int:
        """Let these come in and take a turn; how many were read in it."""
        before = len(self.got)
        for text in texts:
            self.peer.send(text)
        self.bench.reactor.turn()
        return len(self.got) - before


def test_what_comes_in_during_a_rest_is_read_together(bench: Bench) -> None:
    resting = Resting(bench)
    assert resting.hear(b"first") == 1
    assert bench.reactor.readers == []
    assert resting.hear(b"second") == 0
    assert resting.hear(b"third") == 0
    bench.reactor.advance(REST)
    assert resting.got == [[b"first"], [b"second"], [b"third"]]
    assert bench.reactor.readers == []
    # When nothing came in, the reactor tells of the next one, and no timer runs.
    bench.reactor.advance(REST)
    assert bench.reactor.readers == [resting.connection]
    assert bench.reactor.getDelayedCalls() == []
    assert resting.hear(b"fourth") == 1


def test_an_answer_is_not_waited_for(bench: Bench) -> None:
    resting = Resting(bench)
    resting.hear(b"first")
    assert resting.connection.send([b"question"])
    assert resting.hear(b"answer") == 1
    assert resting.hear(b"another") == 1
    bench.reactor.advance(PROMPT + REST)
    assert resting.hear(b"news") == 1
    assert resting.hear(b"more") == 0


def test_the_answers_of_many_are_read_together(bench: Bench) -> None:
    resting = Resting(bench)
    assert resting.connection.send([b"question"])
    assert resting.hear(*[b"answer"] * MANY) == MANY
    assert resting.hear(b"another") == 0
    bench.reactor.advance(REST)
    assert len(resting.got) == MANY + 1


def test_what_is_sent_while_reading_costs_no_further_reading(bench: Bench) -> None:
    peer = bench.peer()
    connection = bench.connected(Connection, lambda frames, _: connection.send(frames))
    peer.send(b"question")
    connection.doRead()
    assert peer.recv(zmq.NOBLOCK) == b"question"
    assert bench.reactor.getDelayedCalls() == []
    peer.send(b"another")
    bench.reactor.turn()
    assert peer.recv(zmq.NOBLOCK) == b"another"


def test_a_connection_that_rests_is_shut_down(bench: Bench) -> None:
    resting = Resting(bench)
    resting.hear(b"first")
    resting.connection.shutdown()
    bench.reactor.advance(REST)
    assert (bench.reactor.readers, bench.reactor.getDelayedCalls()) == ([], [])


def test_how_far_it_is_behind(bench: Bench) -> None:
    connection = Connection(bench.context, zmq.ROUTER, lambda *_: None)
    connection.bind("inproc://router")
    peers = [bench.dealer("inproc://router") for _ in range(2 * READ_BATCH + 1)]
    for peer in peers:
        peer.send(b"x")
    connection.doRead()
    bench.reactor.rightNow += 3.0  # it is busy with something else
    assert connection.behind() == 3.0
    connection.doRead()
    assert connection.behind() == 3.0
    connection.doRead()
    assert connection.behind() == 0.0


def test_one_that_sends_without_end_keeps_nobody_waiting(bench: Bench) -> None:
    got: list[Frames] = []
    connection = Connection(bench.context, zmq.ROUTER, lambda frames, _: got.append(frames))
    connection.bind("inproc://router")
    loud, quiet = (bench.dealer("inproc://router") for _ in range(2))
    for _ in range(3 * READ_BATCH):
        loud.send(b"x")
    connection.doRead()
    quiet.send(b"heartbeat")
    bench.reactor.rightNow += 3.0
    connection.doRead()
    assert b"heartbeat" in [frames[-1] for frames in got]
    assert connection.behind() == 0.0
