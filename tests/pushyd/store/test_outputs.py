"""The contract of an OutputStore, over both databases."""

import random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from pushyd.store.output_interface import (
    DEFAULT_OUTPUT_LIMIT,
    LINE_BYTES,
    Appended,
    OutputCaptured,
    OutputEnd,
    OutputPiece,
    OutputRules,
    OutputState,
    StreamRef,
)
from tests.pushyd.store.backend import ORGANIZATION, Postgres, Sqlite, StoreCase, job_spec

RULES = OutputRules(max_output=2**26, max_job_output=2**32, min_free_disk=0)
JOB = job_spec().id
A, B = (StreamRef(ORGANIZATION, JOB, node, "stdout") for node in "ab")


def piece(offset: int, data: bytes, stream: StreamRef = A, at: int = 1) -> OutputPiece:
    return OutputPiece(stream=stream, offset=offset, data=data, at=at)


class OutputContract(StoreCase):
    __test__ = False

    async def job(self, **values: Any) -> None:
        await self.store.create_job(job_spec(**{"capture": True} | values))

    async def append(self, *pieces: OutputPiece, rules: OutputRules = RULES) -> dict[StreamRef, int]:
        appended = await self.store.append_output(pieces, rules)
        self.assertIsNone(appended.no_room)
        return dict(appended.offsets)

    async def read(self, stream: StreamRef = A, start: int = 0, stop: int | None = None) -> bytes | None:
        return await self.store.output(*stream, start=start, stop=stop)

    async def state(self, stream: StreamRef = A) -> OutputState:
        [state] = await self.store.output_states(*stream)
        return state

    async def test_pieces_become_a_stream(self) -> None:
        await self.job()
        every_byte = bytes(range(256))
        self.assertEqual(await self.append(piece(0, every_byte), piece(256, b"\0\0")), {A: 258})
        self.assertEqual(await self.append(piece(258, b"end"), piece(0, b"of b", B)), {A: 261, B: 4})
        self.assertEqual(await self.read(), every_byte + b"\0\0end")
        self.assertEqual(await self.read(B), b"of b")
        self.assertIsNone(await self.read(B._replace(channel="stderr")))
        self.assertIsNone(await self.read(B._replace(organization="other")))

    async def test_a_repetition_changes_nothing_and_of_an_overlap_the_rest_counts(self) -> None:
        await self.job()
        await self.append(piece(0, b"abcdef"))
        self.assertEqual(await self.append(piece(0, b"ABC"), piece(2, b"XXXXgh"), piece(8, b"")), {A: 8})
        self.assertEqual(await self.append(piece(0, b"ABCDEFGH")), {A: 8})
        self.assertEqual(await self.read(), b"abcdefgh")

    async def test_after_a_hole_nothing_is_taken(self) -> None:
        await self.job()
        self.assertEqual(await self.append(piece(3, b"def")), {A: 0})
        self.assertEqual(await self.append(piece(0, b"a"), piece(2, b"c"), piece(0, b"b", B)), {A: 1, B: 1})
        self.assertEqual(await self.append(piece(1, b"b"), piece(2, b"c"), piece(3, b"d")), {A: 4})
        self.assertEqual(await self.read(), b"abcd")

    async def test_any_repetitions_in_any_order_leave_a_prefix(self) -> None:
        await self.job(output_limit=10_000)
        dice = random.Random(7)
        whole = dice.randbytes(3000)
        done = 0
        while done < len(whole):
            pieces = []
            for _ in range(dice.randrange(1, 6)):
                start = max(0, done + dice.randrange(-200, 250))
                pieces.append(piece(start, whole[start : start + dice.randrange(300)]))
            reached = (await self.append(*pieces))[A]
            self.assertGreaterEqual(reached, done)
            done = reached
            self.assertEqual(await self.read(), whole[:done])

    async def test_what_nobody_wants_is_taken_and_not_kept(self) -> None:
        await self.job()
        await self.store.create_job(job_spec(2))  # which captures nothing
        strange = [
            A._replace(job_id="f" * 32),
            A._replace(job_id="\0\udfffé"),
            A._replace(job_id=job_spec(2).id),
            A._replace(organization="other"),
            A._replace(node="nobody"),
        ]
        pieces = [piece(70, b"abc", stream) for stream in strange]
        self.assertEqual(await self.append(*pieces, piece(0, b"x")), dict.fromkeys(strange, 73) | {A: 1})
        for stream in strange:
            if stream.job_id.isascii():
                self.assertIsNone(await self.read(stream))

    async def test_beyond_the_limit_of_the_job_is_taken_and_not_kept(self) -> None:
        for limit, kept in ((100, 100 + LINE_BYTES), (None, DEFAULT_OUTPUT_LIMIT + LINE_BYTES)):
            number = limit or 1
            await self.job(number=number, output_limit=limit)
            stream = A._replace(job_id=job_spec(number).id)
            data = b"x" * (kept - 1) + b"yz"
            self.assertEqual(await self.append(piece(0, data, stream)), {stream: kept + 1})
            self.assertEqual(await self.append(piece(kept + 1, b"more", stream)), {stream: kept + 5})
            self.assertEqual(await self.read(stream), data[:kept])
            state = await self.state(stream)
            self.assertEqual((state.kept, state.dropped, state.complete), (kept, 5, False))
            self.assertIn("limit", state.problem or "")

    async def test_beyond_the_limits_of_the_server(self) -> None:
        await self.job(output_limit=2**40)
        rules = OutputRules(max_output=10, max_job_output=6000, min_free_disk=0)
        offsets = await self.append(piece(0, b"a" * 5000), piece(0, b"b" * 5000, B), rules=rules)
        self.assertEqual(offsets, {A: 5000, B: 5000})
        a, b = await self.state(A), await self.state(B)
        self.assertEqual((a.kept, b.kept), (10 + LINE_BYTES, 6000 - 10 - LINE_BYTES))
        self.assertEqual(a.problem, "output beyond the limit of 10 bytes is not kept")
        self.assertEqual(b.problem, "the output of the job is over max_job_output (6000)")
        # The job's sum outlives the batch, and no other job pays for it.
        await self.append(piece(0, b"c", A._replace(channel="stderr")), rules=rules)
        self.assertEqual((await self.state(A._replace(channel="stderr"))).kept, 0)
        await self.job(number=2)
        other = A._replace(job_id=job_spec(2).id)
        await self.append(piece(0, b"c", other), rules=rules)
        self.assertEqual(await self.read(other), b"c")

    async def test_the_end(self) -> None:
        await self.job()
        await self.append(piece(0, b"abc"))
        self.store.record(OutputEnd(job_id=JOB, node="a", channel="stdout", bytes=5, dropped=7))
        self.store.record(OutputEnd(job_id=JOB, node="b", channel="stdout", bytes=0, dropped=0))
        self.store.record(OutputEnd(job_id="f" * 32, node="b", channel="stdout", bytes=0, dropped=0))
        await self.store.recorded()
        state = await self.state()
        self.assertEqual((state.kept, state.dropped, state.complete), (3, 7, False))
        # Said again it is a repetition, whatever it says.
        self.store.record(OutputEnd(job_id=JOB, node="a", channel="stdout", bytes=3, dropped=0))
        self.assertEqual(await self.append(piece(3, b"de")), {A: 5})
        state = await self.state()
        self.assertEqual((state.kept, state.dropped, state.complete, state.problem), (5, 7, True, None))
        self.assertEqual(await self.read(B), b"")
        self.assertTrue((await self.state(B)).complete)

    async def test_parts(self) -> None:
        await self.job()
        data = random.Random(1).randbytes(1000)
        for start in range(0, 1000, 37):
            await self.append(piece(start, data[start : start + 37]))
        for start, stop in ((0, 0), (0, 1), (36, 38), (37, 74), (500, 501), (990, 5000), (1000, 2000), (4000, 5000)):
            self.assertEqual(await self.read(A, start, stop), data[start:stop], (start, stop))
        self.assertEqual(await self.read(A, 999), data[999:])

    async def test_states_and_whole_outputs(self) -> None:
        await self.job(nodes=("b", "a\0\ufdd0", "c"))
        refs = [
            StreamRef(ORGANIZATION, JOB, node, channel)
            for node in ("b", "a\0\ufdd0")
            for channel in ("stdout", "stderr")
        ]
        for ref in refs:
            await self.append(piece(0, b"1 of " + ref.channel.encode(), ref), piece(11, b"2", ref))
        self.store.record(OutputCaptured(job_id=JOB, node="c", stdout=b"whole", stderr=b"", at=5))
        await self.store.recorded()
        states = await self.store.output_states(ORGANIZATION, JOB)
        expected = [(node, channel) for node in ("a\0\ufdd0", "b", "c") for channel in ("stderr", "stdout")]
        self.assertEqual([(state.node, state.channel) for state in states], expected)
        of_channel = await self.store.output_states(ORGANIZATION, JOB, channel="stderr")
        self.assertEqual(of_channel, states[::2])
        self.assertEqual(await self.store.output_states("other", JOB), [])
        read = await self.store.whole_outputs([state.id for state in states])
        texts = [read.get(state.id, b"") for state in states]
        self.assertEqual(texts, [b"1 of stderr2", b"1 of stdout2", b"1 of stderr2", b"1 of stdout2", b"", b"whole"])
        self.assertEqual([state.complete for state in states], [False] * 4 + [True] * 2)

    async def test_events_in_the_order_of_their_times(self) -> None:
        await self.job()
        self.assertEqual(await self.store.last_output(JOB), 0)
        await self.append(piece(0, b"a1", A, at=10), piece(0, b"b1", B, at=11), piece(2, b"a2", A, at=12))
        self.store.record(OutputCaptured(job_id=JOB, node="c", stdout=b"c1", stderr=b"c2", at=13))
        await self.store.recorded()
        await self.append(piece(2, b"b2", B, at=20))
        events = await self.store.output_events(JOB, 0, 1000)
        told = [(event.node, event.channel, event.offset, event.at, event.data) for event in events]
        self.assertEqual(
            told,
            [
                ("a", "stdout", 0, 10, b"a1"),
                ("b", "stdout", 0, 11, b"b1"),
                ("a", "stdout", 2, 12, b"a2"),
                ("c", "stdout", 0, 13, b"c1"),
                ("c", "stderr", 0, 14, b"c2"),
                ("b", "stdout", 2, 20, b"b2"),
            ],
        )
        self.assertEqual(await self.store.output_events(JOB, 12, 3), events[3:5])
        self.assertEqual(await self.store.output_events(JOB, 12, 1), events[3:4])
        self.assertEqual(await self.store.output_events(JOB, 20, 1000), [])
        self.assertEqual(await self.store.last_output(JOB), 20)

    async def test_many_at_once(self) -> None:
        nodes = tuple(f"n{number}" for number in range(300))
        await self.job(nodes=nodes)
        streams = [StreamRef(ORGANIZATION, JOB, node, "stdout") for node in nodes]
        batches = [
            [piece(start, bytes([start, number % 256]), stream, at=start) for number, stream in enumerate(streams)]
            for start in (0, 2, 4)
        ]
        appended: list[Appended] = await gatherResults(
            [Deferred.fromCoroutine(self.store.append_output(batch, RULES)) for batch in batches]
        )
        self.assertEqual([set(one.offsets.values()) for one in appended], [{2}, {4}, {6}])
        for number in (0, 299):
            expected = bytes([0, number % 256, 2, number % 256, 4, number % 256])
            self.assertEqual(await self.read(streams[number]), expected)

    async def test_it_is_there_in_the_next_life(self) -> None:
        await self.job()
        await self.append(piece(0, b"abc"))
        await self.store.close()
        self.store = await self.open_store()
        self.assertEqual(await self.append(piece(1, b"bcd")), {A: 4})
        self.assertEqual(await self.read(), b"abcd")


class SqliteOutput(Sqlite, OutputContract):
    __test__ = True

    async def test_without_room_on_the_disk_nothing_is_kept_and_it_says_so(self) -> None:
        await self.job()
        await self.append(piece(0, b"abc"))
        full = OutputRules(max_output=2**26, max_job_output=2**32, min_free_disk=2**62)
        appended = await self.store.append_output([piece(3, b"def"), piece(0, b"x", B)], full)
        self.assertEqual(appended.offsets, {A: 3, B: 0})
        self.assertIn("less than min_free_disk (4611686018427387904)", appended.no_room or "")
        self.assertEqual((await self.state()).problem, appended.no_room)
        self.assertEqual(await self.read(), b"abc")
        self.assertEqual(await self.append(piece(3, b"def")), {A: 6})
        self.assertIsNone((await self.state()).problem)


class PostgresOutput(Postgres, OutputContract):
    __test__ = True
