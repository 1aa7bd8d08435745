"""Section 7 of protocol.md while a job is voting: every cell of its table with real messages, and the quorum.

A cell has two nodes: the *subject* is brought into a state and then meets an event; the *holder* keeps the job in
voting until it refuses at the end. The whole feed is compared, so that an event too many is as wrong as a missing one.
"""

from collections.abc import Callable, Mapping

import pytest

from tests.integration.push_client_2x import PushClient
from tests.integration.wire_2x import (
    AVAILABLE,
    IN_REHAB,
    QUORUM_SUCCEEDED,
    UNKNOWN_JOB,
    Told,
    Wire,
    by_status,
    job_complete,
    rehab,
    run_complete,
    run_start,
    start,
    told,
    vote,
)

SETTINGS: Mapping[str, object] = {}

# What the subject says before the event, and the votes (None: a rehab) that this gives.
BEFORE: Mapping[str, tuple[tuple[str, ...], tuple[str | None, ...]]] = {
    "new": ((), ()),
    "ready": (("ack_commit",), ("success",)),
    "nacked": (("nack_commit",), ("failure",)),
    "unavailable": (("ack_run",), (None,)),
}
EVENTS = ("ack_commit", "nack_commit", "down", "ack_run", "nack_run", "succeeded", "failed", "aborted")
ELSE = ("ack_run", "nack_run", "succeeded", "failed", "aborted")

# (state, event) -> the state after it, and the votes (None: a rehab) that it gives.
TABLE: Mapping[tuple[str, str], tuple[str, tuple[str | None, ...]]] = {
    ("new", "ack_commit"): ("ready", ("success",)),
    ("new", "nack_commit"): ("nacked", ("failure",)),
    ("new", "down"): ("unavailable", ("down", None)),
    ("ready", "ack_commit"): ("ready", ("unexpected_commit",)),
    ("ready", "nack_commit"): ("unavailable", (None, "lost_availibility")),
    ("ready", "down"): ("unavailable", ("down", None)),
    **{(state, event): ("unavailable", (None,)) for state in ("new", "ready") for event in ELSE},
    **{
        (state, event): (state, (None, "client_died_while_voting"))
        for state in ("nacked", "unavailable")
        for event in ("ack_commit", "nack_commit")
    },
    **{(state, event): (state, (None,)) for state in ("nacked", "unavailable") for event in ("down", *ELSE)},
    # `aborted` never causes a rehab, and a terminal node does not change.
    **{(state, "aborted"): (state, ()) for state in ("nacked", "unavailable")},
}
assert set(TABLE) == {(state, event) for state in BEFORE for event in EVENTS}


def votes(node: PushClient, given: tuple[str | None, ...]) -> list[Told]:
    return [vote(node, each) if each else rehab(node) for each in given]


@pytest.mark.parametrize(("state", "event"), TABLE, ids=[f"{state}-{event}" for state, event in TABLE])
def test_a_cell_of_the_table_of_voting(wire: Wire, state: str, event: str) -> None:
    subject, holder = wire.joined(), wire.joined()
    job = wire.start_job([subject, holder])
    assert subject.expect("commit")["job_id"] == job.id
    holder.expect("commit")
    said, given = BEFORE[state]
    for kind in said:
        subject.say(kind, job.id)
    job.tells([start(2, 2), *votes(subject, given)])
    if state == "unavailable":
        subject.expect("abort")

    after, emitted = TABLE[state, event]
    if event == "down":
        subject.restart()
        subject.heartbeat()
    else:
        subject.say(event, job.id)
    if not emitted:
        # Nothing can be waited for, so the next message of the same node tells when this one is through.
        wire.wait_for_state(subject, AVAILABLE)
        subject.expect_nothing()
        subject.say("ack_commit", job.id)
        emitted = TABLE[state, "ack_commit"][1]
    job.tells(votes(subject, emitted))
    if None in emitted:
        if state != "unavailable":  # which is in rehab already, and hears of it by and by
            subject.expect("abort")
        assert wire.knife.node_state(subject.name) == IN_REHAB
    else:
        subject.expect_nothing()
    assert wire.outcome(job)[0] == "voting"

    holder.say("nack_commit", job.id)
    assert told(job.feed.rest()) == [vote(holder, "failure"), job_complete("quorum_failed")]
    ended = "was_ready" if after == "ready" else after
    assert wire.outcome(job) == ("quorum_failed", by_status({subject: ended, holder: "nacked"}))
    if ended == "was_ready":
        subject.expect("abort")
    holder.expect_nothing()
    assert wire.knife.node_state(holder.name) == AVAILABLE


def test_a_node_that_never_came_is_down_at_once(wire: Wire) -> None:
    absent, there = wire.node(), wire.joined()
    job = wire.start_job([absent, there], quorum=1)
    there.expect("commit")
    job.tells([start(2, 1), vote(absent, "down"), rehab(absent)])
    there.say("nack_commit", job.id)
    assert told(job.feed.rest()) == [vote(there, "failure"), job_complete("quorum_failed")]
    assert wire.outcome(job) == ("quorum_failed", {"nacked": [there.name], "unavailable": [absent.name]})


def test_a_node_of_no_client_is_unavailable(wire: Wire) -> None:
    job = wire.start_job(["nobody-knows-me"])
    gone: list[Told] = [
        ("quorum_vote", {"node": "nobody-knows-me", "status": "down"}),
        ("rehab", {"node": "nobody-knows-me"}),
    ]
    assert told(job.feed.rest()) == [start(1, 1), *gone, job_complete("quorum_failed")]
    assert wire.outcome(job) == ("quorum_failed", {"unavailable": ["nobody-knows-me"]})


def test_a_node_in_rehab_is_unavailable_and_gets_no_commit(wire: Wire) -> None:
    node = wire.node()
    node.connect()
    node.beat()
    node.heartbeat()
    node.expect("abort")
    job = wire.start_job([node])
    events = [start(1, 1), vote(node, "down"), rehab(node), job_complete("quorum_failed")]
    assert told(job.feed.rest()) == events
    node.expect("abort")
    node.say("aborted")
    wire.wait_for_state(node, AVAILABLE)
    node.expect_nothing()


@pytest.mark.parametrize(
    ("acks", "quorum", "succeeds"),
    [
        (3, None, True),
        (2, None, False),
        (2, 2, True),
        (1, 2, False),
        (2, 1.5, True),
        (1, 1.5, False),
        (1, 0.5, True),
        (3, 3, True),
        (3, 4, False),
    ],
)
def test_the_quorum_decides(wire: Wire, acks: int, quorum: float | None, succeeds: bool) -> None:
    nodes = [wire.joined() for _ in range(3)]
    job = wire.start_job(nodes, **({} if quorum is None else {"quorum": quorum}))
    expected = [start(3, 3 if quorum is None else quorum)]
    for number, node in enumerate(nodes):
        node.expect("commit")
        does = number < acks
        node.say("ack_commit" if does else "nack_commit", job.id)
        expected.append(vote(node, "success" if does else "failure"))
        job.tells(expected[-1:] if number else expected)
    ready = nodes[:acks]
    if succeeds:
        job.tells([QUORUM_SUCCEEDED])
        for node in ready:
            assert node.expect("run")["job_id"] == job.id
            node.say("ack_run", job.id)
            node.say("succeeded", job.id)
            job.tells([run_start(node), run_complete(node, "success")])
    status, ended = ("complete", "succeeded") if succeeds else ("quorum_failed", "was_ready")
    assert told(job.feed.rest()) == [job_complete(status)]
    assert wire.outcome(job) == (status, by_status({node: ended if node in ready else "nacked" for node in nodes}))
    for node in ready:
        if not succeeds:
            node.expect("abort")


def test_a_quorum_of_none_is_reached_by_none(wire: Wire) -> None:
    node = wire.joined()
    job = wire.start_job([node], quorum=0)
    node.expect("commit")
    node.say("nack_commit", job.id)
    expected = [start(1, 0), vote(node, "failure"), QUORUM_SUCCEEDED, job_complete("complete")]
    assert told(job.feed.rest()) == expected
    assert wire.outcome(job) == ("complete", {"nacked": [node.name]})


def test_a_name_that_is_given_twice_counts_once(wire: Wire) -> None:
    node = wire.joined()
    job = wire.start_job([node, node])
    job.tells([start(1, 1)])
    node.expect("commit")
    node.expect_nothing()
    node.say("nack_commit", job.id)
    job.feed.rest()
    assert wire.outcome(job) == ("quorum_failed", {"nacked": [node.name]})


OTHERS: Mapping[str, Callable[[PushClient, str], None]] = {
    "ack_commit": lambda node, job: node.say("ack_commit", job),
    "heartbeat": lambda node, job: node.heartbeat("running", job),
}


@pytest.mark.parametrize("message", OTHERS)
def test_a_node_has_no_say_in_a_job_that_is_not_its_own(wire: Wire, message: str) -> None:
    member, stranger = wire.joined(), wire.joined()
    job = wire.start_job([member])
    member.expect("commit")
    OTHERS[message](stranger, job.id)
    # Whichever of the two is answered, the first is through then.
    stranger.heartbeat("running", UNKNOWN_JOB)
    stranger.expect("abort")
    member.say("nack_commit", job.id)
    assert told(job.feed.rest()) == [start(1, 1), vote(member, "failure"), job_complete("quorum_failed")]
    assert wire.outcome(job) == ("quorum_failed", {"nacked": [member.name]})
