"""Feeds: ids, timestamps, what is kept and taken up again, and many readers. Time is given, and may go backwards."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.domain.effects import Emit, FeedEvent
from pushyd.domain.job import JobSpec
from pushyd.feeds import Feed, FeedService, format_time, sse_event
from pushyd.store.interface import FeedText, NodeDetail, StoredJob
from tests.pushyd.doubles import NOW, MemoryStore, begin, failure_of

WAIT_COMPLETE, EXPIRY = 5.0, 60.0
START, COMPLETE = Emit(FeedEvent.START), Emit(FeedEvent.JOB_COMPLETE, status="complete")


def parse(text: bytes) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, id and data of each event; each has just these, in this order."""
    assert text.endswith(b"\n\n") or not text
    events = []
    for block in text.decode().split("\n\n")[:-1]:
        (event, name), (key, event_id), (label, data) = (line.split(": ", 1) for line in block.split("\n"))
        assert (event, key, label) == ("event", "id", "data")
        events.append((name, event_id, msgspec.json.decode(data)))
    return events


def everything(feed: Feed) -> bytes:
    return feed.read(feed.begin, 1_000_000)


def ids(feed: Feed) -> list[str]:
    return [event_id for _, event_id, _ in parse(everything(feed))]


def timestamps(feed: Feed) -> list[str]:
    return [data["timestamp"] for _, _, data in parse(everything(feed))]


def feed_of(count: int, prefix: str = "job") -> Feed:
    feed = Feed(prefix)
    for number in range(count):
        feed.add("event", {"number": number}, NOW + number)
    return feed


def restored(text: bytes, prefix: str = "job-run") -> Feed:
    feed = Feed(prefix)
    feed.restore(text, NOW)
    return feed


# Timestamps

# Of clocks that stand still, go back, and go on by less than can be told.
clocks = st.lists(st.one_of(st.just(NOW), st.floats(NOW - 1, NOW + 1), st.floats(0, 4e9)), min_size=1, max_size=60)


@given(clocks)
def test_they_grow_whatever_the_clock_does(times: list[float]) -> None:
    feed = Feed("job")
    for now in times:
        feed.add("event", {}, now)
    told = timestamps(feed)
    assert told == sorted(set(told))


def test_a_clock_that_stands_still_costs_a_microsecond_each() -> None:
    """A float cannot count by them: 2014 plus a microsecond is 0.95 microseconds later."""
    feed = Feed("job")
    for _ in range(1000):
        feed.add("event", {}, NOW)
    begun = datetime.fromtimestamp(NOW, UTC)
    expected = [begun + timedelta(microseconds=number) for number in range(1000)]
    assert timestamps(feed) == [f"{at:%Y-%m-%d %H:%M:%S.%f}Z" for at in expected]


@given(before=clocks, after=clocks)
def test_they_grow_over_a_restart_too(before: list[float], after: list[float]) -> None:
    """The clock of the machine may have been set back meanwhile."""
    feed = Feed("job")
    for now in before:
        feed.add("event", {}, now)
    taken_up = restored(everything(feed))
    for now in after:
        taken_up.add("event", {}, now)
    told = timestamps(taken_up)
    assert told[: len(before)] == timestamps(feed)
    assert told == sorted(set(told))


def test_how_one_looks() -> None:
    assert format_time(1404969464.995958) == "2014-07-10 05:17:44.995958Z"
    assert format_time(0) == "1970-01-01 00:00:00.000000Z"


def test_how_an_event_looks() -> None:
    assert sse_event("rehab", "job-3", {"node": "a\nb"}) == b'event: rehab\nid: job-3\ndata: {"node":"a\\nb"}\n\n'


# Places and ids


def test_ids_count_from_one() -> None:
    assert ids(feed_of(3)) == ["job-1", "job-2", "job-3"]


def test_a_reader_goes_on_after_an_id() -> None:
    feed = feed_of(3)
    assert [feed.place_after(event_id) for event_id in ids(feed)] == [1, 2, 3]
    assert parse(feed.read(1, 1))[0][1] == "job-2"
    assert feed.read(3, 10) == b""
    assert len(parse(feed.read(0, 2))) == 2


def test_an_id_that_is_not_known_has_no_place() -> None:
    feed = feed_of(3)
    for unknown in (
        "", "-", "job", "job-", "job-4", "job--1", "job-01", "job-1 ", " job-1", "job-1x", "job-\u00b2", "job-\u0661",
        "other-1", "JOB-1", "job-1-1", f"job-{'9' * 30}", "job-1\nid: job-1", "job-\ud800-1", "\ud800-1",
    ):  # fmt: skip
        assert feed.place_after(unknown) is None, unknown


def test_what_is_forgotten_has_no_place_but_its_end() -> None:
    feed = feed_of(5)
    feed.forget_before(NOW + 2)
    assert (feed.begin, feed.end) == (2, 5)
    places = [feed.place_after(f"job-{number}") for number in range(6)]
    assert places == [None, None, 2, 3, 4, 5]
    assert ids(feed) == ["job-3", "job-4", "job-5"]
    feed.forget_before(NOW + 100)
    assert (feed.begin, feed.end, everything(feed)) == (5, 5, b"")
    assert feed.place_after("job-5") == 5
    feed.add("event", {}, NOW + 100)
    assert ids(feed) == ["job-6"]


def test_the_start_of_history_comes_before_it() -> None:
    feed = feed_of(5)
    feed.forget_before(NOW + 2)
    ((name, event_id, data),) = parse(feed.start_of_history(NOW + 50))
    assert (name, list(data)) == ("start_of_history", ["timestamp"])
    assert feed.place_after(event_id) == feed.begin
    assert timestamps(feed_of(5))[1] < data["timestamp"] < timestamps(feed)[0]


def test_the_start_of_no_history_comes_before_what_is_new() -> None:
    for now, later in ((NOW, NOW), (NOW, NOW - 10), (NOW + 9, NOW + 10)):
        feed = feed_of(1)
        feed.forget_before(NOW + 100)
        ((_, event_id, data),) = parse(feed.start_of_history(now))
        feed.add("event", {}, later)
        assert data["timestamp"] < timestamps(feed)[0]
        assert feed.place_after(event_id) == 1


# Over a restart


def test_what_was_kept_is_as_it_was() -> None:
    feed = feed_of(3)
    taken_up = restored(everything(feed))
    assert everything(taken_up) == everything(feed)
    assert [taken_up.place_after(event_id) for event_id in ids(feed)] == [1, 2, 3]
    assert everything(restored(b"")) == b""


def test_what_was_lost_is_not_taken_for_what_came_instead() -> None:
    """A reader has seen job-3 and job-4, which the server that was killed did not keep."""
    feed = feed_of(4)
    taken_up = restored(feed.read(0, 2))
    assert taken_up.place_after("job-4") is None
    for _ in range(3):
        taken_up.add("event", {}, NOW)
    assert ids(taken_up) == ["job-1", "job-2", "job-run-3", "job-run-4", "job-run-5"]
    assert taken_up.place_after("job-3") is taken_up.place_after("job-4") is None
    assert [taken_up.place_after(event_id) for event_id in ids(taken_up)] == [1, 2, 3, 4, 5]


def test_nor_over_several_restarts() -> None:
    first = feed_of(2)
    second = restored(everything(first), "job-two")
    for _ in range(3):
        second.add("event", {}, NOW)
    third = restored(second.read(0, 3), "job-three")
    for _ in range(2):
        third.add("event", {}, NOW)
    assert ids(third) == ["job-1", "job-2", "job-two-3", "job-three-4", "job-three-5"]
    assert [third.place_after(event_id) for event_id in ids(third)] == [1, 2, 3, 4, 5]
    assert third.place_after("job-two-4") is third.place_after("job-two-5") is None


# Readers


class ReaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.feed = Feed("job")

    def waiting(self) -> Deferred[None]:
        return begin(self.feed.changed())

    def test_all_are_woken_by_an_event_and_by_the_end(self) -> None:
        for happens in (lambda: self.feed.add("event", {}, NOW), self.feed.close):
            readers = [self.waiting() for _ in range(100)]
            assert not any(reader.called for reader in readers)
            happens()
            for reader in readers:
                self.successResultOf(reader)

    def test_each_is_woken_once(self) -> None:
        """Who waits again while others are being woken waits for the next event."""
        order: list[str] = []

        async def follow(name: str) -> None:
            for _ in range(2):
                await self.feed.changed()
                order.append(name)

        readers = [begin(follow(name)) for name in "abc"]
        self.feed.add("event", {}, NOW)
        assert order == ["a", "b", "c"]
        self.feed.add("event", {}, NOW)
        assert order == ["a", "b", "c"] * 2
        for reader in readers:
            self.successResultOf(reader)

    def test_who_goes_away_is_not_woken_and_leaves_nothing_behind(self) -> None:
        gone, stays = self.waiting(), self.waiting()
        gone.cancel()
        failure_of(gone, CancelledError)
        self.feed.add("event", {}, NOW)
        self.successResultOf(stays)
        assert not self.feed._readers

    def test_who_makes_others_go_away_when_woken_disturbs_nobody(self) -> None:
        first, gone, last = self.waiting(), self.waiting(), self.waiting()
        _ = first.addCallback(lambda _: gone.cancel())
        self.feed.add("event", {}, NOW)
        failure_of(gone, CancelledError)
        self.successResultOf(last)

    def test_they_do_not_share_a_place(self) -> None:
        for number in range(3):
            self.feed.add("event", {"number": number}, NOW)
        assert self.feed.read(0, 1) != self.feed.read(2, 1)
        assert self.feed.read(0, 3) == everything(self.feed)


# The service


def spec(job_id: str = "a" * 32, organization: str = "acme", **asked: Any) -> JobSpec:
    return JobSpec(
        id=job_id,
        organization=organization,
        command="true",
        nodes=("web1", "web2"),
        quorum=1.5,
        run_timeout=90,
        voting_timeout=60,
        created_at=NOW,
        created_by="admin",
        **asked,
    )


class Feeds(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        self.service = self.make()

    def make(self) -> FeedService:
        """The service of a server that has just started."""
        return FeedService(
            store=self.store,
            clock=self.clock,
            now=lambda: NOW + self.clock.seconds(),
            wait_complete_seconds=WAIT_COMPLETE,
            expiry_seconds=EXPIRY,
        )

    def job(self, *events: Emit, of: JobSpec | None = None) -> Feed:
        """The feed of a job to which this happens."""
        of = of or spec()
        if self.store.kept(of.id) is None:
            nodes = dict.fromkeys(of.nodes, NodeStatus.NEW)
            self.store.keep(StoredJob(spec=of, status=JobStatus.NEW, updated_at=NOW, nodes=nodes))
        for event in events:
            self.service.emit(of, event)
        feed = self.service.job(of.id)
        assert feed is not None
        return feed

    def kept(self, job_id: str = "a" * 32) -> bytes:
        return self.successResultOf(begin(self.store.feed(job_id)))


class JobFeedTests(Feeds):
    def test_why_and_how_stand_in_a_vote_and_an_end_where_the_node_said_it(self) -> None:
        of = spec()
        self.job(START, of=of)
        refused = NodeDetail(reason="busy", finished_at=NOW)
        killed = NodeDetail(reason="signal 9", signal=9)
        self.service.emit(of, Emit(FeedEvent.REHAB, "web1"), refused)
        self.service.emit(of, Emit(FeedEvent.QUORUM_VOTE, "web1", "failure"), refused)
        self.service.emit(of, Emit(FeedEvent.RUN_COMPLETE, "web2", "failure"), killed)
        self.service.emit(of, Emit(FeedEvent.RUN_COMPLETE, "web3", "success"), NodeDetail(exit_status=0))
        said = [data for _, _, data in parse(self.kept(of.id))[1:]]
        assert [{key: value for key, value in data.items() if key != "timestamp"} for data in said] == [
            {"node": "web1"},
            {"node": "web1", "status": "failure", "reason": "busy"},
            {"node": "web2", "status": "failure", "reason": "signal 9", "signal": 9},
            {"node": "web3", "status": "success"},
        ]

    def test_what_an_event_says(self) -> None:
        feed = self.job(
            START,
            Emit(FeedEvent.QUORUM_VOTE, "web1", "success"),
            Emit(FeedEvent.QUORUM_SUCCEEDED),
            Emit(FeedEvent.RUN_START, "web1"),
            COMPLETE,
        )
        told = [
            (name, {key: data[key] for key in data if key != "timestamp"}) for name, _, data in parse(everything(feed))
        ]
        start = {"command": "true", "run_timeout": 90, "quorum": 1.5, "node_count": 2, "user": "admin"}
        assert told == [
            ("start", start),
            ("quorum_vote", {"node": "web1", "status": "success"}),
            ("quorum_succeeded", {}),
            ("run_start", {"node": "web1"}),
            ("job_complete", {"status": "complete"}),
        ]

    def test_the_start_says_what_was_given(self) -> None:
        given_too = spec(user="app", dir="/srv", env={"A": "b"}, file="raw:secret", capture=True)
        ((_, _, data),) = parse(everything(self.job(START, of=given_too)))
        del data["timestamp"]
        assert data == {
            "command": "true",
            "run_timeout": 90,
            "quorum": 1.5,
            "node_count": 2,
            "user": "admin",
            "job_user": "app",
            "dir": "/srv",
            "env": {"A": "b"},
            "file_specified": True,
            "capture": True,
        }

    def test_each_event_is_given_to_the_store_at_once_by_its_number(self) -> None:
        feed = self.job(START, Emit(FeedEvent.QUORUM_SUCCEEDED))
        pieces = [change for change in self.store.recorded_changes if isinstance(change, FeedText)]
        assert [(piece.job_id, piece.first) for piece in pieces] == [("a" * 32, 1), ("a" * 32, 2)]
        assert self.kept() == everything(feed)

    def test_it_closes_with_the_job(self) -> None:
        assert not self.job(START, Emit(FeedEvent.QUORUM_SUCCEEDED)).closed
        assert self.job(COMPLETE).closed

    def test_it_is_held_a_little_longer_than_the_job(self) -> None:
        feed = self.job(START, COMPLETE)
        self.clock.advance(WAIT_COMPLETE - 1)
        assert self.service.job("a" * 32) is feed
        self.clock.advance(1)
        assert self.service.job("a" * 32) is None
        assert self.clock.getDelayedCalls() == []

    def test_it_is_held_until_the_store_has_it(self) -> None:
        feed = self.job(START)
        self.store.hold()
        self.job(COMPLETE)
        self.clock.advance(10 * WAIT_COMPLETE)
        assert self.service.job("a" * 32) is feed
        self.store.release()
        assert self.service.job("a" * 32) is None
        assert self.kept() == everything(feed)

    def test_one_that_ended_longer_ago_comes_from_the_store(self) -> None:
        feed = self.job(START, COMPLETE)
        self.clock.advance(WAIT_COMPLETE)
        ended = self.successResultOf(begin(self.service.ended("a" * 32)))
        assert ended.closed
        assert everything(ended) == everything(feed)
        assert ended.place_after("job-1") == 1
        assert everything(self.successResultOf(begin(self.service.ended("b" * 32)))) == b""

    def test_jobs_do_not_mix(self) -> None:
        first, second = self.job(START), self.job(START, COMPLETE, of=spec("b" * 32))
        assert (first.end, second.end) == (1, 2)
        assert (self.kept(), self.kept("b" * 32)) == (everything(first), everything(second))

    def test_what_is_not_there_is_none(self) -> None:
        assert self.service.job("a" * 32) is None


class RestartTests(Feeds):
    def restart(self) -> Feed:
        """A new run takes the job's feed up."""
        self.service = self.make()
        self.service.restore(spec(), self.kept(), 0)
        return self.job()

    def test_it_goes_on_with_the_next_number_and_is_kept_whole(self) -> None:
        before = self.job(START, Emit(FeedEvent.QUORUM_SUCCEEDED))
        feed = self.restart()
        assert everything(feed) == everything(before)
        self.job(Emit(FeedEvent.RUN_START, "web1"), COMPLETE)
        assert feed.end == 4
        assert feed.closed
        assert self.kept() == everything(feed)
        assert len(set(ids(feed))) == 4

    def test_each_run_has_ids_of_its_own(self) -> None:
        self.job(START)
        seen = []
        for _ in range(2):
            kept = self.kept()
            self.store.hold()  # what happens now is lost with the next restart
            self.restart()
            self.job(Emit(FeedEvent.QUORUM_SUCCEEDED))
            seen += ids(self.job())[1:]
            assert self.kept() == kept
        assert len(set(seen)) == 2

    def test_a_job_without_a_feed_is_taken_up_too(self) -> None:
        feed = self.restart_of_nothing()
        assert feed.end == 0
        self.job(START)
        assert self.kept() == everything(feed)

    def restart_of_nothing(self) -> Feed:
        self.service.restore(spec(), b"", 0)
        return self.job()

    def test_the_organizations_feed_begins_anew(self) -> None:
        self.job(START)
        (event_id,) = ids(self.service.organization("acme"))
        self.service = self.make()
        self.job(START, of=spec("b" * 32))
        assert self.service.organization("acme").place_after(event_id) is None


class OrganizationTests(Feeds):
    def test_it_has_starts_and_ends_with_their_jobs(self) -> None:
        self.job(START, Emit(FeedEvent.QUORUM_SUCCEEDED), Emit(FeedEvent.RUN_START, "web1"), COMPLETE)
        self.job(START, of=spec("c" * 32, "other"))
        told = parse(everything(self.service.organization("acme")))
        assert [(name, data["job"]) for name, _, data in told] == [("start", "a" * 32), ("job_complete", "a" * 32)]
        assert len(parse(everything(self.service.organization("other")))) == 1
        assert everything(self.service.organization("nobody")) == b""

    def test_it_does_not_close_and_forgets_what_is_old(self) -> None:
        self.job(START)
        feed = self.service.organization("acme")
        self.clock.advance(EXPIRY)
        assert self.service.organization("acme") is feed
        assert feed.end - feed.begin == 1
        self.job(COMPLETE)
        self.clock.advance(0.5)
        assert self.service.organization("acme").begin == 1
        self.clock.advance(EXPIRY)
        assert self.service.organization("acme").begin == feed.end == 2
        assert not feed.closed

    def test_a_busy_one_that_nobody_reads_does_not_grow(self) -> None:
        feed = self.service.organization("acme")
        for number in range(500):
            self.job(START, COMPLETE, of=spec(f"{number:032x}"))
            self.clock.advance(1)
        assert feed.end == 1000
        assert feed.end - feed.begin <= 2 * (EXPIRY + 1)
