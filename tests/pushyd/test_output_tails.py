"""The newest output of followed jobs: it says what the store would say, or that the store has to be asked."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from pushyd import output_tails
from pushyd.output_tails import EVENTS_AT_ONCE, TAIL_BYTES, TAILS, OutputTails
from pushyd.store.output_interface import OutputEvent

JOB = "a" * 32


def event(at: int, data: bytes = b"x") -> OutputEvent:
    return OutputEvent(node="n", channel="stdout", offset=0, at=at, data=data)


def times(events: Any) -> list[int] | None:
    return None if events is None else [each.at for each in events]


class Against(RuleBasedStateMachine):
    """A store that has everything, beside the tail of one job."""

    def __init__(self) -> None:
        super().__init__()
        self.tails = OutputTails()
        self.stored: list[OutputEvent] = []
        self.clock = 0
        self.asked: tuple[int, int] | None = None

    @rule(size=st.sampled_from([1, 100, TAIL_BYTES // 3]), count=st.integers(1, 4))
    def store(self, size: int, count: int) -> None:
        new = [event(self.clock + number, bytes(size)) for number in range(1, count + 1)]
        self.clock += count
        self.stored += new
        self.tails.add(JOB, reversed(new))  # sorted within

    @rule()
    def store_what_is_not_here(self) -> None:
        self.clock += 1
        self.tails.skip(JOB, self.clock)
        self.stored.append(event(self.clock))

    @rule(after=st.integers(0, 200))
    def ask_the_store(self, after: int) -> None:
        self.clock += 1
        since = self.tails.follow(JOB, self.clock, 0.0)
        if not [each for each in self.stored if each.at > after] and after <= self.clock:
            self.asked = after, since

    @rule()
    def hear_that_there_was_nothing(self) -> None:
        if self.asked and not [each for each in self.stored if self.asked[0] < each.at <= self.asked[1]]:
            self.tails.none_between(JOB, *self.asked)
        self.asked = None

    @rule(after=st.integers(0, 200), limit=st.sampled_from([1, 150, 2**20]))
    def read(self, after: int, limit: int) -> None:
        found = self.tails.read(JOB, after, limit, 0.0)
        if found is not None:
            later = [each for each in self.stored if each.at > after]
            assert list(found) == later[: len(found)]
            assert len(found) == len(later) or sum(len(each.data) for each in found) >= limit

    @rule()
    def forget(self) -> None:
        self.tails.forget_before(1.0)


TestAgainst = Against.TestCase
TestAgainst.settings = settings(max_examples=100, stateful_step_count=30)


def test_it_is_bounded() -> None:
    tails = OutputTails()
    for number in range(TAILS + 1):
        tails.follow(str(number), 0, 0.0)
    assert tails.followed(map(str, range(TAILS + 1))) == [str(number) for number in range(1, TAILS + 1)]
    for at in range(1, 100):
        tails.add("1", [event(at, bytes(TAIL_BYTES // 8))])
    assert times(tails.read("1", 1, 2**40, 0.0)) is None
    newest = times(tails.read("1", 92, 2**40, 0.0))
    assert newest == list(range(93, 100))


def test_so_many_are_read_at_once() -> None:
    tails = OutputTails()
    tails.follow(JOB, 0, 0.0)
    tails.add(JOB, map(event, range(1, 2 * EVENTS_AT_ONCE)))
    assert times(tails.read(JOB, 7, 2**40, 0.0)) == list(range(8, 8 + EVENTS_AT_ONCE))
    assert times(tails.read(JOB, 7, 3, 0.0)) == [8, 9, 10]


def test_what_nobody_reads_is_forgotten() -> None:
    tails = OutputTails()
    tails.follow("a", 0, 1.0)
    tails.follow("b", 0, 1.0)
    assert times(tails.read("b", 0, 1, 5.0)) == []
    tails.forget_before(5.0)
    assert tails.followed(["a", "b"]) == ["b"]
    assert output_tails.TAILS > 1
