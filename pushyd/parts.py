"""Which jobs wait for a node: an index, so that a heartbeat costs one look and not one for each job."""

from collections.abc import Iterable

from pushyd.domain.node import NodeRef


class Parts:
    """The parts of nodes in live jobs that have not ended."""

    def __init__(self) -> None:
        self._jobs: dict[NodeRef, tuple[str, ...]] = {}

    def begin(self, job_id: str, nodes: Iterable[NodeRef]) -> None:
        """A job waits for these nodes."""
        alone = (job_id,)  # one for all of them: a job may have ten thousand nodes
        for node in nodes:
            others = self._jobs.setdefault(node, alone)
            if others is not alone:
                self._jobs[node] = (*others, job_id)

    def end(self, job_id: str, node: NodeRef) -> None:
        """It waits for this one no more."""
        parts = self._jobs.get(node, ())
        if parts == (job_id,):
            del self._jobs[node]
        elif job_id in parts:
            self._jobs[node] = tuple(other for other in parts if other != job_id)

    def of(self, node: NodeRef) -> tuple[str, ...]:
        """The ids of the jobs that wait for a node, oldest first."""
        return self._jobs.get(node, ())
