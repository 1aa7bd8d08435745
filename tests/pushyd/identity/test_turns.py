"""Turns: their order, their number, and whoever goes away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from pushyd.identity.turns import TooMany, Turns
from tests.pushyd.doubles import failure_of


def test_in_their_order() -> None:
    turns = Turns(2, waiting=10)
    taken = [turns.take() for _ in range(5)]
    assert [one.called for one in taken] == [True, True, False, False, False]
    turns.give_back()
    assert [one.called for one in taken] == [True, True, True, False, False]


def test_who_goes_away_gets_none() -> None:
    turns = Turns(1, waiting=10)
    _ = turns.take()
    gone, next_one = turns.take(), turns.take()
    gone.cancel()
    failure_of(gone, CancelledError)
    turns.give_back()
    assert next_one.called


def test_too_many() -> None:
    turns = Turns(1, waiting=1)
    _ = turns.take()
    _ = turns.take()
    with pytest.raises(TooMany):
        _ = turns.take()


def test_those_who_are_done_at_once_go_no_deeper() -> None:
    turns = Turns(1, waiting=100_000)
    _ = turns.take()
    done: list[None] = []

    def use(_: None) -> None:
        done.append(None)
        turns.give_back()

    for _ in range(10_000):
        _ = turns.take().addCallback(use)
    turns.give_back()
    assert len(done) == 10_000
    assert turns.take().called


@given(st.integers(1, 3), st.lists(st.sampled_from(["take", "give back", "cancel"])))
def test_never_more_at_a_time_than_there_are(count: int, steps: list[str]) -> None:
    turns = Turns(count, waiting=5)
    having: list[Deferred[None]] = []
    waiting: list[Deferred[None]] = []
    for step in steps:
        if step == "take" and len(waiting) < 5:
            waiting.append(turns.take())
        elif step == "give back" and having:
            _ = having.pop()
            turns.give_back()
        elif step == "cancel" and waiting:
            gone = waiting.pop()
            gone.cancel()
            failure_of(gone, CancelledError)
        having += [one for one in waiting if one.called]
        waiting = [one for one in waiting if not one.called]
        assert len(having) <= count
        assert len(having) == count or not waiting
