"""When jobs are deleted, and in what steps; without a database."""

from collections.abc import Sequence

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pushyd.config import ConfigError, load
from pushyd.retention import JOBS_AT_ONCE, PAUSE_SECONDS, ROWS_AT_ONCE, SWEEP_SECONDS, Retention
from pushyd.store.interface import Organization, StoreUnavailable
from tests.pushyd.doubles import begin, texts

NOW = 1_000_000_000.0
DAY = 86_400


@define
class Shelf:
    """What of a store retention uses. A job is the time when it was made; its place is where it lies in the list."""

    jobs: dict[str, list[float]]
    rows: int = 0
    broken: Exception | None = None
    held: Deferred[None] | None = None
    steps: list[str] = field(factory=list)

    async def organizations(self) -> Sequence[Organization]:
        if self.broken:
            raise self.broken
        return [Organization(name=name, guid=name) for name in self.jobs]

    async def place(self, organization: str, rank: int) -> int | None:
        place = len(self.jobs[organization]) - 1 - rank
        return place if place >= 0 else None

    async def retire_jobs(
        self, organization: str, *, limit: int, created_before: float | None = None, up_to: int | None = None
    ) -> int:
        self.steps.append("retire")
        jobs = self.jobs[organization]
        if created_before is not None:
            gone = [job for job in jobs if job < created_before][:limit]
            self.jobs[organization] = [job for job in jobs if job not in gone]
            return len(gone)
        assert up_to is not None
        # Places do not move up when earlier jobs go.
        gone = [job for job in jobs if job <= up_to][:limit]
        self.jobs[organization] = jobs[len(gone) :]
        return len(gone)

    async def purge(self, limit: int) -> int:
        self.steps.append("purge")
        if self.held:
            await self.held
        deleted = min(limit, self.rows)
        self.rows -= deleted
        return deleted


class RetentionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events = self.enterContext(capturedLogs())

    def retention(self, shelf: Shelf, *, days: int = 0, count: int = 0) -> Retention:
        retention = Retention(store=shelf, clock=self.clock, now=lambda: NOW, days=days, count=count)
        self.addCleanup(retention.stop)
        return retention

    def run_on(self, seconds: float) -> None:
        for _ in range(int(seconds / PAUSE_SECONDS)):
            self.clock.advance(PAUSE_SECONDS)

    def test_by_default_all_is_kept(self) -> None:
        shelf = Shelf({"acme": [0.0, NOW]})
        self.retention(shelf).start()
        self.run_on(2 * SWEEP_SECONDS)
        assert shelf.jobs == {"acme": [0.0, NOW]}
        assert "retire" not in shelf.steps

    def test_what_is_too_old_goes(self) -> None:
        shelf = Shelf({"acme": [NOW - 2 * DAY - 1, NOW - 2 * DAY, NOW], "other": [0.0]})
        self.retention(shelf, days=2).start()
        self.run_on(1)
        assert shelf.jobs == {"acme": [NOW - 2 * DAY, NOW], "other": []}
        assert texts(self.events, "info") == ["Deleted 1 old jobs of acme", "Deleted 1 old jobs of other"]

    def test_what_is_too_many_goes(self) -> None:
        shelf = Shelf({"acme": [0.0, 1.0, 2.0, 3.0], "other": [0.0, 1.0]})
        self.retention(shelf, count=3).start()
        self.run_on(1)
        assert shelf.jobs == {"acme": [1.0, 2.0, 3.0], "other": [0.0, 1.0]}

    def test_it_is_looked_for_again(self) -> None:
        shelf = Shelf({"acme": []})
        self.retention(shelf, days=1).start()
        self.run_on(1)
        shelf.jobs["acme"] = [0.0]
        self.run_on(SWEEP_SECONDS)
        assert shelf.jobs == {"acme": []}

    def test_others_get_to_write_between_two_steps(self) -> None:
        shelf = Shelf({"acme": [float(number) for number in range(2 * JOBS_AT_ONCE + 1)]}, rows=2 * ROWS_AT_ONCE + 1)
        self.retention(shelf, days=1).start()
        steps = [len(shelf.steps)]
        while len(self.clock.getDelayedCalls()) > 1:  # beside the next look
            self.clock.advance(PAUSE_SECONDS)
            steps.append(len(shelf.steps))
        assert steps == [1, 2, 3, 5, 6, 7, 8]
        assert (shelf.jobs, shelf.rows) == ({"acme": []}, 0)

    def test_a_look_waits_for_the_one_before(self) -> None:
        shelf = Shelf({}, held=Deferred())
        self.retention(shelf).start()
        self.run_on(3 * SWEEP_SECONDS)
        assert shelf.steps == ["purge"]

    def test_what_an_admin_deletes_is_gone_at_once_and_its_rows_soon(self) -> None:
        jobs = [float(number) for number in range(2 * JOBS_AT_ONCE + 5)]
        shelf = Shelf({"acme": [*jobs, NOW], "other": [0.0]}, rows=1)
        retention = self.retention(shelf)
        assert self.successResultOf(begin(retention.delete("acme", NOW))) == len(jobs)
        assert shelf.jobs == {"acme": [NOW], "other": [0.0]}
        self.run_on(1)
        assert shelf.rows == 0

    def test_a_store_that_is_away_is_asked_again(self) -> None:
        shelf = Shelf({"acme": [0.0]}, broken=StoreUnavailable("disk full"))
        self.retention(shelf, days=1).start()
        assert texts(self.events, "warn") == ["Old jobs are not deleted now: disk full"]
        shelf.broken = None
        self.run_on(SWEEP_SECONDS + 1)
        assert shelf.jobs == {"acme": []}

    def test_a_fault_is_logged_and_does_not_end_it(self) -> None:
        shelf = Shelf({"acme": [0.0]}, broken=ZeroDivisionError())
        self.retention(shelf, days=1).start()
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        shelf.broken = None
        self.run_on(SWEEP_SECONDS + 1)
        assert shelf.jobs == {"acme": []}

    def test_stop_leaves_nothing_behind(self) -> None:
        shelf = Shelf({"acme": []}, rows=5 * ROWS_AT_ONCE)
        retention = self.retention(shelf)
        retention.start()
        retention.stop()
        assert self.clock.getDelayedCalls() == []
        assert shelf.steps == ["purge"]
        assert self.flushLoggedErrors() == []


@pytest.mark.parametrize("setting", ["job_retention_days", "job_retention_count"])
def test_the_settings_are_numbers_from_0_and_keep_all_by_default(setting: str) -> None:
    assert getattr(load(None, {}), setting) == 0
    assert getattr(load(None, {setting: "30"}), setting) == 30
    for wrong in ("-1", "many", "10000000000"):
        with pytest.raises(ConfigError, match=f"command line: {setting}: expected"):
            load(None, {setting: wrong})
