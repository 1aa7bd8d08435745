"""What the machines want done; the services do it, in the order given."""

from enum import Enum, StrEnum
from typing import NamedTuple

from attrs import frozen

from pushy_protocol.states import JobStatus, NodeStatus


class Order(Enum):
    """What a job tells its nodes."""

    COMMIT = "commit"
    RUN = "run"


class Timer(Enum):
    """The clocks of a job; a job has at most one of them running."""

    VOTING = "voting"
    RUNNING = "running"
    ABORTING = "aborting"


class FeedEvent(StrEnum):
    """The names of a feed's events."""

    START = "start"
    QUORUM_VOTE = "quorum_vote"
    QUORUM_SUCCEEDED = "quorum_succeeded"
    RUN_START = "run_start"
    RUN_COMPLETE = "run_complete"
    REHAB = "rehab"
    JOB_COMPLETE = "job_complete"


@frozen
class Send:
    """Send `order` to each of `nodes`."""

    nodes: tuple[str, ...]
    order: Order


@frozen
class Rehab:
    """Send `node` through rehab: abort what it does until it says that it does nothing."""

    node: str


# These two come with nearly every message of a node: named tuples are made in a third of the time.


class NodeChanged(NamedTuple):
    """A node of the job has a new status, which is to be kept."""

    node: str
    status: NodeStatus


class Emit(NamedTuple):
    """An event for the job's feed; `node` and `status` where the event has them."""

    event: FeedEvent
    node: str | None = None
    status: str | None = None


@frozen
class JobChanged:
    """The job has a new status, which is to be kept."""

    status: JobStatus


@frozen
class AbortKept:
    """The job is being aborted, which is to be kept: a server that starts again goes on aborting it."""


@frozen
class StartTimer:
    """Fire `timer` at the job after `seconds`, instead of the timer that it has."""

    timer: Timer
    seconds: float


@frozen
class StopTimer:
    """The job needs its timer no more."""


JobEffect = Send | Rehab | NodeChanged | JobChanged | AbortKept | Emit | StartTimer | StopTimer
