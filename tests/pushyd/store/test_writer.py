"""The writer on a Clock, over a double that writes when the test says so."""

from collections.abc import Sequence

from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pushy_protocol.states import NodeStatus
from pushyd.store.interface import AlreadyExists, NodeStatusChange, StoreUnavailable
from pushyd.store.transaction import Item, Outcome, Write
from pushyd.store.writer import FIRST_RETRY, GATHER, LAST_RETRY, Writer


def change(node: str, status: NodeStatus = NodeStatus.READY) -> NodeStatusChange:
    return NodeStatusChange(job_id="j", node=node, status=status)


def work(_connection: Connection) -> None:
    """Something to write; the double looks at its place in the batch only."""


class WriterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.batches: list[Sequence[Item]] = []
        self.pending: list[Deferred[Outcome]] = []
        self.writer = Writer(timers=self.clock, write_batch=self.write_batch)
        self.logged = self.enterContext(capturedLogs())

    def write_batch(self, batch: Sequence[Item]) -> Deferred[Outcome]:
        self.assertEqual([written for written in self.pending if not written.called], [], "two batches at once")
        self.batches.append(batch)
        self.pending.append(Deferred())
        return self.pending[-1]

    def commit(self, outcome: Outcome | None = None) -> None:
        self.pending[-1].callback(outcome or Outcome({}, []))

    def break_off(self) -> None:
        self.pending[-1].errback(StoreUnavailable("disk full"))

    def levels(self) -> list[LogLevel]:
        return [event["log_level"] for event in self.logged]

    def test_changes_wait_for_others(self) -> None:
        self.writer.record(change("a"))
        self.clock.advance(GATHER / 2)
        self.writer.record(change("b"))
        self.assertEqual(self.batches, [])
        self.clock.advance(GATHER / 2)
        self.assertEqual(self.batches, [[change("a"), change("b")]])

    def test_who_waits_does_not(self) -> None:
        self.writer.record(change("a"))
        _ = self.writer.write(work)
        self.clock.advance(0)
        [[first, second]] = self.batches
        self.assertEqual(first, change("a"))
        self.assertIsInstance(second, Write)
        self.clock.advance(1)
        self.assertEqual(len(self.batches), 1)

    def test_all_that_came_meanwhile_is_the_next_batch_in_order(self) -> None:
        _ = self.writer.write(work)
        self.clock.advance(0)
        done = [self.writer.write(work), self.writer.write(work)]
        self.writer.record(change("a"))
        done.append(self.writer.write(work))
        self.clock.advance(1)
        self.assertEqual(len(self.batches), 1)
        self.commit()
        self.clock.advance(0)
        self.assertEqual([type(item) for item in self.batches[1]], [Write, Write, NodeStatusChange, Write])
        for written in done:
            self.assertNoResult(written)
        self.commit()
        for written in done:
            self.assertIsNone(self.successResultOf(written))

    def test_changes_that_came_meanwhile_gather_too(self) -> None:
        self.writer.record(change("a"))
        self.clock.advance(GATHER)
        self.writer.record(change("b"))
        self.commit()
        self.clock.advance(0)
        self.assertEqual(len(self.batches), 1)
        self.clock.advance(GATHER)
        self.assertEqual(self.batches[1:], [[change("b")]])

    def test_who_is_refused_is_told_and_nobody_else(self) -> None:
        done = [self.writer.write(work), self.writer.write(work)]
        self.clock.advance(0)
        refused = self.batches[0][0]
        assert isinstance(refused, Write)
        self.commit(Outcome({refused: Failure(AlreadyExists("a"))}, []))
        self.failureResultOf(done[0], AlreadyExists)
        self.successResultOf(done[1])

    def test_recorded_waits_for_what_was_recorded_and_no_more(self) -> None:
        self.writer.record(change("a"))
        first = self.writer.recorded()
        self.clock.advance(GATHER)
        self.writer.record(change("b"))
        second = self.writer.recorded()
        self.assertNoResult(first)
        self.commit()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.clock.advance(GATHER)
        self.commit()
        self.successResultOf(second)
        self.successResultOf(self.writer.recorded())

    def test_who_is_in_a_hurry_does_not_wait_for_others(self) -> None:
        self.writer.record(change("a"))
        recorded = self.writer.recorded(hurry=True)
        self.clock.advance(0)
        self.assertEqual(self.batches, [[change("a")]])
        self.writer.record(change("b"))
        second = self.writer.recorded(hurry=True)  # while the first is being written
        self.writer.record(change("c"))
        self.commit()
        self.successResultOf(recorded)
        self.clock.advance(0)
        self.assertEqual(self.batches[1:], [[change("b"), change("c")]])
        self.commit()
        self.successResultOf(second)
        self.writer.record(change("d"))
        self.clock.advance(0)
        self.assertEqual(len(self.batches), 2)  # nobody waits for this one

    def test_a_hurry_does_not_make_an_outage_worse(self) -> None:
        self.writer.record(change("a"))
        self.clock.advance(GATHER)
        self.break_off()
        _ = self.writer.recorded(hurry=True)
        self.clock.advance(0)
        self.assertEqual(len(self.batches), 1)
        self.clock.advance(FIRST_RETRY)
        self.assertEqual(len(self.batches), 2)

    def test_a_dropped_change_is_logged_and_settled(self) -> None:
        self.writer.record(change("a"))
        recorded = self.writer.recorded()
        self.clock.advance(GATHER)
        self.commit(Outcome({}, [(change("a"), ValueError("poison"))]))
        self.successResultOf(recorded)
        self.assertEqual(self.levels(), [LogLevel.error])

    def test_an_outage(self) -> None:
        self.writer.record(change("a"))
        self.writer.record(change("b"))
        self.writer.record(change("a", NodeStatus.RUNNING))
        done, recorded = self.writer.write(work), self.writer.recorded()
        self.clock.advance(0)
        self.break_off()
        self.assertIn("disk full", str(self.failureResultOf(done, StoreUnavailable).value))
        self.assertNoResult(recorded)
        self.writer.record(change("b", NodeStatus.RUNNING))
        self.clock.advance(FIRST_RETRY)
        held = [change("a", NodeStatus.RUNNING), change("b"), change("b", NodeStatus.RUNNING)]
        self.assertEqual(self.batches[1], held)  # what was recorded later comes later
        self.break_off()
        self.clock.advance(FIRST_RETRY)
        self.assertEqual(len(self.batches), 2)
        self.clock.advance(FIRST_RETRY)
        self.assertEqual(len(self.batches), 3)
        self.assertEqual(self.levels(), [LogLevel.error])
        self.commit()
        self.successResultOf(recorded)
        self.assertEqual(self.levels(), [LogLevel.error, LogLevel.info])
        self.clock.advance(60)
        self.assertEqual(len(self.batches), 3)

    def test_an_outage_is_told_of_again_after_it_was_over(self) -> None:
        for _ in range(2):
            self.writer.record(change("a"))
            self.clock.advance(GATHER)
            self.break_off()
            self.clock.advance(FIRST_RETRY)
            self.commit()
        self.assertEqual(self.levels(), [LogLevel.error, LogLevel.info] * 2)

    def test_a_long_outage_is_tried_at_a_steady_pace(self) -> None:
        self.writer.record(change("a"))
        self.clock.advance(GATHER)
        for _ in range(1100):  # beyond what two to their power can be a float
            self.break_off()
            self.clock.advance(LAST_RETRY)
        self.assertEqual(len(self.batches), 1101)

    def test_who_comes_during_an_outage_is_told_at_once(self) -> None:
        self.writer.record(change("a"))
        self.clock.advance(GATHER)
        self.break_off()
        done = self.writer.write(work)
        self.clock.advance(0)
        self.break_off()
        self.failureResultOf(done, StoreUnavailable)
        done = self.writer.write(work)
        self.clock.advance(0)
        self.assertEqual(self.batches[-1][0], change("a"))
        self.commit()
        self.successResultOf(done)

    def test_who_comes_while_a_batch_fails_is_tried_at_once(self) -> None:
        self.writer.record(change("a"))
        self.clock.advance(GATHER)
        done = self.writer.write(work)
        self.break_off()
        self.clock.advance(0)
        self.commit()
        self.successResultOf(done)

    def test_who_has_gone_away_disturbs_nobody(self) -> None:
        gone, other = self.writer.write(work), self.writer.write(work)
        self.clock.advance(0)
        gone.cancel()
        self.failureResultOf(gone)
        self.commit()
        self.successResultOf(other)

    def test_a_callback_that_writes(self) -> None:
        _ = self.writer.write(work).addCallback(lambda _: self.writer.record(change("a")))
        self.clock.advance(0)
        self.commit()
        self.clock.advance(GATHER)
        self.assertEqual(self.batches[1:], [[change("a")]])

    def test_closing_writes_what_is_held(self) -> None:
        self.writer.record(change("a"))
        self.clock.advance(GATHER)
        self.writer.record(change("b"))
        recorded = self.writer.recorded()
        closed = Deferred.fromCoroutine(self.writer.close())
        self.commit()
        self.assertNoResult(closed)
        self.assertEqual(self.batches[1:], [[change("b")]])
        self.commit()
        self.successResultOf(closed)
        self.successResultOf(recorded)
        self.assertEqual((self.clock.getDelayedCalls(), self.logged), ([], []))

    def test_closing_in_an_outage_tries_once_and_says_what_is_lost(self) -> None:
        self.writer.record(change("a"))
        recorded = self.writer.recorded()
        self.clock.advance(GATHER)
        self.break_off()
        closed = Deferred.fromCoroutine(self.writer.close())
        self.assertEqual(len(self.batches), 2)
        self.break_off()
        self.successResultOf(closed)
        self.failureResultOf(recorded, StoreUnavailable)
        self.assertEqual(self.levels(), [LogLevel.error, LogLevel.error])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_the_end(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.writer.close()))
        self.failureResultOf(self.writer.write(work), StoreUnavailable)
        self.writer.record(change("a"))
        self.assertEqual((self.levels(), self.batches), ([LogLevel.error], []))
