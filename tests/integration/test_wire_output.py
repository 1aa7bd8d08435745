"""Output as it comes (protocol 3.0), between a real pushyd and peers made by the test."""

import base64
import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPResponse
from typing import Any

import pytest

from demo.processes import wait_until
from tests.integration.knife_2x import Event
from tests.integration.push_client_3 import OutputClient, deliver, totals
from tests.integration.signed_http_2x import Answer
from tests.integration.wire_2x import COMMAND, Job, Wire

SETTINGS: Mapping[str, object] = {"heartbeat_interval": 200, "max_output": 1_000_000}
EVERY_BYTE = bytes(range(256))
WITH_OUTPUT = "?output=true"
STARVED_SECONDS = 8


@pytest.fixture
def node(wire: Wire) -> OutputClient:
    return wire.join(wire.make(OutputClient))


def running(wire: Wire, *nodes: OutputClient, **options: object) -> Job:
    """A job whose command runs on all of its nodes."""
    job = wire.start_job(nodes, capture_output=True, **options)
    for node in nodes:
        node.expect("commit")
        node.say("ack_commit", job.id)
    for node in nodes:
        node.expect("run")
        node.heartbeat("running", job.id)
        node.say("ack_run", job.id)
    return job


def end(node: OutputClient, job: Job, texts: Mapping[str, bytes], dropped: int = 0) -> None:
    node.say("succeeded", job.id, output=totals(texts, dropped))
    node.heartbeat("idle")
    while (message := node.expect("ack")) and "offsets" in message:
        pass
    assert message == {"type": "ack", "job_id": job.id}


def ask(wire: Wire, job: Job, node: OutputClient, channel: str = "stdout", query: str = "", **headers: str) -> Answer:
    path = f"/pushy/jobs/{job.id}/output/{node.name}/{channel}{query}"
    return wire.knife.ask("GET", path, headers={"Accept": "*/*"} | headers)


def shown(answer: Answer) -> tuple[int, bytes, str, str, str]:
    names = ("bytes", "dropped", "complete")
    return answer.status, answer.body, *(answer.headers[f"x-pushy-output-{name}"] for name in names)  # type: ignore[return-value]  # mypy cannot count them


@contextlib.contextmanager
def follow(wire: Wire, job: Job, node: OutputClient, **headers: str) -> Iterator[HTTPResponse]:
    path = f"{wire.knife.prefix}/pushy/jobs/{job.id}/output/{node.name}/stdout?follow=true"
    with (
        contextlib.closing(wire.api.connect()) as connection,
        wire.api.send(connection, wire.knife.principal, "GET", path, headers={"Accept": "*/*"} | headers) as response,
    ):
        yield response


def outputs(events: list[Event]) -> bytes:
    """What the events of one channel say, one after the other, with nothing missing."""
    text = b""
    for event in events:
        if event.name == "output":
            assert event.data["offset"] == len(text)
            text += base64.b64decode(str(event.data["data"]))
    return text


def names(events: list[Event]) -> list[str]:
    """The names of events, but of outputs that follow one another only one."""
    seen: list[str] = []
    for event in events:
        if event.name != "output" or seen[-1:] != ["output"]:
            seen.append(event.name)
    return seen


def test_what_a_node_is_told_of_it(wire: Wire, node: OutputClient) -> None:
    old = wire.joined()
    wire.start_job([node, old], capture_output="live", output_limit=5000)
    common = {"type": "commit", "command": COMMAND, "capture": True}
    told = node.expect("commit")
    assert {**common, "output_limit": 5000, "live": True}.items() <= told.items()
    assert old.expect("commit").keys() == told.keys() - {"output_limit", "live"}


def test_the_request_and_the_job(wire: Wire, node: OutputClient) -> None:
    for wrong in ({"output_limit": 1_000_001}, {"output_limit": 0}, {"output_limit": "1"}, {"capture_output": "all"}):
        body = {"command": COMMAND, "nodes": [node.name], "capture_output": True, **wrong}
        answer = wire.knife.ask("POST", "/pushy/jobs", body)
        assert answer.status == 400
        assert answer.json()["error"][0].startswith(next(iter(wrong)))
    job = wire.start_job([node], capture_output="live", output_limit=1_000_000)
    assert wire.knife.job(job.id).keys() & {"capture_output", "output", "output_limit"} == {"capture_output"}
    detailed = wire.knife.get(f"/pushy/jobs/{job.id}?detail=true")
    assert (detailed["capture_output"], detailed["output"], detailed["output_limit"]) == (True, "live", 1_000_000)


def test_the_whole_way(wire: Wire, node: OutputClient) -> None:
    job = running(wire, node)
    assert ask(wire, job, node).status == 404
    texts = {"stdout": EVERY_BYTE * 1000, "stderr": b"oops\n"}
    deliver(node, job.id, texts, chunk=10_000)
    assert shown(ask(wire, job, node)) == (200, texts["stdout"], "256000", "0", "false")
    assert shown(ask(wire, job, node, "stderr")) == (200, b"oops\n", "5", "0", "false")
    end(node, job, texts, dropped=7)
    assert shown(ask(wire, job, node)) == (200, texts["stdout"], "256000", "7", "true")
    assert wire.outcome(job) == ("complete", {"succeeded": [node.name]})


def test_parts_of_it(wire: Wire, node: OutputClient) -> None:
    job = running(wire, node)
    text = random.Random(1).randbytes(100_000)
    deliver(node, job.id, {"stdout": text}, chunk=7_000)
    for asked, start, stop in (
        ("0-9", 0, 10),
        ("99990-", 99_990, 100_000),
        ("-5", 99_995, 100_000),
        ("6990-7010", 6990, 7011),
    ):
        part = ask(wire, job, node, Range=f"bytes={asked}")
        assert (part.status, part.body) == (206, text[start:stop])
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/100000"
    beyond = ask(wire, job, node, Range="bytes=100000-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */100000")
    assert ask(wire, job, node, Range="lines=1-2").body == text
    head = wire.knife.ask("HEAD", f"/pushy/jobs/{job.id}/output/{node.name}/stdout", headers={"Accept": "*/*"})
    assert (head.status, head.headers["content-length"], head.body) == (200, "100000", b"")


def test_following_it_to_the_end(wire: Wire, node: OutputClient) -> None:
    job = running(wire, node)
    with follow(wire, job, node) as reader:
        deliver(node, job.id, {"stdout": b"one\n"})
        assert reader.read(4) == b"one\n"
        node.say_output(job.id, "stdout", 4, b"two\n")
        assert reader.read(4) == b"two\n"
        with follow(wire, job, node, Range="bytes=4-") as second:
            assert second.status == 206
            assert second.read(4) == b"two\n"
            # The end is said before its last piece came.
            node.say("succeeded", job.id, output={"stdout": {"bytes": 10, "dropped": 0}})
            node.heartbeat("idle")
            wait_until(lambda: wire.outcome(job)[0] == "complete" or None, "complete", seconds=10)
            node.say_output(job.id, "stdout", 8, b"3\n")
            assert reader.read() == b"3\n"
            assert second.read() == b"3\n"
    with follow(wire, job, node) as late:
        assert late.read() == b"one\ntwo\n3\n"


def test_feeds_carry_it_to_who_asks(wire: Wire, node: OutputClient) -> None:
    job = running(wire, node)
    feed = wire.feed(job.id, query=WITH_OUTPUT)
    text = random.Random(2).randbytes(300_000)
    deliver(node, job.id, {"stdout": text})
    end(node, job, {"stdout": text})
    events = feed.rest()
    around = ["start", "quorum_vote", "quorum_succeeded", "run_start", "output", "run_complete", "job_complete"]
    assert names(events) == around
    assert outputs(events) == text
    assert all(
        event.data["node"] == node.name and event.data["channel"] == "stdout"
        for event in events
        if event.name == "output"
    )
    plain = job.feed.rest()
    assert [event.name for event in plain] == [name for name in around if name != "output"]
    # From each of its events on, there follows the rest; also when the job has been over for long.
    for number in (0, 3, 5, len(events) - 2):
        assert wire.feed(job.id, last_event_id=events[number].id, query=WITH_OUTPUT).rest() == events[number + 1 :]


def test_output_is_there_within_a_moment(wire: Wire, node: OutputClient) -> None:
    job = running(wire, node)
    feed = wire.feed(job.id, query=WITH_OUTPUT)
    feed.until("run_start")
    text = b""
    for number in range(20):
        line = b"line %d\n" % number
        node.say_output(job.id, "stdout", len(text), line)
        event = feed.next()
        assert base64.b64decode(str(event.data["data"])) == line
        text += line
    end(node, job, {"stdout": text})


def test_output_of_2_x_comes_at_its_end(wire: Wire) -> None:
    node = wire.joined()
    job = wire.start_job([node], capture_output=True)
    feed = wire.feed(job.id, query=WITH_OUTPUT)
    node.expect("commit")
    node.say("ack_commit", job.id)
    node.expect("run")
    node.say("ack_run", job.id)
    node.say("succeeded", job.id, stdout="out\n", stderr="")
    assert names(feed.rest())[-3:] == ["output", "run_complete", "job_complete"]
    answer = ask(wire, job, node)  # type: ignore[arg-type]  # one of 2.x has a name too
    assert shown(answer) == (200, b"out\n", "4", "0", "true")


def lines(wire: Wire, job: Job, query: str) -> list[dict[str, Any]]:
    answer = wire.knife.ask("GET", f"/pushy/jobs/{job.id}/output{query}", headers={"Accept": "*/*"})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.body.splitlines()]


def test_all_outputs_of_a_job(wire: Wire) -> None:
    nodes = [wire.join(wire.make(OutputClient)) for _ in range(4)]
    job = running(wire, *nodes)
    long = random.Random(3).randbytes(600_000)
    said = [
        {"stdout": b"same\n", "stderr": b""},
        {"stdout": long},
        {"stdout": b"same\n"},
        {"stdout": long[:-1] + b"\0"},
    ]
    for node, texts in zip(nodes, said, strict=True):
        deliver(node, job.id, texts)
        end(node, job, texts)
    by_node: dict[tuple[str, str], bytes] = {}
    key = ("", "")
    for line in lines(wire, job, ""):
        key = (line["node"], line["channel"]) if "node" in line else key
        assert line["offset"] == len(by_node.setdefault(key, b""))
        by_node[key] += base64.b64decode(line["data"])
    expected = {
        (node.name, channel): text for node, texts in zip(nodes, said, strict=True) for channel, text in texts.items()
    }
    assert by_node == expected
    assert list(by_node) == sorted(by_node)
    grouped = [line for line in lines(wire, job, "?group=true&channel=stdout") if "nodes" in line]
    assert grouped[0]["nodes"] == sorted([nodes[0].name, nodes[2].name])
    assert base64.b64decode(grouped[0]["data"]) == b"same\n"
    assert [line["nodes"] for line in grouped[1:]] == sorted([[nodes[1].name], [nodes[3].name]])
    assert {(line["bytes"], line["complete"]) for line in grouped[1:]} == {(600_000, True)}
    assert wire.knife.ask("GET", f"/pushy/jobs/{job.id}/output?channel=x").status == 400
    assert wire.knife.ask("GET", f"/pushy/jobs/{'0' * 32}/output").status == 404


def test_what_is_beyond_the_limit_is_acknowledged_and_left_out(wire: Wire, node: OutputClient) -> None:
    job = running(wire, node, output_limit=1000)
    text = b"x" * 20_000
    deliver(node, job.id, {"stdout": text})
    end(node, job, {"stdout": text})
    answer = ask(wire, job, node)
    assert shown(answer) == (200, text[: 1000 + 4096], "5096", str(20_000 - 5096), "true")
    assert "limit of 1000 bytes" in answer.headers["x-pushy-output-problem"]


def test_what_comes_late_or_is_of_no_job_is_no_reason_for_a_rehab(wire: Wire, node: OutputClient) -> None:
    job = running(wire, node)
    end(node, job, {"stdout": b"late"})
    job.feed.rest()
    for job_id, offset in ((job.id, 4), ("f" * 32, 4)):
        node.say_output(job_id, "stdout", 0, b"late")
        assert node.expect_offsets(job_id) == {"stdout": offset}
    node.expect_nothing(within=0.3)
    assert ask(wire, job, node).body == b"late"


def test_one_loud_node_and_fifty_quiet_ones(wire: Wire, node: OutputClient) -> None:
    quiet = [wire.join(wire.make(OutputClient)) for _ in range(50)]
    job = running(wire, node, *quiet, output_limit=1_000_000)
    flood = {"stdout": b"x" * 8_000_000}  # of which most is beyond the limit, and costs as much
    shouting = threading.Thread(target=deliver, args=(node, job.id, flood))
    shouting.start()
    waited: list[float] = []
    try:
        for turn in range(4):
            for each in quiet:
                each.say_output(job.id, "stdout", 5 * turn, b"quiet"[:5])
            begun = time.monotonic()
            for each in quiet:
                assert each.expect_offsets(job.id) == {"stdout": 5 * turn + 5}
            waited.append(time.monotonic() - begun)
    finally:
        shouting.join()
    # No measurement, but beyond it somebody was starved.
    assert max(waited) < STARVED_SECONDS, waited
    assert {ask(wire, job, each).body for each in quiet} == {b"quiet" * 4}
