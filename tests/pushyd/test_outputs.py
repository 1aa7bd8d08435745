"""The service that takes output: what it holds, when it stores, and what it tells nodes."""

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pushy_protocol import messages
from pushy_protocol.messages import CHUNK_BYTES, OutputTotal
from pushy_protocol.states import JobStatus, NodeStatus
from pushyd import outputs
from pushyd.domain.job import JobSpec
from pushyd.domain.node import NodeRef
from pushyd.output_acks import ACK_SECONDS
from pushyd.outputs import Outputs
from pushyd.store.interface import StoredJob
from pushyd.store.output_interface import OutputRules
from tests.pushyd.doubles import MemoryStore, RecordingClockOfFeeds, begin, said, texts

ORG, JOB = "acme", "a" * 32
NODES = tuple(f"n{number}" for number in range(200))
N0, N1 = NodeRef(ORG, "n0"), NodeRef(ORG, "n1")


def job_spec(job_id: str = JOB, **values: Any) -> JobSpec:
    defaults: dict[str, Any] = {
        "id": job_id,
        "organization": ORG,
        "command": "true",
        "nodes": NODES,
        "quorum": 1,
        "run_timeout": 60,
        "voting_timeout": 60,
        "created_at": 1.0,
        "created_by": "admin",
        "capture": True,
    }
    return JobSpec(**defaults | values)


class OutputCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        spec = job_spec()
        nodes = dict.fromkeys(NODES, NodeStatus.RUNNING)
        self.store.keep(StoredJob(spec=spec, status=JobStatus.RUNNING, updated_at=1.0, nodes=nodes))
        self.feeds = RecordingClockOfFeeds()
        self.acks: list[tuple[str, str, dict[str, int]]] = []
        self.outputs = Outputs(
            store=self.store,
            feeds=self.feeds,
            acknowledge=lambda node, job_id, offsets: self.acks.append((node.name, job_id, dict(offsets))),
            clock=self.clock,
            rules=OutputRules(max_output=2**26, max_job_output=2**32, min_free_disk=0),
        )
        self.outputs.start()
        self.addCleanup(self.outputs.stop)
        self.clock.advance(100)

    def send(
        self, data: bytes, offset: int = 0, *, node: NodeRef = N0, job: str = JOB, channel: str = "stdout"
    ) -> None:
        message = said(messages.Output, node, job, channel=channel, offset=offset, data=data)
        self.outputs.received(node, message)

    def stored(self, node: str = "n0", channel: str = "stdout") -> bytes | None:
        return self.successResultOf(begin(self.store.output(ORG, JOB, node, channel)))

    def told(self) -> list[tuple[str, str, dict[str, int]]]:
        acks, self.acks = self.acks, []
        return acks


class WayTests(OutputCase):
    def test_what_comes_is_stored_and_acknowledged(self) -> None:
        self.send(b"abc")
        self.send(b"def", 3)
        self.send(b"E", channel="stderr")
        self.assertEqual(self.store.appended, [])
        self.clock.advance(outputs.GATHER_SECONDS * 2)
        self.assertEqual((self.stored(), self.stored(channel="stderr")), (b"abcdef", b"E"))
        # What follows on is one piece, and each has a time of its own.
        [batch] = self.store.appended
        self.assertEqual([(piece.data, piece.at) for piece in batch], [(b"abcdef", 1), (b"E", 2)])
        self.assertEqual(self.told(), [("n0", JOB, {"stdout": 6, "stderr": 1})])
        self.assertEqual(self.feeds.woken, [JOB])
        self.assertEqual(self.outputs.held, 0)

    def test_nothing_is_acknowledged_before_it_is_stored(self) -> None:
        self.store.hold()
        self.send(b"abc")
        self.clock.advance(1)
        self.assertEqual((self.told(), self.outputs.settled(JOB)), ([], 1))
        self.store.release()
        self.assertEqual((self.told(), self.outputs.settled(JOB)), ([("n0", JOB, {"stdout": 3})], None))

    def test_acknowledgements_come_at_a_pace(self) -> None:
        for offset in range(40):
            self.send(b"x", offset)
            self.clock.advance(0.05)
        acks = self.told()
        self.assertLessEqual(len(acks), 2 / ACK_SECONDS + 1)
        self.clock.advance(1)
        self.assertEqual((acks + self.told())[-1], ("n0", JOB, {"stdout": 40}))

    def test_a_hole_is_told_and_told_again(self) -> None:
        self.send(b"abc")
        self.send(b"xyz", 30)
        self.clock.pump([0.1] * 5)
        self.assertEqual(self.told(), [("n0", JOB, {"stdout": 3})])
        # Nothing new: so what came after it has to be sent again.
        self.clock.pump([0.1] * 20)
        self.assertEqual(self.told(), [("n0", JOB, {"stdout": 3})])
        self.send(b"def", 3)
        self.clock.pump([0.1] * 20)
        self.assertEqual(self.told(), [("n0", JOB, {"stdout": 6})])
        self.assertEqual(self.stored(), b"abcdef")

    def test_a_node_that_goes_on_where_the_server_does_not_know_it_is_told(self) -> None:
        self.send(b"xyz", 30)  # as after a restart of the server, which lost what came before
        self.clock.advance(1)
        self.assertEqual(self.told(), [("n0", JOB, {"stdout": 0})])

    def test_a_repetition_is_told(self) -> None:
        self.send(b"abcdef")
        self.clock.advance(2)
        self.told()
        self.send(b"abc")
        self.clock.advance(2)
        self.assertEqual(self.told(), [("n0", JOB, {"stdout": 6})])
        self.assertEqual(len(self.store.appended), 1)

    def test_of_another_job_it_is_taken_and_not_kept(self) -> None:
        self.send(b"abc", 7, job="f" * 32)
        self.clock.advance(1)
        self.assertEqual(self.told(), [("n0", "f" * 32, {"stdout": 10})])

    def test_it_forgets_who_is_silent(self) -> None:
        self.send(b"abc")
        self.clock.pump([10] * 12)
        self.assertEqual(self.outputs._talkers, {})
        self.send(b"abcdef")
        self.clock.advance(1)
        self.assertEqual(self.stored(), b"abcdef")

    def test_one_node_has_a_bounded_number_of_streams(self) -> None:
        for number in range(1000):
            self.send(b"x", job=f"{number:032x}")
        self.assertEqual(self.outputs.held, outputs.STREAMS)
        self.clock.advance(1)
        self.send(b"x", job="f" * 32)
        self.assertEqual(len(self.outputs._talkers[N0].streams), outputs.STREAMS)

    def test_who_sends_much_hears_at_once(self) -> None:
        for number in range(8):
            self.send(b"x" * CHUNK_BYTES, number * CHUNK_BYTES)
            self.clock.advance(outputs.GATHER_SECONDS)
        self.assertGreaterEqual(len(self.told()), 4)


class ReaderTests(OutputCase):
    def events(self, after: int) -> list[tuple[str, int, bytes]]:
        found = self.successResultOf(begin(self.outputs.events(JOB, after, 2**20)))
        return [(event.node, event.at, event.data) for event in found]

    def test_what_was_just_stored_is_read_without_the_store(self) -> None:
        self.send(b"abc")
        self.clock.advance(1)
        self.assertEqual(self.events(0), [("n0", 1, b"abc")])
        self.send(b"def", 3)
        self.send(b"other", node=N1)
        self.clock.advance(1)
        after = self.events(0)[-1][1]
        self.send(b"ghi", 6)
        self.send(b"ghi", 6)  # again
        self.clock.advance(1)
        self.store.break_down()
        [(node, at, data)] = self.events(after)
        self.assertEqual((node, data), ("n0", b"ghi"))
        self.assertEqual(self.events(at), [])

    def test_what_the_store_may_have_all_the_same_is_read_from_it(self) -> None:
        self.assertEqual(self.events(0), [])
        self.store.break_down()
        with capturedLogs():
            self.send(b"abc")
            self.clock.advance(1)
        self.store.mend()
        self.store.keep_output((JOB, "n0", "stdout"), 0, 1, b"abc")  # it was committed, and nobody could say so
        self.assertEqual(self.events(0), [("n0", 1, b"abc")])

    def test_whole_output_is_read_from_the_store(self) -> None:
        self.assertEqual(self.events(0), [])
        self.outputs.ended(job_spec(), "n0", said(messages.Succeeded, N0, JOB, stdout="abc", stderr=""))
        self.clock.advance(1)
        self.assertEqual([data for _, _, data in self.events(0)], [b"abc", b""])


class BoundTests(OutputCase):
    def test_of_one_node_so_much_is_held_and_the_rest_asked_for_again(self) -> None:
        self.send(b"first")
        self.clock.advance(1)
        self.told()
        self.store.hold()
        for number in range(100):
            self.send(b"x" * CHUNK_BYTES, 5 + number * CHUNK_BYTES)
        self.assertEqual(self.outputs.held, outputs.NODE_BYTES)
        self.clock.advance(1)
        self.send(b"quiet", node=N1)
        self.store.release()
        self.clock.pump([0.1] * 30)
        self.assertEqual(self.stored("n1"), b"quiet")
        self.assertEqual(len(self.stored() or b""), 5 + outputs.NODE_BYTES)
        end = 5 + outputs.NODE_BYTES
        offsets = [ack[2]["stdout"] for ack in self.told() if ack[0] == "n0"]
        # Asked to begin again after its first bytes, then told how far it is by now.
        self.assertEqual(offsets, [5, end])

    def test_in_all_so_much_is_held_and_the_quiet_have_room(self) -> None:
        self.patch(outputs, "ALL_BYTES", 4 * outputs.NODE_BYTES)
        self.store.hold()
        loud = [NodeRef(ORG, name) for name in NODES[:50]]
        for offset in range(0, outputs.NODE_BYTES, CHUNK_BYTES):
            for node in loud:
                self.send(b"x" * CHUNK_BYTES, offset, node=node)
        self.assertLessEqual(self.outputs.held, 4 * outputs.NODE_BYTES)
        for name in NODES[100:150]:
            self.send(b"quiet", node=NodeRef(ORG, name))
        self.store.release()
        self.clock.pump([0.1] * 10)
        quiet = [self.stored(name) for name in NODES[100:150]]
        self.assertLessEqual(self.outputs.held, 4 * outputs.NODE_BYTES)
        self.assertEqual(quiet.count(b"quiet"), 0)  # it was all full of single chunks
        for name in NODES[100:150]:
            self.send(b"quiet", node=NodeRef(ORG, name))
        self.clock.pump([0.1] * 10)
        self.assertEqual({self.stored(name) for name in NODES[100:150]}, {b"quiet"})

    def test_a_loud_node_takes_its_turn(self) -> None:
        self.store.hold()
        for number in range(8):
            self.send(b"x" * CHUNK_BYTES, number * CHUNK_BYTES)
        for name in NODES[1:100]:
            self.send(b"quiet", node=NodeRef(ORG, name))
        self.store.release()
        self.clock.pump([0.1] * 3)
        first = self.store.appended[0]
        self.assertEqual(len({piece.stream.node for piece in first}), 100)
        self.assertLessEqual(len(first[0].data), outputs.TURN_BYTES)

    def test_a_batch_is_bounded(self) -> None:
        self.store.hold()
        for name in NODES:
            for number in range(2):
                self.send(b"x" * CHUNK_BYTES, number * CHUNK_BYTES, node=NodeRef(ORG, name))
        self.store.release()
        self.clock.pump([0.1] * 30)
        sizes = [sum(len(piece.data) for piece in batch) for batch in self.store.appended]
        self.assertLessEqual(max(sizes), outputs.BATCH_BYTES + outputs.TURN_BYTES)
        self.assertEqual(sum(sizes), len(NODES) * 2 * CHUNK_BYTES)


class OutageTests(OutputCase):
    def test_what_cannot_be_stored_is_not_held_and_comes_again(self) -> None:
        with capturedLogs() as logged:
            self.send(b"abc")
            self.clock.advance(1)
            self.told()
            self.store.break_down()
            self.send(b"def", 3)
            self.clock.advance(0.1)
            self.assertEqual(self.outputs.held, 0)
            for _ in range(20):
                self.send(b"def", 3)  # while it takes nothing
            self.assertEqual(self.outputs.held, 0)
            self.clock.pump([0.1] * 15)
            self.assertEqual(self.told(), [("n0", JOB, {"stdout": 3})])
            self.store.mend()
            self.send(b"def", 3)
            self.clock.advance(2)
        self.assertEqual(self.stored(), b"abcdef")
        self.assertEqual(self.told()[-1], ("n0", JOB, {"stdout": 6}))
        self.assertEqual(
            texts(logged, "error"), ["Output is not stored now, and stays with the agents; jobs go on: disk full"]
        )
        self.assertEqual(texts(logged, "info"), ["Output is stored again"])
        self.assertIsNone(self.outputs.settled(JOB))

    def test_readers_are_told_why_it_does_not_go_on(self) -> None:
        def problems() -> list[tuple[str, str, int, str | None]]:
            states = self.successResultOf(begin(self.outputs.states(ORG, JOB, None)))
            return [(state.node, state.channel, state.kept, state.problem) for state in states]

        why = "the server cannot store output now (disk full); it stays with the node until it can"
        self.send(b"abc")
        self.send(b"quiet", node=NodeRef(ORG, "n2"))
        self.clock.advance(1)
        with capturedLogs():
            self.store.break_down()
            self.send(b"def", 3)
            self.clock.advance(0.1)
            self.send(b"E", node=N1, channel="stderr")  # of which nothing is stored
            self.send(b"x", node=NodeRef("other", "n1"))
            self.store.mend()  # so that it can be read
            expected = [("n0", "stdout", 3, why), ("n1", "stderr", 0, why), ("n2", "stdout", 5, None)]
            self.assertEqual(problems(), expected)
            state = self.successResultOf(begin(self.outputs.state(ORG, JOB, "n1", "stderr")))
            assert state is not None
            self.assertEqual((state.kept, state.complete, state.problem), (0, False, why))
            self.assertIsNone(self.successResultOf(begin(self.outputs.state(ORG, JOB, "n1", "stdout"))))
            self.clock.advance(2)
            self.send(b"def", 3)
            self.clock.advance(1)
        self.assertEqual(problems(), [("n0", "stdout", 6, None), ("n2", "stdout", 5, None)])

    def test_a_full_disk(self) -> None:
        self.store.no_room = "less than min_free_disk"
        self.send(b"abc")
        self.clock.pump([0.1] * 50)
        self.assertEqual(self.stored(), b"")
        # Told at a pace, and again only when it sends again.
        self.assertEqual(self.told(), [("n0", JOB, {"stdout": 0})] * 2)
        self.store.no_room = None
        self.send(b"abc")
        self.clock.advance(1)
        self.assertEqual(self.stored(), b"abc")


class EndTests(OutputCase):
    def end(self, kind: Any = messages.Succeeded, **fields: Any) -> None:
        self.outputs.ended(job_spec(), "n0", said(kind, N0, JOB, **fields))

    def state(self) -> Any:
        return self.successResultOf(begin(self.outputs.state(ORG, JOB, "n0", "stdout")))

    def test_the_end_says_how_much_there_will_be(self) -> None:
        self.send(b"abc")
        self.clock.advance(1)
        self.end(output={"stdout": OutputTotal(bytes=5, dropped=9)})
        self.assertEqual((self.state().complete, self.state().dropped), (False, 9))
        self.send(b"de", 3)
        self.clock.advance(1)
        self.assertTrue(self.state().complete)

    def test_whole_output_holds_up_readers_until_it_is_stored(self) -> None:
        self.store.hold()
        self.end(messages.Failed, stdout="aß", stderr="")
        self.assertEqual(self.outputs.settled(JOB), 1)
        self.store.release()
        self.assertIsNone(self.outputs.settled(JOB))
        self.assertEqual(self.feeds.woken, [JOB])
        events = self.successResultOf(begin(self.outputs.events(JOB, 0, 100)))
        self.assertEqual((events[0].channel, events[0].at, events[0].data), ("stdout", 1, "aß".encode()))
        self.assertTrue(self.state().complete)

    def test_without_any_nothing_is_kept(self) -> None:
        self.end()
        self.assertEqual(self.store.recorded_changes, [])
