"""Where a job stands, by its events; and the stream that brings them."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pushy_cli.sse import Event, Parser
from pushy_cli.standing import Tally, standing_of
from pushy_protocol.api import Job

EVENTS = st.tuples(
    st.sampled_from(
        ["start", "quorum_vote", "quorum_succeeded", "run_start", "run_complete", "rehab", "job_complete", "x"]
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "node": st.sampled_from(["a", "b", "c"]) | st.none() | st.integers(),
            "status": st.sampled_from(["success", "failure", "down", "crashed", "nonsense"])
            | st.none()
            | st.lists(st.none()),
            "node_count": st.integers(-1, 4) | st.text(max_size=2),
        },
    ),
)


@given(st.lists(EVENTS, max_size=30))
def test_any_events_add_up(events: list[tuple[str, dict[str, Any]]]) -> None:
    tally = Tally()
    for name, data in events:
        tally.take(name, data)
        standing = tally.standing
        assert all(number > 0 for number in standing.counts.values())
        assert 0 <= standing.settled <= standing.total <= 7


def test_a_job_from_beginning_to_end() -> None:
    tally = Tally()
    assert tally.standing.total == 0
    for name, data, status, counts in (
        ("start", {"node_count": 3}, "voting", {"new": 3}),
        ("quorum_vote", {"node": "a", "status": "success"}, "voting", {"ready": 1, "new": 2}),
        ("quorum_vote", {"node": "b", "status": "failure"}, "voting", {"ready": 1, "nacked": 1, "new": 1}),
        ("quorum_vote", {"node": "c", "status": "down"}, "voting", {"ready": 1, "nacked": 1, "unavailable": 1}),
        ("quorum_succeeded", {}, "running", {"ready": 1, "nacked": 1, "unavailable": 1}),
        ("run_start", {"node": "a"}, "running", {"running": 1, "nacked": 1, "unavailable": 1}),
        ("run_complete", {"node": "a", "status": "failure"}, "running", {"failed": 1, "nacked": 1, "unavailable": 1}),
        ("run_complete", {"node": "a", "status": "client_died_while_running"}, "running", None),
        ("job_complete", {"status": "complete"}, "complete", None),
    ):
        before = tally.standing.counts
        tally.take(name, data)
        assert tally.standing.status == status
        assert tally.standing.counts == (before if counts is None else counts)


def test_a_job_that_was_looked_at() -> None:
    job = Job(
        id="", command="", status="voting", run_timeout=1, created_at="", updated_at="",
        nodes={"new": ["a", "b"], "ready": ["c"], "failed": []},
    )  # fmt: skip
    standing = standing_of(job)
    assert (standing.counts, standing.settled, standing.total) == ({"new": 2, "ready": 1}, 1, 3)


STREAM = b": hi\n\nevent: start\nid: job-1\ndata: {\ndata:  }\n\nretry: 5\n\ndata:x\nunknown\n\nevent: none\n\n"
PARSED = [Event(name="start", data="{\n }", id="job-1"), Event(name="message", data="x")]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8), st.booleans())
def test_a_stream_may_be_cut_anywhere(cuts: list[int], with_returns: bool) -> None:
    events: list[Event] = []
    parser = Parser(events.append)
    stream = STREAM.replace(b"\n", b"\r\n") if with_returns else STREAM
    places = [0, *sorted(cuts), len(stream)]
    for begin, end in pairwise(places):
        parser.feed(stream[begin:end])
    assert events == PARSED


@given(st.binary(max_size=60))
def test_any_bytes_are_taken(data: bytes) -> None:
    Parser(lambda event: None).feed(data)
