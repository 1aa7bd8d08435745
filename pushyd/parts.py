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
            others = self._jobs.get(node)
            self._jobs[node] = (*others, job_id) if others else alone

    def end(self, job_id: str, node: NodeRef) -> None:
        """It waits for this one no more."""
        if left := tuple(other for other in self._jobs.get(node, ()) if other != job_id):
            self._jobs[node] = left
        else:
            self._jobs.pop(node, None)

    def of(self, node: NodeRef) -> tuple[str, ...]:
        """The ids of the jobs that wait for a node, oldest first."""
        return self._jobs.get(node, ())
