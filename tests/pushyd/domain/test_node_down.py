"""Section 6's down rule: the decayed average of heartbeats, when it takes a node down and when it must not."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushyd.domain.node import Check, Heard, HeartbeatRule, Kind, Node, NodeEffect, Presence, step
from tests.pushyd.domain.counting import instructions

RULE = HeartbeatRule(interval=1.0, window=4, threshold=0.6)
CHECK_INTERVAL = 4.0
DOWN_WITHIN = 8.0
PATIENCE = 40.0

unhurried = settings(deadline=None)

# Multiples of 2**-10, so that sums and differences are exact and a boundary is met where a test means to meet it.
SHARE = 1024


def times(low: float, high: float) -> st.SearchStrategy[float]:
    return st.integers(int(low * SHARE), int(high * SHARE)).map(lambda ticks: ticks / SHARE)


phases = times(0, 1 - 1 / SHARE)
check_phases = times(0, CHECK_INTERVAL - 1 / SHARE)


def heartbeat(now: float) -> Heard:
    return Heard(now, Kind.HEARTBEAT, "incarnation", b"route", False)


def node_heard_at(now: float, rule: HeartbeatRule = RULE, kind: Kind = Kind.HEARTBEAT) -> Node:
    node = Node(rule)
    step(node, Heard(now, kind, "incarnation", b"route", False))
    return node


def goes_down(node: Node, beats: Iterable[float], first_check: float, until: float) -> float | None:
    """When the checks, from `first_check` on, find `node` down; a check comes before a heartbeat of the same time."""
    checks = (first_check + CHECK_INTERVAL * i for i in range(int(until / CHECK_INTERVAL) + 1))
    happenings = sorted([(now, 0) for now in checks if now <= until] + [(now, 1) for now in beats])
    for now, is_beat in happenings:
        if NodeEffect.WENT_DOWN in step(node, heartbeat(now) if is_beat else Check(now)):
            return now
    return None


# It goes down


@unhurried
@given(phase=phases, beats=st.integers(0, 20), first_check=check_phases, first=st.sampled_from(Kind))
def test_a_silent_node_is_down_within_8_seconds(phase: float, beats: int, first_check: float, first: Kind) -> None:
    sent = [phase + i for i in range(beats)]
    node = node_heard_at(0.0, kind=first)
    down = goes_down(node, sent, first_check, PATIENCE)
    assert down is not None
    assert 0 < down - max(sent, default=0.0) <= DOWN_WITHIN
    assert node.presence is Presence.OFFLINE


@unhurried
@given(
    flood=st.lists(times(0, 10), max_size=200),
    times_each=st.integers(1, 50),
    first_check=check_phases,
)
def test_a_flood_of_heartbeats_does_not_delay_it(flood: list[float], times_each: int, first_check: float) -> None:
    regular = [float(i) for i in range(11)]
    down = goes_down(node_heard_at(0.0), regular + flood * times_each, first_check, PATIENCE)
    assert down is not None
    assert down == goes_down(node_heard_at(0.0), regular, first_check, PATIENCE)


# It stays up


@unhurried
@given(lost=st.integers(1, 20), first_check=check_phases)
def test_a_lost_heartbeat_takes_nobody_down(lost: int, first_check: float) -> None:
    sent = [float(i) for i in range(1, 30) if i != lost]
    assert goes_down(node_heard_at(0.0), sent, first_check, until=30.0) is None


@unhurried
@given(phase=phases, lost=st.integers(0, 20), first_check=check_phases, first=st.sampled_from(Kind))
def test_a_lost_heartbeat_in_any_phase_takes_nobody_down(
    phase: float, lost: int, first_check: float, first: Kind
) -> None:
    """The first message was not one of the regular heartbeats."""
    sent = [phase + i for i in range(30) if i != lost]
    assert goes_down(node_heard_at(0.0, kind=first), sent, first_check, until=30.0) is None


@unhurried
@given(phase=phases, which=st.integers(0, 20), off=times(-0.9, 0.9), first_check=check_phases)
def test_a_heartbeat_out_of_time_takes_nobody_down(phase: float, which: int, off: float, first_check: float) -> None:
    sent = [max(0.0, phase + i + (off if i == which else 0)) for i in range(30)]
    assert goes_down(node_heard_at(0.0), sent, first_check, until=30.0) is None


@unhurried
@given(jitter=st.lists(times(-0.9, 0.9), min_size=30, max_size=30), first_check=check_phases)
def test_jitter_against_the_first_heartbeat_takes_nobody_down(jitter: list[float], first_check: float) -> None:
    """Each heartbeat is early or late by up to 0.9 s of when the first one announced it."""
    sent = [i + off for i, off in enumerate(jitter, start=1)]
    assert goes_down(node_heard_at(0.0), sent, first_check, until=30.0) is None


@unhurried
@given(phase=phases, jitter=st.lists(times(-0.49, 0.49), min_size=31, max_size=31), first_check=check_phases)
def test_jitter_in_any_phase_takes_nobody_down(phase: float, jitter: list[float], first_check: float) -> None:
    """Below half an interval no two intervals in a row are empty, wherever the intervals begin."""
    sent = [max(0.0, phase + i + off) for i, off in enumerate(jitter)]
    assert goes_down(node_heard_at(0.0), sent, first_check, until=30.0) is None


def test_two_empty_intervals_are_where_it_falls_below() -> None:
    node = node_heard_at(0.0)
    assert [node.average(now) for now in (0.0, 1.0, 2.0, 3.0, 4.0)] == [1.0, 1.0, 0.75, 0.75**2, 0.75**3]
    assert step(node_heard_at(0.0), Check(2.999)) == []
    assert step(node_heard_at(0.0), Check(3.0)) == [NodeEffect.WENT_DOWN]


def test_it_must_fall_below_the_threshold() -> None:
    at_two_empty = HeartbeatRule(interval=1.0, window=4, threshold=0.75**2)
    assert step(node_heard_at(0.0, at_two_empty), Check(3.999)) == []
    assert step(node_heard_at(0.0, at_two_empty), Check(4.0)) == [NodeEffect.WENT_DOWN]


@pytest.mark.parametrize("kind", [Kind.OTHER, Kind.ABORTED])
def test_only_heartbeats_count(kind: Kind) -> None:
    node = node_heard_at(0.0)
    for now in (1.0, 2.0):
        step(node, Heard(now, kind, "incarnation", b"route", False))
    assert step(node, Check(3.0)) == [NodeEffect.WENT_DOWN]


@pytest.mark.parametrize("incarnation", ["incarnation", "another"])
def test_who_returns_begins_anew(incarnation: str) -> None:
    """After a silence or a restart the average is that of a healthy node, and its intervals begin with the message."""
    node = node_heard_at(0.0)
    if incarnation == "incarnation":
        step(node, Check(10.0))
    step(node, Heard(10.5, Kind.HEARTBEAT, incarnation, b"route", False))
    assert [node.average(now) for now in (10.5, 11.49, 11.5, 12.5, 13.5)] == [1.0, 1.0, 1.0, 0.75, 0.75**2]


# It is what a server would find that ticks


class Ticking:
    """The rule as it reads: at the end of every interval the heartbeats in it are folded into the average."""

    def __init__(self, rule: HeartbeatRule, now: float) -> None:
        self.rule, self.average, self.beats, self.tick = rule, 1.0, 1, now + rule.interval

    def pass_to(self, now: float) -> None:
        while self.tick <= now:
            window = self.rule.window
            self.average = min(1.0, (self.average * (window - 1) + self.beats) / window)
            self.beats = 0
            self.tick += self.rule.interval


rules = st.builds(
    HeartbeatRule,
    interval=times(1 / SHARE, 4),
    window=st.integers(1, 10),
    threshold=st.just(0.6),
)


@unhurried
@given(
    rule=rules,
    start=times(0, 1000),
    happenings=st.lists(st.tuples(times(0, 5), st.booleans()), max_size=40),
)
def test_agrees_with_a_clock_that_ticks(
    rule: HeartbeatRule, start: float, happenings: list[tuple[float, bool]]
) -> None:
    """Also shows that asking for the average in between changes nothing; `happenings` are waits, in intervals."""
    node, ticking, now = node_heard_at(start, rule), Ticking(rule, start), start
    for wait, beats in happenings:
        now += wait * rule.interval
        ticking.pass_to(now)
        if beats:
            ticking.beats += 1
            node.beat(now)
        else:
            assert node.average(now) == pytest.approx(ticking.average, abs=1e-9)
            assert 0 <= node.average(now) <= 1


def test_a_long_silence_costs_what_a_short_one_does() -> None:
    short, long = node_heard_at(0.0), node_heard_at(0.0)
    assert instructions(lambda: short.average(10.0)) == instructions(lambda: long.average(1e15))
    assert long.average(1e15) == 0.0
    for now in (1e15, 1e15 + 1, 1e15 + 2):
        long.beat(now)
    assert long.average(1e15 + 3) == pytest.approx(1 - 0.75**3)
