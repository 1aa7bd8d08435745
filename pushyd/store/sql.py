"""The store, in SQLite's or PostgreSQL's tables.

Here is only which function runs in which thread: one thread writes (:mod:`writer`, :mod:`transaction`), a few read.
The functions are in :mod:`jobs` and :mod:`identity`; what of this is about identity, in :mod:`sql_identity`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from pushyd.domain.job import JobSpec
from pushyd.store import engine, identity, job_lists, jobs, output_reads, outputs, retirement
from pushyd.store.errors import DRIVER_ERRORS, words
from pushyd.store.interface import (
    Change,
    JobQuery,
    JobSummary,
    Registration,
    StoredJob,
    StoreUnavailable,
)
from pushyd.store.migrations import bring_up_to_date
from pushyd.store.output_interface import Appended, OutputEvent, OutputPiece, OutputRules, OutputState
from pushyd.store.sql_identity import SqlIdentity
from pushyd.store.transaction import Item, Outcome, write_batch
from pushyd.store.writer import Writer

T = TypeVar("T")
P = ParamSpec("P")


class Reactor(Protocol):
    """What of a reactor is used here."""

    def callLater(self, delay: float, callable: Callable[..., Any], /) -> DelayedCall: ...  # noqa: A002
    def callFromThread(self, callable: Callable[..., Any], /, *args: Any) -> None: ...  # noqa: A002


class SqlStore(SqlIdentity):
    """A :class:`~pushyd.store.interface.Store` in a database; see there for what its methods do."""

    def __init__(self, *, url: str, reactor: Reactor, lock_timeout: float = engine.LOCK_TIMEOUT) -> None:
        """Connects to nothing yet.

        :param url: ``sqlite:////PATH`` or ``postgresql://…``
        :param lock_timeout: seconds to wait for another program that writes to the database
        :raise ValueError: the URL is neither
        """
        self._url = engine.parse_url(url)
        self._reactor = reactor
        self._writing = engine.writer_engine(self._url, lock_timeout=lock_timeout)
        self._reading = engine.reader_engine(self._url, lock_timeout=lock_timeout)
        self._writer_thread = ThreadPool(0, 1, "store-writer")
        self._reader_threads = ThreadPool(0, engine.READERS, "store-reader")
        self._reads = DeferredSemaphore(engine.READERS)
        self._writer = Writer(timers=reactor, write_batch=self._write_batch)
        self._open = False

    async def open(self) -> None:
        self._writer_thread.start()
        self._reader_threads.start()
        self._open = True
        try:
            await self._in_thread(self._writer_thread, self._connect)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if not self._open:
            return
        self._open = False
        await self._writer.close()
        for _ in range(engine.READERS):  # who reads, ends first
            await self._reads.acquire()
        await self._in_thread(self._writer_thread, self._disconnect)
        self._reader_threads.stop()
        self._writer_thread.stop()

    async def create_job(self, spec: JobSpec) -> None:
        await self._write(jobs.create_job, spec)

    def record(self, change: Change) -> None:
        self._writer.record(change)

    async def recorded(self, *, hurry: bool = False) -> None:
        await self._writer.recorded(hurry=hurry)

    async def job(self, organization: str, job_id: str) -> StoredJob | None:
        return await self._read(jobs.read_job, organization, job_id)

    async def jobs(self, organization: str, query: JobQuery) -> Sequence[JobSummary]:
        return await self._read(job_lists.read_jobs, organization, query)

    async def unfinished_jobs(self) -> Sequence[StoredJob]:
        return await self._read(jobs.unfinished_jobs)

    async def feed(self, job_id: str) -> bytes:
        return await self._read(jobs.read_feed, job_id)

    async def append_output(self, pieces: Sequence[OutputPiece], rules: OutputRules) -> Appended:
        appended: Appended

        def append(connection: Connection) -> None:
            nonlocal appended
            appended = outputs.append(connection, pieces, rules, engine.free_bytes(connection))

        await self._write(append)
        return appended

    async def output(
        self, organization: str, job_id: str, node: str, channel: str, start: int = 0, stop: int | None = None
    ) -> bytes | None:
        return await self._read(output_reads.read_output, organization, job_id, node, channel, start, stop)

    async def output_states(
        self, organization: str, job_id: str, node: str | None = None, channel: str | None = None
    ) -> Sequence[OutputState]:
        return await self._read(output_reads.read_states, organization, job_id, node, channel)

    async def whole_outputs(self, ids: Sequence[int]) -> Mapping[int, bytes]:
        return await self._read(output_reads.read_whole, ids)

    async def output_events(self, job_id: str, after: int, limit: int) -> Sequence[OutputEvent]:
        return await self._read(output_reads.read_events, job_id, after, limit)

    async def last_output(self, job_id: str) -> int:
        return await self._read(output_reads.read_last, job_id)

    async def place(self, organization: str, rank: int) -> int | None:
        return await self._read(job_lists.read_place, organization, rank)

    async def retire_jobs(
        self, organization: str, *, limit: int, created_before: float | None = None, up_to: int | None = None
    ) -> int:
        return await self._count(
            retirement.retire_jobs, organization, limit=limit, created_before=created_before, up_to=up_to
        )

    async def purge(self, limit: int) -> int:
        return await self._count(retirement.purge, limit)

    async def save_registration(self, registration: Registration) -> None:
        await self._write(identity.save_registration, registration)

    async def delete_registration(self, organization: str, node: str) -> None:
        await self._write(identity.delete_registration, organization, node)

    async def registrations(self) -> Sequence[Registration]:
        return await self._read(identity.read_registrations)

    async def _write(self, work: Callable[Concatenate[Connection, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        self._check_open()
        await self._writer.write(lambda connection: work(connection, *args, **kwargs))

    async def _count(self, work: Callable[Concatenate[Connection, P], int], *args: P.args, **kwargs: P.kwargs) -> int:
        counted = 0

        def count(connection: Connection) -> None:
            nonlocal counted
            counted = work(connection, *args, **kwargs)

        await self._write(count)
        return counted

    async def _read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._check_open()

        def read() -> T:
            try:
                with self._reading.connect() as connection:
                    return work(connection, *args, **kwargs)
            except DRIVER_ERRORS as error:
                raise StoreUnavailable(words(error)) from error

        return await self._reads.run(self._in_thread, self._reader_threads, read)

    def _check_open(self) -> None:
        if not self._open:
            raise StoreUnavailable("the store is not open")

    def _write_batch(self, batch: Sequence[Item]) -> Deferred[Outcome]:
        return self._in_thread(self._writer_thread, partial(write_batch, self._writing, batch))

    def _in_thread(self, threads: ThreadPool, work: Callable[[], T]) -> Deferred[T]:
        return deferToThreadPool(self._reactor, threads, work)  # type: ignore[arg-type]  # a zope Interface, to mypy a class

    def _connect(self) -> None:
        engine.prepare_file(self._url)
        try:
            bring_up_to_date(self._writing)
        except DRIVER_ERRORS as error:
            raise StoreUnavailable(f"{self._url!r}: the database cannot be used: {words(error)}") from error

    def _disconnect(self) -> None:
        self._reading.dispose()
        self._writing.dispose()
