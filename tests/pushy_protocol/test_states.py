"""The names of statuses are the wire's; which of them are ends."""

import msgspec

from pushy_protocol.states import TERMINAL_JOB_STATUSES, TERMINAL_NODE_STATUSES, AgentState, JobStatus, NodeStatus


def test_job_statuses() -> None:
    assert [*JobStatus] == [
        "new",
        "voting",
        "running",
        "complete",
        "quorum_failed",
        "timed_out",
        "aborted",
        "crashed",
    ]
    assert {"complete", "quorum_failed", "timed_out", "aborted", "crashed"} == TERMINAL_JOB_STATUSES


def test_node_statuses() -> None:
    ends = ["succeeded", "failed", "aborted", "unavailable", "nacked", "crashed", "was_ready", "timed_out"]
    assert [*NodeStatus] == ["new", "ready", "running", *ends]
    assert set(ends) == TERMINAL_NODE_STATUSES


def test_agent_states() -> None:
    assert [*AgentState] == ["idle", "committed", "running"]


def test_they_are_their_names_in_json() -> None:
    assert msgspec.json.encode({NodeStatus.WAS_READY: JobStatus.QUORUM_FAILED}) == b'{"was_ready":"quorum_failed"}'
