"""Section 6 of protocol.md: a node as the server sees it, from its first message on; its connections and its keys."""

import time
from pathlib import Path

import pytest
import zmq

from tests.integration.conftest import NewFleet
from tests.integration.push_channel_2x import is_admitted
from tests.integration.wire_2x import (
    AVAILABLE,
    IN_REHAB,
    OFFLINE,
    UNKNOWN_JOB,
    Wire,
    job_complete,
    rehab,
    run_complete,
    run_start,
    serving,
    start,
    told,
    vote,
)

DETECT_SECONDS = 1
SETTINGS = {
    "heartbeat_interval": 200,
    "detect_offline_nodes_interval": DETECT_SECONDS,
    "rehab_timer": 200,
}


# The way of a node.


def test_a_node_is_available_only_after_its_rehab(wire: Wire) -> None:
    node = wire.node()
    assert wire.knife.node_state(node.name) == OFFLINE
    node.connect()
    node.beat()
    node.heartbeat()
    node.expect("abort")
    assert wire.knife.node_state(node.name) == IN_REHAB
    node.say("aborted")
    wire.wait_for_state(node, AVAILABLE)
    job = wire.running(node)
    assert wire.knife.node_state(node.name)[0] == "online"
    node.say("ack_run", job.id)
    node.say("succeeded", job.id)
    job.feed.rest()
    assert wire.knife.node_state(node.name) == AVAILABLE
    node.close()
    wire.wait_for_state(node, OFFLINE)


def test_the_state_of_a_node_that_nobody_knows(wire: Wire) -> None:
    assert wire.knife.node_state("nobody-knows-me") == OFFLINE


def test_all_nodes_are_listed(wire: Wire) -> None:
    here, away = wire.joined(), wire.joined()
    away.close()
    wire.wait_for_state(away, OFFLINE)
    listed = {
        each["node_name"]: (each["status"], each["availability"]) for each in wire.knife.get("/pushy/node_states")
    }
    assert listed[here.name] == AVAILABLE
    assert listed.get(away.name, OFFLINE) == OFFLINE


def test_the_abort_is_repeated_until_it_is_answered(wire: Wire) -> None:
    node = wire.node()
    node.connect()
    node.beat()
    node.heartbeat()
    for _ in range(4):
        node.expect("abort", within=2)
    node.say("aborted")
    wire.wait_for_state(node, AVAILABLE)
    node.pass_over_aborts()
    node.expect_nothing(within=0.5)


@pytest.mark.parametrize("kind", ["heartbeat", "succeeded", "ack_commit"])
def test_any_first_message_leads_to_rehab(wire: Wire, kind: str) -> None:
    node = wire.node()
    node.connect()
    node.say(kind, **({"job_state": "idle"} if kind == "heartbeat" else {"job_id": UNKNOWN_JOB}))
    node.expect("abort")


def test_only_aborted_ends_a_rehab(wire: Wire) -> None:
    node = wire.node()
    node.connect()
    node.beat()
    for kind in ("ack_commit", "nack_commit", "ack_run", "nack_run", "succeeded", "failed"):
        node.say(kind, UNKNOWN_JOB)
        node.expect("abort")
    node.heartbeat()
    assert wire.knife.node_state(node.name) == IN_REHAB
    node.say("aborted", UNKNOWN_JOB)
    wire.wait_for_state(node, AVAILABLE)


# What the server does not expect of it.


@pytest.mark.parametrize("kind", ["ack_commit", "nack_commit", "ack_run", "nack_run", "succeeded", "failed"])
def test_a_message_for_an_unknown_job_leads_to_rehab(wire: Wire, kind: str) -> None:
    node = wire.joined()
    node.say(kind, UNKNOWN_JOB)
    wire.recover(node)


@pytest.mark.parametrize("state", ["committed", "running"])
def test_a_heartbeat_that_names_an_unknown_job_leads_to_rehab(wire: Wire, state: str) -> None:
    node = wire.joined()
    node.heartbeat(state, UNKNOWN_JOB)
    node.expect("abort")
    node.heartbeat()
    node.say("aborted")
    wire.wait_for_state(node, AVAILABLE)


@pytest.mark.parametrize("job_id", [None, UNKNOWN_JOB], ids=["none", "unknown"])
def test_aborted_never_leads_to_rehab(wire: Wire, job_id: str | None) -> None:
    node = wire.joined()
    node.say("aborted", job_id)
    node.connect()
    node.heartbeat()
    node.expect("ack")
    assert wire.knife.node_state(node.name) == AVAILABLE


def test_a_live_job_hears_of_aborted(wire: Wire) -> None:
    node = wire.joined()
    job = wire.running(node)
    node.say("aborted", job.id)
    assert told(job.feed.rest()) == [rehab(node), run_complete(node, "crashed"), job_complete("complete")]
    assert wire.outcome(job) == ("complete", {"crashed": [node.name]})


# Its connection.


def test_a_node_that_connects_anew_keeps_its_state_and_is_answered(wire: Wire) -> None:
    node = wire.joined()
    job = wire.running(node)
    node.say("ack_run", job.id)
    job.tells([run_start(node)])
    node.connect()
    node.heartbeat("running", job.id)
    node.expect("ack")
    node.say("succeeded", job.id)
    assert told(job.feed.rest()) == [run_complete(node, "success"), job_complete("complete")]


def test_a_node_that_connects_anew_in_rehab_is_told_to_abort(wire: Wire) -> None:
    node = wire.node()
    for _ in range(2):
        node.connect()
        node.beat()
        node.heartbeat()
        node.expect("abort")


def test_what_comes_for_a_node_goes_to_its_newest_connection(wire: Wire) -> None:
    node = wire.joined()
    node.connect()
    node.heartbeat()
    node.expect("ack")
    job = wire.running(node)
    node.say("nack_run", job.id)
    job.feed.rest()


def test_a_new_incarnation_goes_down_at_once_and_comes_back_through_rehab(wire: Wire) -> None:
    node = wire.joined()
    job = wire.running(node)
    node.say("ack_run", job.id)
    job.tells([run_start(node)])
    node.restart()
    node.heartbeat()
    assert told(job.feed.rest(within=2)) == [rehab(node), run_complete(node, "crashed"), job_complete("complete")]
    wire.recover(node)


def test_a_node_that_is_silent_is_down_in_time_and_its_job_is_told(wire: Wire) -> None:
    """8 s at a heartbeat of 1 s and a look every 4 s: two looks."""
    node = wire.joined()
    job = wire.running(node)
    node.say("ack_run", job.id)
    job.tells([run_start(node)])
    node.stop_beating()
    last = time.monotonic()
    expected = [rehab(node), run_complete(node, "crashed"), job_complete("complete")]
    assert told(job.feed.rest(within=2 * DETECT_SECONDS)) == expected
    assert time.monotonic() - last < 2 * DETECT_SECONDS
    assert wire.knife.node_state(node.name) == OFFLINE
    assert wire.outcome(job) == ("complete", {"crashed": [node.name]})


@pytest.mark.parametrize("has_voted", [False, True])
def test_a_voting_job_is_told_of_a_silent_node(wire: Wire, has_voted: bool) -> None:
    silent, other = wire.joined(), wire.joined()
    job = wire.start_job([silent, other])
    other.expect("commit")
    events = [start(2, 2)]
    if has_voted:
        silent.say("ack_commit", job.id)
        events.append(vote(silent, "success"))
    job.tells(events)
    silent.stop_beating()
    job.tells([vote(silent, "down"), rehab(silent)])
    other.say("nack_commit", job.id)
    assert told(job.feed.rest()) == [vote(other, "failure"), job_complete("quorum_failed")]


def test_a_node_that_comes_back_from_being_down_goes_through_rehab(wire: Wire) -> None:
    node = wire.joined()
    node.stop_beating()
    wire.wait_for_state(node, OFFLINE)
    node.pass_over_aborts()
    node.beat()
    node.heartbeat()
    wire.recover(node)


# Its keys.


def test_a_curve_key_that_was_not_admitted_is_refused(wire: Wire) -> None:
    config = wire.node().configure()
    assert not is_admitted(wire.context, config, zmq.curve_keypair())


def test_a_curve_key_is_replaced_by_the_next_one(wire: Wire) -> None:
    node = wire.joined()
    old = node.curve
    node.curve = zmq.curve_keypair()
    node.configure()
    assert is_admitted(wire.context, node.config, node.curve)
    assert not is_admitted(wire.context, node.config, old)
    node.connect()
    node.heartbeat()
    node.expect("ack")
    assert wire.knife.node_state(node.name) == AVAILABLE
    job = wire.running(node)
    node.say("ack_run", job.id)
    node.say("succeeded", job.id)
    assert told(job.feed.rest())[-1] == job_complete("complete")


def test_keys_outlive_a_restart_of_the_server(new_fleet: NewFleet, tmp_path: Path) -> None:
    with new_fleet(tmp_path, SETTINGS) as fleet, serving(fleet) as wire:
        node = wire.joined()
        before = node.config.raw
        node.disconnect()
        wire.api.close()
        assert wire.fleet.server
        wire.fleet.server.stop()
        wire.fleet.start_server()
        node.connect()
        node.heartbeat()
        wire.recover(node)
        after = node.configure().raw
        for name in ("public_key", "curve_public_key"):
            assert after[name] == before[name]
        assert after["incarnation_id"] != before["incarnation_id"]
