"""What of an output is sent when: against a server and a link that lose, double and delay whatever they may."""

from collections import deque

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pushy_agent.stream import CHANNELS, PACE, PATIENCE, Flow, Piece, Window
from pushy_protocol.messages import CHUNK_BYTES, Channel

KIB = 1024


def sized(*ends: int, pace: float = 0.0, finished: bool = True) -> Flow:
    flow = Flow(pace=pace)
    flow.extend(dict(zip(CHANNELS, ends, strict=False)))
    flow.window.size = 2 * CHUNK_BYTES
    if finished:
        flow.finish()
    return flow


def take_all(flow: Flow, now: float = 0.0) -> list[Piece]:
    pieces = []
    while piece := flow.take(now):
        pieces.append(piece)
    return pieces


class Lossy(RuleBasedStateMachine):
    """A flow, a link and a server that stores what goes on from where it is, as the protocol says."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = Flow(pace=PACE)
        self.now = 0.0
        self.ends: dict[Channel, int] = dict.fromkeys(CHANNELS, 0)
        self.server: dict[Channel, int] = dict.fromkeys(CHANNELS, 0)
        self.way: deque[Piece] = deque()
        self.acks: deque[dict[Channel, int]] = deque()
        self.finished = False

    @precondition(lambda self: not self.finished)
    @rule(channel=st.sampled_from(CHANNELS), size=st.integers(1, 100 * KIB))
    def grow(self, channel: Channel, size: int) -> None:
        self.ends[channel] += size
        self.flow.extend({channel: self.ends[channel]})

    @rule()
    def finish(self) -> None:
        self.finished = True
        self.flow.finish()

    @rule(times=st.integers(1, 5))
    def send(self, times: int) -> None:
        for _ in range(times):
            piece = self.flow.take(self.now)
            if piece is not None:
                assert 0 < piece.size <= CHUNK_BYTES
                assert piece.offset + piece.size <= self.ends[piece.channel]
                self.way.append(piece)

    @rule(times=st.integers(1, 10))
    def arrive(self, times: int) -> None:
        for _ in range(min(times, len(self.way))):
            piece = self.way.popleft()
            stored = self.server[piece.channel]
            if piece.offset <= stored:
                self.server[piece.channel] = max(stored, piece.offset + piece.size)
            self.acks.append(dict(self.server))

    @rule(times=st.integers(1, 10))
    def acknowledge(self, times: int) -> None:
        for _ in range(min(times, len(self.acks))):
            self.flow.stored(self.acks.popleft(), self.now)

    @rule()
    def lose_pieces(self) -> None:
        self.way.clear()

    @rule()
    def lose_acks(self) -> None:
        self.acks.clear()

    @rule()
    def reconnect(self) -> None:
        self.way.clear()
        self.acks.clear()
        self.flow.restart(self.now)

    @rule(seconds=st.floats(0.01, 2 * PATIENCE))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.flow.check(self.now)

    @invariant()
    def no_more_is_on_its_way_than_the_window_allowed(self) -> None:
        assert self.flow.on_way <= Window.LARGEST
        assert Window.SMALLEST <= self.flow.window.size <= Window.LARGEST

    @invariant()
    def is_complete_when_the_server_has_all(self) -> None:
        if self.flow.is_complete:
            assert self.finished
            assert self.server == self.ends

    def teardown(self) -> None:
        """However it went: once the link is good again, all of it gets there."""
        self.finish()
        for _ in range(10_000):
            if self.flow.is_complete:
                break
            self.send(5)
            self.arrive(5)
            self.acknowledge(5)
            self.wait(0.2)
        assert self.flow.is_complete
        assert self.server == self.ends


TestLossy = Lossy.TestCase


def test_pieces_are_full_or_paced() -> None:
    flow = sized(10, finished=False, pace=0.1)
    assert take_all(flow, 5.0) == [Piece("stdout", 0, 10)]
    flow.stored({"stdout": 10}, 5.01)
    flow.extend({"stdout": 20})
    assert take_all(flow, 5.05) == []
    assert flow.due(5.05) == 5.1 - 5.05
    flow.extend({"stdout": 10 + CHUNK_BYTES})
    assert take_all(flow, 5.05) == [Piece("stdout", 10, CHUNK_BYTES)]
    assert flow.due(5.05) is None
    flow.stored({"stdout": 10 + CHUNK_BYTES}, 5.06)
    flow.extend({"stdout": 20 + CHUNK_BYTES})
    assert take_all(flow, 5.1) == [Piece("stdout", 10 + CHUNK_BYTES, 10)]
    flow.extend({"stdout": 30 + CHUNK_BYTES})
    flow.finish()
    assert take_all(flow, 5.1) == [Piece("stdout", 20 + CHUNK_BYTES, 10)]


def test_what_is_not_full_waits_until_what_was_sent_before_is_stored() -> None:
    flow = sized(10, finished=False, pace=0.1)
    assert take_all(flow, 1.0) == [Piece("stdout", 0, 10)]
    for now in (1.1, 1.2, 1.3):
        flow.extend({"stdout": round(now * 100)})
        assert take_all(flow, now) == []
    assert flow.due(1.3) is None
    # The other channel does not wait for it, nor does a full piece.
    flow.extend({"stderr": 7})
    assert take_all(flow, 1.3) == [Piece("stderr", 0, 7)]
    flow.stored({"stdout": 10}, 1.4)
    assert take_all(flow, 1.4) == [Piece("stdout", 10, 120)]
    flow.extend({"stdout": 130 + CHUNK_BYTES})
    assert take_all(flow, 1.4) == [Piece("stdout", 130, CHUNK_BYTES)]


def test_a_quiet_channel_does_not_wait_for_a_loud_one() -> None:
    flow = sized(10 * CHUNK_BYTES, finished=False)
    assert [piece.channel for piece in take_all(flow)] == ["stdout", "stdout"]
    flow.extend({"stderr": 100})
    flow.stored({"stdout": CHUNK_BYTES}, 1.0)
    assert [piece.channel for piece in take_all(flow)] == ["stderr"]


def test_a_hole_is_believed_and_no_answer_to_what_was_sent_twice() -> None:
    flow = sized(10 * CHUNK_BYTES)
    assert [piece.offset for piece in take_all(flow)] == [0, CHUNK_BYTES]
    flow.stored({"stdout": 0}, 0.1)
    assert [piece.offset for piece in take_all(flow)] == [0]
    flow.stored({"stdout": 0}, 0.2)
    assert take_all(flow) == []
    flow.stored({"stdout": 2 * CHUNK_BYTES}, 0.3)
    assert flow.take(0.3) == Piece("stdout", 2 * CHUNK_BYTES, CHUNK_BYTES)
    flow.stored({"stdout": 2 * CHUNK_BYTES}, 0.4)
    assert flow.take(0.4) == Piece("stdout", 3 * CHUNK_BYTES, CHUNK_BYTES)
    flow.stored({"stdout": 2 * CHUNK_BYTES + 1}, 0.5)
    # What was stored by now was never sent twice: this is a hole again.
    flow.stored({"stdout": 2 * CHUNK_BYTES + 1}, 0.6)
    assert flow.take(0.6) == Piece("stdout", 2 * CHUNK_BYTES + 1, flow.window.size)
    flow.stored({"stdout": 2 * CHUNK_BYTES + 1}, 0.7)
    assert flow.take(0.7) is None
    # Nor is it believed for ever that this is such an answer.
    flow.stored({"stdout": 2 * CHUNK_BYTES + 1}, 5.0)
    assert flow.take(5.0) == Piece("stdout", 2 * CHUNK_BYTES + 1, flow.window.size)


def test_an_acknowledgement_of_one_channel_says_nothing_of_the_other() -> None:
    flow = sized(100, 100)
    take_all(flow)
    flow.stored({"stderr": 100}, 0.1)
    assert flow.on_way == 100
    flow.stored({"stdout": 100}, 0.2)
    assert flow.is_complete


def test_more_than_was_sent_is_taken_as_sent_and_more_than_there_is_as_all() -> None:
    flow = sized(100)
    flow.stored({"stdout": 60}, 0.0)
    assert take_all(flow) == [Piece("stdout", 60, 40)]
    flow.stored({"stdout": 2**63 - 1, "stderr": 7}, 0.0)
    assert flow.is_complete


def test_a_server_that_lost_something_gets_it_again() -> None:
    flow = sized(100, finished=False)
    take_all(flow)
    flow.stored({"stdout": 100}, 0.0)
    flow.stored({"stdout": 30}, 1.0)
    assert take_all(flow, 1.0) == [Piece("stdout", 30, 70)]


def test_patience_grows_until_something_is_stored() -> None:
    flow = sized(2 * CHUNK_BYTES)
    now = 0.0
    times: list[float] = []
    while len(times) < 6:
        for _ in take_all(flow, now):
            pass
        turn = flow.turn
        while flow.turn == turn:
            now += 0.5
            flow.check(now)
        times.append(now)
    assert [round(later - sooner) for sooner, later in zip([0.0, *times], times, strict=False)] == [
        5,
        10,
        20,
        40,
        60,
        60,
    ]
    flow.stored({"stdout": 10}, now)
    take_all(flow, now)
    flow.check(now + PATIENCE)
    assert flow.on_way == 0


@define
class Link:
    """Carries so many bytes a second, in order, and says when each piece is there."""

    rate: float
    free: float = 0.0
    way: "deque[tuple[float, Piece]]" = field(factory=deque)

    def send(self, piece: Piece, now: float) -> None:
        self.free = max(self.free, now) + piece.size / self.rate
        self.way.append((self.free, piece))

    def queue(self, now: float) -> float:
        return max(0.0, self.free - now)


@given(rate=st.sampled_from([4 * KIB, 20 * KIB, 100 * KIB, KIB * KIB, 100 * KIB * KIB]), before=st.booleans())
def test_a_heartbeat_never_waits_for_long_behind_an_output(rate: int, before: bool) -> None:
    flow = sized(64 * KIB * KIB)
    if before:
        flow.window.size = Window.LARGEST // 2
    link, now, longest, stored = Link(rate=rate), 0.0, [], 0
    while now < 120 and not flow.is_complete:
        while piece := flow.take(now):
            link.send(piece, now)
        longest.append(link.queue(now))
        now += 0.1
        arrived = False
        while link.way and link.way[0][0] <= now:
            piece, arrived = link.way.popleft()[1], True
            stored = max(stored, piece.offset + piece.size) if piece.offset <= stored else stored
        if arrived:
            flow.stored({"stdout": stored}, now)
        flow.check(now)
    # Once it has seen how slow the link is.
    assert max(longest[len(longest) // 2 :]) <= 5.0
    # And it uses what the link has, up to what the window allows at ten acknowledgements a second.
    assert stored >= 0.5 * min(120 * min(rate, Window.LARGEST * 10), 64 * KIB * KIB)
