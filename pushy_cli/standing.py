"""Where a job stands: its status and how many nodes have which, from looks at the job or from the events of its feed.

Pure values; how they are had is :mod:`pushy_cli.following`'s, what they look like :mod:`pushy_cli.render`'s.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from pushy_protocol.api import Job
from pushy_protocol.states import TERMINAL_NODE_STATUSES, JobStatus, NodeStatus

# What a node is once its vote, or the end of its run, is told; other words (`client_died_while_voting`...) tell of a
# node that had ended before, so they change nothing.
_VOTED = {
    "success": NodeStatus.READY,
    "failure": NodeStatus.NACKED,
    "down": NodeStatus.UNAVAILABLE,
    "voting_timeout": NodeStatus.UNAVAILABLE,
    "lost_availibility": NodeStatus.UNAVAILABLE,
}
_RAN = {
    "success": NodeStatus.SUCCEEDED,
    "failure": NodeStatus.FAILED,
    "aborted": NodeStatus.ABORTED,
    "run_nacked": NodeStatus.FAILED,
    "run_nacked_while_running": NodeStatus.FAILED,
    "crashed": NodeStatus.CRASHED,
    "timed_out": NodeStatus.TIMED_OUT,
}


@frozen(kw_only=True)
class Standing:
    """A job at one moment."""

    status: str
    counts: Mapping[str, int]
    """How many nodes have each status; without those that none has."""

    @property
    def total(self) -> int:
        """How many nodes the job has."""
        return sum(self.counts.values())

    @property
    def settled(self) -> int:
        """How many nodes are done with what the job waits for: their votes, then their runs."""
        if self.status in {JobStatus.NEW, JobStatus.VOTING}:
            return self.total - self.counts.get(NodeStatus.NEW, 0)
        return sum(number for status, number in self.counts.items() if status in TERMINAL_NODE_STATUSES)


def standing_of(job: Job) -> Standing:
    """Where a job stands that was looked at."""
    return Standing(
        status=job.status, counts={status: len(names) for status, names in (job.nodes or {}).items() if names}
    )


class Tally:
    """Adds up the events of one job's feed. Takes them twice, and any text in them, without harm."""

    def __init__(self) -> None:
        self._begin(0)

    def _begin(self, total: int) -> None:
        self._status: str = JobStatus.NEW
        self._total = total
        self._nodes: dict[str, NodeStatus] = {}
        self._counts: Counter[str] = Counter()

    @property
    def standing(self) -> Standing:
        """Where the job stands after what was taken."""
        counts = {status: number for status, number in self._counts.items() if number}
        if unheard := self._total - len(self._nodes):
            counts[NodeStatus.NEW] = unheard
        return Standing(status=self._status, counts=counts)

    def take(self, name: str, data: Mapping[str, Any]) -> None:
        """Count one event in; a `start` begins anew, as a server does that no longer knows where we were."""
        node, told = data.get("node"), data.get("status")
        status = told if isinstance(told, str) else ""
        match name:
            case "start":
                count = data.get("node_count")
                self._begin(count if isinstance(count, int) and count > 0 else 0)
                self._status = JobStatus.VOTING
            case "quorum_vote" if status in _VOTED:
                self._settle(node, _VOTED[status])
            case "quorum_succeeded":
                self._status = JobStatus.RUNNING
            case "run_start":
                self._settle(node, NodeStatus.RUNNING)
            case "run_complete" if status in _RAN:
                self._settle(node, _RAN[status])
            case "job_complete" if status:
                self._status = status

    def _settle(self, node: object, status: NodeStatus) -> None:
        if not isinstance(node, str):
            return
        if before := self._nodes.get(node):
            self._counts[before] -= 1
        self._nodes[node] = status
        self._counts[status] += 1
        self._total = max(self._total, len(self._nodes))
