"""The tables of section 7 of the protocol: what becomes of one node when something comes from it.

:mod:`job` looks a cell up and carries it out; nothing is decided here but what a cell says.
"""

from enum import StrEnum

from attrs import frozen

from pushy_protocol.states import TERMINAL_NODE_STATUSES, NodeStatus


class NodeEvent(StrEnum):
    """What can come from a node of a job."""

    ACK_COMMIT = "ack_commit"
    NACK_COMMIT = "nack_commit"
    ACK_RUN = "ack_run"
    NACK_RUN = "nack_run"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    DOWN = "down"


class Stand(StrEnum):
    """Where a node stands, as far as the tables tell nodes apart."""

    NEW = "new"
    READY = "ready"
    RUNNING = "running"
    TERMINAL = "terminal"


@frozen
class Row:
    """What happens to one node: its new status (None: it stays), whether it needs rehab, and what the feed says."""

    status: NodeStatus | None = None
    rehab: bool = False
    report: str | None = None


NOTHING = Row()
NEW, READY, RUNNING, TERMINAL = Stand
STANDS = {status: TERMINAL if status in TERMINAL_NODE_STATUSES else Stand(status.value) for status in NodeStatus}

_DIED_VOTING = Row(None, True, "client_died_while_voting")
_DROPPED_OUT = Row(NodeStatus.UNAVAILABLE, True)
WENT_DOWN = Row(NodeStatus.UNAVAILABLE, True, "down")
_BACK_TO_REHAB = Row(None, True)

# No node is `running` while the voting lasts.
WHILE_VOTING: dict[NodeEvent, dict[Stand, Row]] = {
    NodeEvent.ACK_COMMIT: {
        NEW: Row(NodeStatus.READY, False, "success"),
        READY: Row(None, False, "unexpected_commit"),
        TERMINAL: _DIED_VOTING,
    },
    NodeEvent.NACK_COMMIT: {
        NEW: Row(NodeStatus.NACKED, False, "failure"),
        READY: Row(NodeStatus.UNAVAILABLE, True, "lost_availibility"),
        TERMINAL: _DIED_VOTING,
    },
    NodeEvent.DOWN: {NEW: WENT_DOWN, READY: WENT_DOWN, TERMINAL: _BACK_TO_REHAB},
    # `aborted` is how a node leaves rehab, so it never sends one there whose part is over (section 6).
    NodeEvent.ABORTED: {NEW: _DROPPED_OUT, READY: _DROPPED_OUT, TERMINAL: NOTHING},
} | {
    other: {NEW: _DROPPED_OUT, READY: _DROPPED_OUT, TERMINAL: _BACK_TO_REHAB}
    for other in (NodeEvent.ACK_RUN, NodeEvent.NACK_RUN, NodeEvent.SUCCEEDED, NodeEvent.FAILED)
}

_DIED_RUNNING = Row(None, True, "client_died_while_running")
CRASHED = Row(NodeStatus.CRASHED, True, "crashed")

# No node is `new` while the job runs. A `run_start` is told from the rest by its new status.
WHILE_RUNNING: dict[NodeEvent, dict[Stand, Row]] = {
    NodeEvent.ACK_RUN: {READY: Row(NodeStatus.RUNNING), RUNNING: NOTHING, TERMINAL: _DIED_RUNNING},
    NodeEvent.NACK_RUN: {
        READY: Row(NodeStatus.FAILED, True, "run_nacked"),
        RUNNING: Row(NodeStatus.FAILED, True, "run_nacked_while_running"),
        TERMINAL: _DIED_RUNNING,
    },
    NodeEvent.SUCCEEDED: {
        READY: CRASHED,
        RUNNING: Row(NodeStatus.SUCCEEDED, False, "success"),
        TERMINAL: _DIED_RUNNING,
    },
    NodeEvent.FAILED: {
        READY: CRASHED,
        RUNNING: Row(NodeStatus.FAILED, False, "failure"),
        TERMINAL: _DIED_RUNNING,
    },
    NodeEvent.ABORTED: {READY: CRASHED, RUNNING: CRASHED, TERMINAL: NOTHING},
} | {
    other: {READY: CRASHED, RUNNING: CRASHED, TERMINAL: _DIED_RUNNING}
    for other in (NodeEvent.DOWN, NodeEvent.ACK_COMMIT, NodeEvent.NACK_COMMIT)
}


# Of a job that is being aborted, whatever its status. A result that was on its way is the truth; an `aborted` or the
# end of the node is what is waited for. A commit that is acknowledged only now has to be undone.
_ABORTED = Row(NodeStatus.ABORTED, False, "aborted")
WHILE_ABORTING: dict[NodeEvent, dict[Stand, Row]] = {
    NodeEvent.SUCCEEDED: {RUNNING: Row(NodeStatus.SUCCEEDED, False, "success")},
    NodeEvent.FAILED: {RUNNING: Row(NodeStatus.FAILED, False, "failure")},
    NodeEvent.ABORTED: {READY: _ABORTED, RUNNING: _ABORTED},
    NodeEvent.DOWN: {READY: _ABORTED, RUNNING: _ABORTED},
    NodeEvent.ACK_COMMIT: {TERMINAL: Row(None, True)},
    NodeEvent.NACK_COMMIT: {},
    NodeEvent.ACK_RUN: {READY: Row(NodeStatus.RUNNING)},
    NodeEvent.NACK_RUN: {READY: _ABORTED},
}
