"""Section 7 of protocol.md while a job is running: every cell of its table with real messages, and what a job carries.

A cell has two nodes: the *subject* is brought into a state and then meets an event; the *holder* is ready all the
while, and so keeps the job running until it succeeds at the end. The whole feed is compared.
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import pytest

from tests.integration.push_client_2x import PushClient
from tests.integration.wire_2x import (
    AVAILABLE,
    COMMAND,
    IN_REHAB,
    QUORUM_SUCCEEDED,
    Job,
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

# What the subject votes, and what that gives; a rehab is None.
VOTES: Mapping[str, tuple[str, str | None]] = {
    "ready": ("ack_commit", "success"),
    "nacked": ("nack_commit", "failure"),
    "unavailable": ("ack_run", None),
}
# How it goes on in the running job: what it says, and how that completes its run (None: it only starts).
RUNS: Mapping[str, tuple[tuple[str, str | None], ...]] = {
    "running": (("ack_run", None),),
    "succeeded": (("ack_run", None), ("succeeded", "success")),
    "failed": (("ack_run", None), ("failed", "failure")),
    "crashed": (("succeeded", "crashed"),),
}
TERMINAL = ("succeeded", "failed", "crashed", "nacked", "unavailable")
EVENTS = ("ack_run", "nack_run", "succeeded", "failed", "down", "aborted", "ack_commit", "nack_commit")
ELSE = ("down", "aborted", "ack_commit", "nack_commit")

START, DIED = "start", "client_died_while_running"
# (state, event) -> the state after it, how the run is told to be complete (or to start), and whether there is a rehab.
TABLE: Mapping[tuple[str, str], tuple[str, str | None, bool]] = {
    ("ready", "ack_run"): ("running", START, False),
    ("ready", "nack_run"): ("failed", "run_nacked", True),
    ("ready", "succeeded"): ("crashed", "crashed", True),
    ("ready", "failed"): ("crashed", "crashed", True),
    ("running", "ack_run"): ("running", None, False),
    ("running", "nack_run"): ("failed", "run_nacked_while_running", True),
    ("running", "succeeded"): ("succeeded", "success", False),
    ("running", "failed"): ("failed", "failure", False),
    **{(state, event): ("crashed", "crashed", True) for state in ("ready", "running") for event in ELSE},
    **{(state, event): (state, DIED, True) for state in TERMINAL for event in EVENTS},
    # `aborted` never causes a rehab, and a terminal node does not change.
    **{(state, "aborted"): (state, None, False) for state in TERMINAL},
}
assert set(TABLE) == {(state, event) for state in ("ready", "running", *TERMINAL) for event in EVENTS}


def emitted(node: PushClient, complete: str | None, *, has_rehab: bool) -> list[Told]:
    events = [rehab(node)] if has_rehab else []
    if complete == START:
        return [*events, run_start(node)]
    return [*events, run_complete(node, complete)] if complete else events


def bring(wire: Wire, state: str) -> tuple[PushClient, PushClient, Job]:
    """A subject in `state` in a running job, a holder that is ready there, and the job."""
    subject, holder = wire.joined(), wire.joined()
    job = wire.start_job([subject, holder], quorum=1)
    subject.expect("commit")
    holder.expect("commit")
    said, given = VOTES.get(state, VOTES["ready"])
    subject.say(said, job.id)
    job.tells([start(2, 1), vote(subject, given) if given else rehab(subject)])
    holder.say("ack_commit", job.id)
    job.tells([vote(holder, "success"), QUORUM_SUCCEEDED])
    assert holder.expect("run")["job_id"] == job.id
    if state == "unavailable":
        subject.expect("abort")
    elif state != "nacked":
        assert subject.expect("run")["job_id"] == job.id
    for kind, complete in RUNS.get(state, ()):
        subject.say(kind, job.id)
        job.tells(emitted(subject, complete or START, has_rehab=complete == "crashed"))
    if state == "crashed":
        subject.expect("abort")
    return subject, holder, job


@pytest.mark.parametrize(("state", "event"), TABLE, ids=[f"{state}-{event}" for state, event in TABLE])
def test_a_cell_of_the_table_of_running(wire: Wire, state: str, event: str) -> None:
    subject, holder, job = bring(wire, state)
    after, complete, has_rehab = TABLE[state, event]
    if event == "down":
        subject.restart()
        subject.heartbeat()
    else:
        subject.say(event, job.id)
    job.tells(emitted(subject, complete, has_rehab=has_rehab))
    is_in_rehab_already = state in ("crashed", "unavailable")
    if has_rehab:
        if not is_in_rehab_already:
            subject.expect("abort")
        assert wire.knife.node_state(subject.name) == IN_REHAB
    elif not complete:
        # Nothing can be waited for, so the next message of the same node tells when this one is through.
        if state != "running":
            wire.wait_for_state(subject, AVAILABLE)
            subject.expect_nothing()
        next_event = "succeeded"
        subject.say(next_event, job.id)
        after, complete, has_rehab = TABLE[state, next_event]
        job.tells(emitted(subject, complete, has_rehab=has_rehab))
    else:
        subject.expect_nothing()
    if after == "running":
        subject.say("succeeded", job.id)
        job.tells([run_complete(subject, "success")])
        after = "succeeded"
    assert wire.outcome(job)[0] == "running"

    holder.say("ack_run", job.id)
    holder.say("succeeded", job.id)
    end = [run_start(holder), run_complete(holder, "success"), job_complete("complete")]
    assert told(job.feed.rest()) == end
    assert wire.outcome(job) == ("complete", by_status({subject: after, holder: "succeeded"}))
    holder.expect_nothing()
    assert wire.knife.node_state(holder.name) == AVAILABLE


def test_the_messages_have_exactly_the_keys_of_the_contract(wire: Wire) -> None:
    node = wire.node()
    node.connect()
    node.beat()
    node.heartbeat()
    assert node.expect("abort") == {"type": "abort"}
    node.say("aborted")
    wire.wait_for_state(node, AVAILABLE)
    node.connect()
    node.heartbeat()
    assert node.expect("ack") == {"type": "ack"}
    job = wire.start_job([node])
    commit = node.expect("commit")
    assert commit.pop("server")
    assert commit == {"type": "commit", "job_id": job.id, "command": COMMAND}
    node.say("ack_commit", job.id)
    assert node.expect("run") == {"type": "run", "job_id": job.id}
    node.say("ack_run", job.id)
    node.say("succeeded", job.id)
    assert told(job.feed.rest())[-1] == job_complete("complete")


OPTIONS: Mapping[str, object] = {
    "user": "www-data",
    "dir": "/srv/päth",
    "env": {"LANG": "C.UTF-8", "EMPTY": ""},
    "file": "base64:aGVsbG8A",
    "capture_output": True,
}


def test_everything_that_a_job_may_carry_reaches_the_node_and_the_reader(wire: Wire) -> None:
    node = wire.joined()
    job = wire.start_job([node], run_timeout=60, quorum=1, **OPTIONS)
    commit = node.expect("commit")
    assert commit.pop("server")
    same = {name: OPTIONS[name] for name in ("user", "dir", "env", "file")}
    assert commit == {"type": "commit", "job_id": job.id, "command": COMMAND, "capture": True, **same}
    shown = {"dir": OPTIONS["dir"], "env": OPTIONS["env"], "file_specified": True}
    job.tells([start(1, 1, run_timeout=60, job_user=OPTIONS["user"], capture=True, **shown)])
    node.say("ack_commit", job.id)
    node.expect("run")
    node.say("ack_run", job.id)
    node.say("succeeded", job.id, stdout="grüße\n", stderr="\x00warning")
    job.feed.rest()
    for channel, content in (("stdout", "grüße\n"), ("stderr", "\x00warning")):
        output = wire.knife.output(job.id, node.name, channel)
        assert (output.status, output.body) == (200, content.encode())
        assert output.headers["content-type"] == "application/octet-stream"
    of_job = {**shown, "user": OPTIONS["user"], "capture_output": True}
    assert without_times(wire.knife.job(job.id)) == described(job, run_timeout=60, **of_job, nodes=node)
    with_file = wire.knife.get(f"/pushy/jobs/{job.id}?include_file=true")
    del of_job["file_specified"]
    of_job["file"] = OPTIONS["file"]
    assert without_times(with_file) == described(job, run_timeout=60, **of_job, nodes=node)


def without_times(shown: dict[str, object]) -> dict[str, object]:
    """A job without its times, which are checked; `updated_at` is not before `created_at`."""
    created, updated = (parsedate_to_datetime(str(shown.pop(name))) for name in ("created_at", "updated_at"))
    assert created <= updated
    return shown


def described(job: Job, *, nodes: PushClient, run_timeout: float = 3600, **more: object) -> dict[str, object]:
    """A job that one node has completed, as the API shows it."""
    fixed = {"id": job.id, "command": COMMAND, "status": "complete", "run_timeout": run_timeout}
    return {**fixed, "nodes": {"succeeded": [nodes.name]}, **more}


def test_a_job_carries_nothing_that_was_not_given(wire: Wire) -> None:
    node = wire.joined()
    job = wire.start_job([node])
    node.expect("commit")
    node.say("ack_commit", job.id)
    node.expect("run")
    node.say("ack_run", job.id)
    node.say("succeeded", job.id)
    job.feed.rest()
    assert without_times(wire.knife.job(job.id)) == described(job, nodes=node)
    listed = wire.knife.get("/pushy/jobs")
    expected = described(job, nodes=node)
    del expected["nodes"]
    assert without_times(listed[0]) == expected
    for channel in ("stdout", "stderr"):
        assert wire.knife.output(job.id, node.name, channel).status == 404


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.3"])
def test_a_job_may_be_started_with_each_version_of_signing(wire: Wire, version: str) -> None:
    node = wire.joined()
    knife = wire.knife_of("admin", version=version)
    job = knife.start("ohai", [node.name])
    assert node.expect("commit")["command"] == "ohai"
    node.say("nack_commit", job)
    wire.watch(job).feed.rest()
    assert knife.job(job)["nodes"] == {"nacked": [node.name]}


def test_a_failure_keeps_its_output_too(wire: Wire) -> None:
    node = wire.joined()
    job = wire.start_job([node], capture_output=True)
    node.expect("commit")
    node.say("ack_commit", job.id)
    node.expect("run")
    node.say("ack_run", job.id)
    node.say("failed", job.id, stdout="", stderr="broken\n")
    assert told(job.feed.rest())[-2:] == [run_complete(node, "failure"), job_complete("complete")]
    assert wire.outcome(job) == ("complete", {"failed": [node.name]})
    assert wire.knife.output(job.id, node.name, "stderr").body == b"broken\n"


def test_a_busy_node_is_asked_all_the_same_and_refuses(wire: Wire) -> None:
    node = wire.joined()
    first = wire.start_job([node])
    node.expect("commit")
    node.say("ack_commit", first.id)
    node.expect("run")
    node.say("ack_run", first.id)
    node.heartbeat("running", first.id)
    second = wire.start_job([node])
    assert node.expect("commit")["job_id"] == second.id
    node.say("nack_commit", second.id)
    assert told(second.feed.rest()) == [start(1, 1), vote(node, "failure"), job_complete("quorum_failed")]
    node.say("succeeded", first.id)
    assert told(first.feed.rest())[-2:] == [run_complete(node, "success"), job_complete("complete")]
