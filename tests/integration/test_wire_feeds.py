"""The feeds of section 7 of protocol.md: what they are made of, how they are taken up again, and when they end."""

import pytest

from demo.processes import wait_until
from tests.integration.knife_2x import Comment, End, Event, Feed
from tests.integration.push_client_2x import PushClient
from tests.integration.wire_2x import (
    COMMAND,
    QUORUM_SUCCEEDED,
    Job,
    Told,
    Wire,
    job_complete,
    run_complete,
    run_start,
    start,
    told,
    vote,
)

EXPIRATION_SECONDS = 3
SETTINGS = {"wait_complete_time": 1, "keep_alive_time": 1, "org_feed_expiration": EXPIRATION_SECONDS}
PATHS = ("job_status_feed", "jobs_status_feed")


def refused(wire: Wire, node: PushClient) -> Job:
    """A job that `node` has refused, and that is over; its feed is read."""
    job = wire.start_job([node])
    node.expect("commit")
    node.say("nack_commit", job.id)
    job.feed.until("job_complete")
    return job


def of_organization(job: Job) -> list[Told]:
    """What the organization hears of a job that was refused."""
    name, data = start(1, 1)
    return [(name, {"job": job.id, **data}), ("job_complete", {"job": job.id, "status": "quorum_failed"})]


def until_end(feed: Feed, job: str) -> list[Event]:
    return feed.until("job_complete", job=job)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("of_job", [True, False])
def test_a_feed_is_server_sent_events_that_no_proxy_holds_back(wire: Wire, path: str, of_job: bool) -> None:
    node = wire.joined()
    job = refused(wire, node)
    full = f"{wire.knife.prefix}/pushy/{path}" + (f"/{job.id}" if of_job else "")
    connection = wire.api.connect()
    response = wire.api.send(connection, wire.knife.principal, "GET", full)
    with Feed(connection, response) as feed:
        assert response.status == 200
        assert feed.headers["content-type"].partition(";")[0] == "text/event-stream"
        assert feed.headers["x-accel-buffering"] == "no"


def test_a_quiet_feed_is_kept_alive(wire: Wire) -> None:
    feed = wire.feed()
    for _ in range(2):
        assert isinstance(feed.take(within=3), Comment)


# The feed of a job.


def test_the_feed_of_a_job_from_its_beginning(wire: Wire) -> None:
    node = wire.joined()
    job = wire.start_job([node])
    node.expect("commit")
    node.say("ack_commit", job.id)
    node.expect("run")
    node.say("ack_run", job.id)
    node.say("succeeded", job.id)
    events = job.feed.rest()
    assert told(events) == [
        start(1, 1),
        vote(node, "success"),
        QUORUM_SUCCEEDED,
        run_start(node),
        run_complete(node, "success"),
        job_complete("complete"),
    ]
    assert [event.id for event in events] == [f"job-{number}" for number in range(1, 7)]
    # Every reader has the same, who comes before the end and who comes after it.
    assert wire.feed(job.id).rest() == events


def test_a_feed_goes_on_after_the_last_event_that_was_read(wire: Wire) -> None:
    node = wire.joined()
    job = wire.start_job([node])
    node.expect("commit")
    node.say("ack_commit", job.id)
    seen = job.feed.until("quorum_succeeded")
    again = [wire.feed(job.id, last_event_id=event.id) for event in seen]
    node.expect("run")
    node.say("nack_run", job.id)
    events = [*seen, *job.feed.rest()]
    assert len(events) == 6
    for number, feed in enumerate(again, start=1):
        assert feed.rest() == events[number:]


@pytest.mark.parametrize("unknown", ["job-99", "job-0", "job--1", "job-1x", "nonsense", "", "9" * 500])
def test_after_an_unknown_event_a_feed_begins_anew(wire: Wire, unknown: str) -> None:
    node = wire.joined()
    job = wire.start_job([node])
    node.expect("commit")
    feed = wire.feed(job.id, last_event_id=unknown)
    node.say("nack_commit", job.id)
    assert told(feed.rest()) == [start(1, 1), vote(node, "failure"), job_complete("quorum_failed")]


def test_after_the_last_event_there_is_nothing_more(wire: Wire) -> None:
    node = wire.joined()
    job = refused(wire, node)
    events = wire.feed(job.id).rest()
    assert wire.feed(job.id, last_event_id=events[-1].id).rest() == []


def test_a_job_that_has_long_ended_is_a_summary(wire: Wire) -> None:
    node = wire.joined()
    job = refused(wire, node)

    def summary() -> list[Event] | None:
        events = wire.feed(job.id).rest()
        return events if events[0].name == "summary" else None

    (event,) = wait_until(summary, "a summary", seconds=5)
    assert event == Event(name="summary", id="job-1", data=wire.knife.job(job.id))


def test_the_feed_of_an_unknown_job_is_not_found(wire: Wire) -> None:
    for path in PATHS:
        assert wire.knife.ask("GET", f"/pushy/{path}/{'0' * 32}").status == 404


def test_a_reader_who_goes_away_disturbs_nobody(wire: Wire) -> None:
    node = wire.joined()
    job = wire.start_job([node])
    wire.knife.feed(job.id).close()
    node.expect("commit")
    node.say("nack_commit", job.id)
    assert told(job.feed.rest())[-1] == job_complete("quorum_failed")


# The feed of the organization.


def test_the_feed_of_the_organization_has_starts_and_ends(wire: Wire) -> None:
    node = wire.joined()
    feed = wire.feed()
    jobs = [refused(wire, node) for _ in range(2)]
    events = until_end(feed, jobs[-1].id)
    assert told(events) == [told_of for job in jobs for told_of in of_organization(job)]
    assert len({event.id for event in events}) == len(events)


def test_the_start_of_a_job_tells_the_organization_all_that_was_given(wire: Wire) -> None:
    node = wire.joined()
    feed = wire.feed()
    options = {"user": "www-data", "dir": "/srv", "env": {"A": "b"}, "file": "raw:x", "capture_output": True}
    job = wire.start_job([node], run_timeout=5, **options)
    node.expect("commit")
    node.say("nack_commit", job.id)
    (event, _) = until_end(feed, job.id)
    assert event.data == {
        "job": job.id,
        "command": COMMAND,
        "run_timeout": 5,
        "quorum": 1,
        "node_count": 1,
        "user": "admin",
        "job_user": "www-data",
        "dir": "/srv",
        "env": {"A": "b"},
        "file_specified": True,
        "capture": True,
    }


@pytest.mark.parametrize("path", PATHS)
def test_the_organization_has_no_feed_with_output(wire: Wire, path: str) -> None:
    answer = wire.knife.ask("GET", f"/pushy/{path}?output=true")
    assert answer.status == 400
    assert "job_status_feed/ID?output=true" in answer.body.decode()


def test_a_new_reader_has_only_what_is_new(wire: Wire) -> None:
    node = wire.joined()
    refused(wire, node)
    feed = wire.feed()
    job = refused(wire, node)
    assert told(until_end(feed, job.id)) == of_organization(job)


def test_a_reader_goes_on_after_the_event_that_was_read_last(wire: Wire) -> None:
    node = wire.joined()
    feed = wire.feed()
    first = refused(wire, node)
    read = until_end(feed, first.id)
    second = refused(wire, node)
    missed = until_end(feed, second.id)
    after_start, after_end = (wire.feed(last_event_id=event.id) for event in read)
    third = refused(wire, node)
    new = until_end(feed, third.id)
    assert until_end(after_start, third.id) == [*read[1:], *missed, *new]
    assert until_end(after_end, third.id) == [*missed, *new]


@pytest.mark.parametrize("unknown", ["nonsense", "job-1", "9" * 500])
def test_after_an_unknown_event_the_start_of_history_is_told(wire: Wire, unknown: str) -> None:
    node = wire.joined()
    job = refused(wire, node)
    first, *history = until_end(wire.feed(last_event_id=unknown), job.id)
    assert first.name == "start_of_history"
    assert told(history)[-2:] == of_organization(job)


def test_history_is_forgotten(wire: Wire) -> None:
    node = wire.joined()
    old = refused(wire, node)

    def forgotten() -> list[Event] | None:
        job = refused(wire, node)
        events = until_end(wire.feed(last_event_id="nonsense"), job.id)
        return events if all(event.data.get("job") != old.id for event in events) else None

    events = wait_until(forgotten, "the first job forgotten", seconds=2 * EXPIRATION_SECONDS)
    assert events[0].name == "start_of_history"


def test_the_feed_of_the_organization_does_not_end(wire: Wire) -> None:
    node = wire.joined()
    feed = wire.feed()
    job = refused(wire, node)
    until_end(feed, job.id)
    assert not isinstance(feed.take(within=3), End)
