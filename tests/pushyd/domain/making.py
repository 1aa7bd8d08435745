"""Jobs for the tests, at any point of their life."""

from collections.abc import Mapping

from pushy_protocol.states import JobStatus, NodeStatus
from pushyd.domain.job import Job, JobSpec

VOTING_TIMEOUT = 60.0
RUN_TIMEOUT = 3600.0


def new_job(*nodes: str, quorum: float | None = None) -> Job:
    """A job that has not begun; its quorum is all nodes unless another is given."""
    return Job(
        JobSpec(
            id="0123456789abcdef0123456789abcdef",
            organization="default",
            command="true",
            nodes=nodes,
            quorum=len(nodes) if quorum is None else quorum,
            run_timeout=RUN_TIMEOUT,
            voting_timeout=VOTING_TIMEOUT,
            created_at=1_400_000_000.0,
            created_by="admin",
        )
    )


def job_at(
    status: JobStatus, nodes: Mapping[str, NodeStatus], quorum: float | None = None, *, aborting: bool = False
) -> Job:
    """A job in which everything stands as given, as if events had led there."""
    job = new_job(*nodes, quorum=quorum)
    job.status, job.aborting = status, aborting
    job.nodes.update(nodes)
    job.counts = counted(job)
    return job


def counted(job: Job) -> dict[NodeStatus, int]:
    """How many nodes have each status, by counting them."""
    statuses = list(job.nodes.values())
    return {status: statuses.count(status) for status in NodeStatus}
