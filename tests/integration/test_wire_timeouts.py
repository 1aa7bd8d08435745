"""The timeouts of section 7 of protocol.md, and what a message is worth after the end of its job."""

import pytest

from tests.integration.wire_2x import (
    AVAILABLE,
    IN_REHAB,
    QUORUM_SUCCEEDED,
    Wire,
    by_status,
    job_complete,
    run_complete,
    run_start,
    start,
    told,
    vote,
)

SETTINGS = {"voting_timeout": 1}


def test_who_does_not_vote_in_time_is_unavailable(wire: Wire) -> None:
    """As a 2.x client whose whitelist entry says ``lock: true``: it never answers, but it beats."""
    locked, ready = wire.joined(), wire.joined()
    job = wire.start_job([locked, ready], quorum=1)
    locked.expect("commit")
    ready.expect("commit")
    ready.say("ack_commit", job.id)
    job.tells([start(2, 1), vote(ready, "success"), vote(locked, "voting_timeout"), QUORUM_SUCCEEDED])
    locked.expect("abort")
    assert wire.knife.node_state(locked.name) == IN_REHAB
    ready.expect("run")
    ready.say("ack_run", job.id)
    ready.say("succeeded", job.id)
    expected = [run_start(ready), run_complete(ready, "success"), job_complete("complete")]
    assert told(job.feed.rest()) == expected
    assert wire.outcome(job) == ("complete", by_status({locked: "unavailable", ready: "succeeded"}))
    locked.say("aborted")
    wire.wait_for_state(locked, AVAILABLE)


def test_a_quorum_that_is_missed_by_the_timeout(wire: Wire) -> None:
    ready, silent, other = wire.joined(), wire.joined(), wire.joined()
    job = wire.start_job([ready, silent, other], quorum=2)
    ready.expect("commit")
    ready.say("ack_commit", job.id)
    job.tells([start(3, 2), vote(ready, "success")])
    *votes, end = told(job.feed.rest())
    assert sorted(votes, key=str) == sorted([vote(silent, "voting_timeout"), vote(other, "voting_timeout")], key=str)
    assert end == job_complete("quorum_failed")
    statuses = {ready: "was_ready", silent: "unavailable", other: "unavailable"}
    assert wire.outcome(job) == ("quorum_failed", by_status(statuses))
    ready.expect("abort")
    for node in (silent, other):
        node.expect("commit")
        node.expect("abort")


def test_who_is_not_through_in_time_is_timed_out(wire: Wire) -> None:
    ready, running, done = wire.joined(), wire.joined(), wire.joined()
    job = wire.start_job([ready, running, done], run_timeout=1)
    for node in (ready, running, done):
        node.expect("commit")
        node.say("ack_commit", job.id)
    job.feed.until("quorum_succeeded")
    for node in (ready, running, done):
        node.expect("run")
    running.say("ack_run", job.id)
    job.tells([run_start(running)])
    done.say("ack_run", job.id)
    done.say("failed", job.id)
    expected = [run_start(done), run_complete(done, "failure"), job_complete("timed_out")]
    assert told(job.feed.rest()) == expected
    assert wire.outcome(job) == ("timed_out", by_status({ready: "timed_out", running: "timed_out", done: "failed"}))
    for node in (ready, running):
        node.expect("abort")
        assert wire.knife.node_state(node.name) == IN_REHAB
    done.expect_nothing()
    assert wire.knife.node_state(done.name) == AVAILABLE


@pytest.mark.parametrize("kind", ["ack_commit", "nack_commit", "ack_run", "nack_run", "succeeded", "failed"])
def test_a_message_for_a_job_that_has_ended_leads_to_rehab(wire: Wire, kind: str) -> None:
    node = wire.joined()
    job = wire.start_job([node])
    node.expect("commit")
    node.say("nack_commit", job.id)
    job.feed.rest()
    node.say(kind, job.id)
    wire.recover(node)
    assert wire.outcome(job) == ("quorum_failed", {"nacked": [node.name]})
