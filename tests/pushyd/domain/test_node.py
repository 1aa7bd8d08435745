"""Section 6 without its down rule: every presence with every event, and its effects in order."""

from collections.abc import Callable
from itertools import product

import pytest

from pushyd.domain.node import (
    Check,
    Heard,
    HeartbeatRule,
    Kind,
    Node,
    NodeEffect,
    NodeStep,
    Presence,
    RehabTimer,
    RehabWanted,
    step,
)

RULE = HeartbeatRule(interval=1.0, window=4, threshold=0.6)
OFFLINE, REHAB, IDLE = Presence.OFFLINE, Presence.REHAB, Presence.IDLE
ABORT, ACK, WENT_DOWN = NodeEffect.SEND_ABORT, NodeEffect.SEND_ACK, NodeEffect.WENT_DOWN
HEARTBEAT, ABORTED, OTHER = Kind.HEARTBEAT, Kind.ABORTED, Kind.OTHER
LONG_AFTER = 60.0


def heard(
    kind: Kind,
    *,
    now: float = 0.0,
    incarnation: str = "first",
    route: bytes = b"r1",
    unknown: bool = False,
    resumes: bool = False,
) -> Heard:
    return Heard(now, kind, incarnation, route, unknown, resumes)


def never_seen() -> Node:
    return Node(RULE)


def node_in(presence: Presence) -> Node:
    """A node that has come there by what it sent."""
    node = never_seen()
    if presence is not OFFLINE:
        step(node, heard(HEARTBEAT))
    if presence is IDLE:
        step(node, heard(ABORTED))
    return node


def gone() -> Node:
    """A node that was idle and fell silent."""
    node = node_in(IDLE)
    step(node, Check(LONG_AFTER))
    return node


def state(node: Node) -> tuple[Presence, str, bytes]:
    return node.presence, node.incarnation, node.route


def test_a_node_never_heard_of_is_offline() -> None:
    assert state(never_seen()) == (OFFLINE, "", b"")


each_message = pytest.mark.parametrize(
    ("kind", "incarnation", "route", "unknown"),
    list(product(Kind, ["first", "second"], [b"r1", b"r2"], [False, True])),
)


@each_message
@pytest.mark.parametrize("make", [never_seen, gone])
def test_offline(make: Callable[[], Node], kind: Kind, incarnation: str, route: bytes, unknown: bool) -> None:
    """The first valid message, whatever it is, leads to rehab."""
    node = make()
    assert step(node, heard(kind, now=LONG_AFTER, incarnation=incarnation, route=route, unknown=unknown)) == [ABORT]
    assert state(node) == (REHAB, incarnation, route)


@each_message
@pytest.mark.parametrize("presence", [REHAB, IDLE])
def test_the_agent_restarted(presence: Presence, kind: Kind, incarnation: str, route: bytes, unknown: bool) -> None:
    """Down at once, and back through rehab; the abort is the answer to a new route too."""
    node = node_in(presence)
    changed = incarnation + " changed"
    assert step(node, heard(kind, incarnation=changed, route=route, unknown=unknown)) == [WENT_DOWN, ABORT]
    assert state(node) == (REHAB, changed, route)


SAME, CHANGED = b"r1", b"r2"


@pytest.mark.parametrize(
    ("presence", "kind", "route", "unknown", "effects", "then"),
    [
        # While it is told to abort, only its `aborted` counts; the timer repeats the abort.
        (REHAB, HEARTBEAT, SAME, False, [], REHAB),
        (REHAB, HEARTBEAT, SAME, True, [], REHAB),
        (REHAB, OTHER, SAME, False, [], REHAB),
        (REHAB, OTHER, SAME, True, [], REHAB),
        (REHAB, ABORTED, SAME, False, [], IDLE),
        (REHAB, ABORTED, SAME, True, [], IDLE),
        # It reconnects: answered at once, once.
        (REHAB, HEARTBEAT, CHANGED, False, [ABORT], REHAB),
        (REHAB, HEARTBEAT, CHANGED, True, [ABORT], REHAB),
        (REHAB, OTHER, CHANGED, False, [ABORT], REHAB),
        (REHAB, OTHER, CHANGED, True, [ABORT], REHAB),
        (REHAB, ABORTED, CHANGED, False, [ACK], IDLE),
        (REHAB, ABORTED, CHANGED, True, [ACK], IDLE),
        # A job that is not live: rehab, but not for `aborted`.
        (IDLE, HEARTBEAT, SAME, False, [], IDLE),
        (IDLE, HEARTBEAT, SAME, True, [ABORT], REHAB),
        (IDLE, OTHER, SAME, False, [], IDLE),
        (IDLE, OTHER, SAME, True, [ABORT], REHAB),
        (IDLE, ABORTED, SAME, False, [], IDLE),
        (IDLE, ABORTED, SAME, True, [], IDLE),
        # It reconnects: its state stays, and it gets `ack`.
        (IDLE, HEARTBEAT, CHANGED, False, [ACK], IDLE),
        (IDLE, HEARTBEAT, CHANGED, True, [ACK, ABORT], REHAB),
        (IDLE, OTHER, CHANGED, False, [ACK], IDLE),
        (IDLE, OTHER, CHANGED, True, [ACK, ABORT], REHAB),
        (IDLE, ABORTED, CHANGED, False, [ACK], IDLE),
        (IDLE, ABORTED, CHANGED, True, [ACK], IDLE),
    ],
)
def test_a_message_of_a_known_agent(
    presence: Presence, kind: Kind, route: bytes, unknown: bool, effects: list[NodeEffect], then: Presence
) -> None:
    node = node_in(presence)
    assert step(node, heard(kind, route=route, unknown=unknown)) == effects
    assert state(node) == (then, "first", route)


# Section 8: who resumes names a job that waits for it, so its message is never about an unknown one.


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("incarnation", ["first", "second"])
@pytest.mark.parametrize("make", [never_seen, gone])
def test_who_was_offline_and_resumes_needs_no_rehab(make: Callable[[], Node], incarnation: str, kind: Kind) -> None:
    node = make()
    effects = step(node, heard(kind, now=LONG_AFTER, incarnation=incarnation, route=b"r2", resumes=True))
    assert effects == [ACK]
    assert state(node) == (IDLE, incarnation, b"r2")
    assert step(node, Check(LONG_AFTER + 1)) == []
    assert step(node, Check(LONG_AFTER + 8)) == [WENT_DOWN]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("presence", [REHAB, IDLE])
def test_an_agent_that_was_restarted_and_resumes_was_not_down(presence: Presence, kind: Kind) -> None:
    """It has the result of its job on its disk."""
    node = node_in(presence)
    assert step(node, heard(kind, incarnation="second", route=b"r2", resumes=True)) == [ACK]
    assert state(node) == (IDLE, "second", b"r2")


@pytest.mark.parametrize("route", [SAME, CHANGED])
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("presence", [REHAB, IDLE])
def test_to_resume_is_nothing_new_for_an_agent_that_is_there(presence: Presence, kind: Kind, route: bytes) -> None:
    """Who was told to abort, and answers with the job that it is to abort, has not answered."""
    resuming, plain = node_in(presence), node_in(presence)
    effects = step(resuming, heard(kind, route=route, resumes=True))
    assert effects == step(plain, heard(kind, route=route))
    assert state(resuming) == state(plain)


@pytest.mark.parametrize(
    ("presence", "event", "effects", "then"),
    [
        (OFFLINE, RehabWanted(), [], OFFLINE),
        (REHAB, RehabWanted(), [], REHAB),
        (IDLE, RehabWanted(), [ABORT], REHAB),
        (OFFLINE, RehabTimer(), [], OFFLINE),
        (REHAB, RehabTimer(), [ABORT], REHAB),
        (IDLE, RehabTimer(), [], IDLE),
        (OFFLINE, Check(0.5), [], OFFLINE),
        (REHAB, Check(0.5), [], REHAB),
        (IDLE, Check(0.5), [], IDLE),
        (OFFLINE, Check(LONG_AFTER), [], OFFLINE),
        (REHAB, Check(LONG_AFTER), [WENT_DOWN], OFFLINE),
        (IDLE, Check(LONG_AFTER), [WENT_DOWN], OFFLINE),
    ],
    ids=str,
)
def test_an_event_of_the_server(presence: Presence, event: NodeStep, effects: list[NodeEffect], then: Presence) -> None:
    node = node_in(presence)
    assert step(node, event) == effects
    assert node.presence is then


def test_the_way_back_from_a_silence() -> None:
    """Told once that it is down, and available again only after its `aborted`."""
    node = gone()
    told = [
        step(node, event)
        for event in (
            Check(LONG_AFTER + 4),
            RehabTimer(),
            heard(HEARTBEAT, now=LONG_AFTER + 5),
            RehabTimer(),
            RehabTimer(),
            heard(HEARTBEAT, now=LONG_AFTER + 6),
            Check(LONG_AFTER + 6.5),
            heard(ABORTED, now=LONG_AFTER + 6.6),
            RehabTimer(),
        )
    ]
    assert told == [[], [], [ABORT], [ABORT], [ABORT], [], [], [], []]
    assert node.presence is IDLE


@pytest.mark.parametrize("make", [never_seen, gone, lambda: node_in(REHAB), lambda: node_in(IDLE)])
@pytest.mark.parametrize(("incarnation", "route"), [*product(["first", "second"], [b"r1", b"r2"])])
@pytest.mark.parametrize("resumes", [False, True])
@pytest.mark.parametrize("kind", [HEARTBEAT, OTHER])
def test_of_a_node_that_is_known_so_a_message_tells_nothing_new(
    make: Callable[[], Node], incarnation: str, route: bytes, resumes: bool, kind: Kind
) -> None:
    quick, slow = make(), make()
    before = (slow.presence, slow.incarnation, slow.route)
    now = LONG_AFTER + 1
    effects = step(slow, heard(kind, now=now, incarnation=incarnation, route=route, resumes=resumes))
    nothing_new = not effects and (slow.presence, slow.incarnation, slow.route) == before
    assert quick.is_known_as(incarnation, route) is nothing_new
    if nothing_new:
        if kind is HEARTBEAT:
            quick.beat(now)
        for later in (now, now + 1, now + 2):
            assert quick.average(later) == slow.average(later)
    assert (quick.presence, quick.incarnation, quick.route) == before
