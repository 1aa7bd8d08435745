"""The feeds of jobs in the store: pieces that are put together again."""

from pushyd.store import jobs
from pushyd.store.engine import parse_url, writer_engine
from pushyd.store.interface import FeedText
from tests.pushyd.store.backend import Postgres, Sqlite, StoreCase, job_spec

ONE, TWO = job_spec(1), job_spec(2)


class FeedPiecesContract(StoreCase):
    __test__ = False

    async def _set_up(self) -> None:
        await super()._set_up()
        for spec in (ONE, TWO):
            await self.store.create_job(spec)

    def keep(self, first: int, text: bytes, job_id: str = ONE.id) -> None:
        self.store.record(FeedText(job_id=job_id, first=first, text=text))

    async def test_pieces_are_put_together_in_one_transaction_or_several(self) -> None:
        for first in range(1, 13):
            self.keep(first, b"%d " % first)
            self.keep(first, b"of two ", TWO.id)
            if first % 5 == 0:
                await self.store.recorded()
        await self.store.recorded()
        assert await self.store.feed(ONE.id) == b"1 2 3 4 5 6 7 8 9 10 11 12 "
        assert await self.store.feed(TWO.id) == b"of two " * 12
        assert await self.store.feed("0" * 32) == b""

    async def test_a_piece_is_bytes(self) -> None:
        self.keep(1, bytes(range(256)))
        await self.store.recorded()
        assert await self.store.feed(ONE.id) == bytes(range(256))

    async def test_a_repetition_changes_nothing_unless_it_goes_on_with_more(self) -> None:
        """A commit whose answer is lost is taken for a failure: the piece comes again, joined with what came since."""
        engine = writer_engine(parse_url(self.url))
        self.addCleanup(engine.dispose)
        for text in (b"first", b"first", b"first and second", b"first"):
            with engine.begin() as connection:
                jobs.write_changes(connection, [FeedText(job_id=ONE.id, first=1, text=text)])
        with engine.begin() as connection:
            jobs.write_changes(connection, [FeedText(job_id=ONE.id, first=3, text=b" and third")])
        assert await self.store.feed(ONE.id) == b"first and second and third"

    async def test_one_of_no_job_is_dropped(self) -> None:
        self.keep(1, b"lost", "0" * 32)
        self.keep(1, b"kept")
        await self.store.recorded()
        assert await self.store.feed("0" * 32) == b""
        assert await self.store.feed(ONE.id) == b"kept"


class SqliteFeedPiecesTests(Sqlite, FeedPiecesContract):
    __test__ = True


class PostgresFeedPiecesTests(Postgres, FeedPiecesContract):
    __test__ = True
