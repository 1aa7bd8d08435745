"""The statuses of a job, and of a node within a job, by their names on the wire and in the API."""

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job stands; see :data:`TERMINAL_JOB_STATUSES` for the ends."""

    NEW = "new"
    VOTING = "voting"
    RUNNING = "running"
    COMPLETE = "complete"
    QUORUM_FAILED = "quorum_failed"
    TIMED_OUT = "timed_out"
    ABORTED = "aborted"
    CRASHED = "crashed"


class NodeStatus(StrEnum):
    """Where a node stands within one job; see :data:`TERMINAL_NODE_STATUSES` for the ends."""

    NEW = "new"
    READY = "ready"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    UNAVAILABLE = "unavailable"
    NACKED = "nacked"
    CRASHED = "crashed"
    WAS_READY = "was_ready"
    TIMED_OUT = "timed_out"


class AgentState(StrEnum):
    """What an agent says of itself in a heartbeat's ``job_state``."""

    IDLE = "idle"
    COMMITTED = "committed"
    RUNNING = "running"


TERMINAL_JOB_STATUSES = frozenset(JobStatus) - {JobStatus.NEW, JobStatus.VOTING, JobStatus.RUNNING}
TERMINAL_NODE_STATUSES = frozenset(NodeStatus) - {NodeStatus.NEW, NodeStatus.READY, NodeStatus.RUNNING}
