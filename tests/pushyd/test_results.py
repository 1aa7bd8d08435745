"""Results are acknowledged when they are stored, and not before; many by one commit."""

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pushy_protocol.states import JobStatus
from pushyd.domain.node import NodeRef
from pushyd.results import Results
from pushyd.store.interface import JobStatusChange, StoreUnavailable
from tests.pushyd.doubles import NOW, MemoryStore, texts

WEB1, WEB2, WEB3 = (NodeRef("acme", f"web{number}") for number in (1, 2, 3))
JOB = "0123456789abcdef0123456789abcdef"


class CountingStore(MemoryStore):
    """Counts how often somebody waits for it, and can fail who does."""

    waits = 0
    fails = False

    async def recorded(self, *, hurry: bool = False) -> None:
        self.waits += 1
        if self.fails:
            raise StoreUnavailable("closed")
        await super().recorded(hurry=hurry)


class ResultsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = CountingStore()
        self.acknowledged: list[tuple[NodeRef, str]] = []
        self.results = Results(
            store=self.store, acknowledge=lambda node, job_id: self.acknowledged.append((node, job_id))
        )

    def receive(self, *nodes: NodeRef) -> None:
        for node in nodes:
            # What its result changes, which is recorded first.
            self.store.record(JobStatusChange(job_id=JOB, status=JobStatus.RUNNING, at=NOW))
            self.results.received(node, JOB)

    def test_one_is_acknowledged_once_it_is_stored(self) -> None:
        self.store.hold()
        self.receive(WEB1)
        assert self.acknowledged == []
        self.store.release()
        assert self.acknowledged == [(WEB1, JOB)]

    def test_one_that_changes_nothing_is_acknowledged_at_once(self) -> None:
        self.results.received(WEB1, JOB)
        assert self.acknowledged == [(WEB1, JOB)]

    def test_one_that_is_said_again_is_acknowledged_again(self) -> None:
        self.receive(WEB1, WEB1)
        assert self.acknowledged == [(WEB1, JOB)] * 2

    def test_those_that_come_meanwhile_are_acknowledged_together_after_the_next_commit(self) -> None:
        self.store.hold()
        self.receive(WEB1, WEB2, WEB3, WEB1)
        assert self.store.waits == 1
        self.store.release()
        assert self.acknowledged == [(WEB1, JOB), (WEB2, JOB), (WEB3, JOB), (WEB1, JOB)]
        assert self.store.waits == 2

    def test_one_that_comes_while_an_earlier_one_is_stored_waits_for_its_own_commit(self) -> None:
        class Slow(CountingStore):
            def release(self) -> None:
                """Commit what was held, and hold what comes of it."""
                super().release()
                self.hold()

        self.store = Slow()
        self.results = Results(store=self.store, acknowledge=self.heard)
        self.store.hold()
        self.receive(WEB1)
        self.store.release()
        assert self.acknowledged == [(WEB1, JOB)]
        self.receive(WEB3)
        assert self.acknowledged == [(WEB1, JOB)]
        self.store.release()
        assert self.acknowledged == [(WEB1, JOB), (WEB3, JOB)]

    def heard(self, node: NodeRef, job_id: str) -> None:
        self.acknowledged.append((node, job_id))

    def test_while_the_store_is_broken_nothing_is_acknowledged(self) -> None:
        self.store.break_down()
        self.receive(WEB1, WEB2)
        assert self.acknowledged == []
        self.store.mend()
        assert self.acknowledged == [(WEB1, JOB), (WEB2, JOB)]

    def test_after_a_failure_it_goes_on_with_the_next(self) -> None:
        self.store.fails = True
        with capturedLogs() as logged:
            self.receive(WEB1)
        assert self.acknowledged == []
        assert texts(logged, "critical") == ["Results were not acknowledged; agents will send them again"]
        assert len(self.flushLoggedErrors(StoreUnavailable)) == 1
        self.store.fails = False
        self.receive(WEB2)
        assert self.acknowledged == [(WEB2, JOB)]
