"""What the agent must not forget of its jobs: that it started them, and how they ended until the server has heard it.

A journal on disk, one JSON line for each thing that happened, written and synced before the agent acts on it: a
command starts only once it is noted that it does, and a result is sent only once it is kept. So neither a crash nor
the loss of power makes a command run twice or its end go unheard. What the server has, and what sending means, is not
known here; nor is what became of the processes of a job that the agent lost.

The journal is rewritten when it has grown, and keeps, besides the results that wait, the ids of the last
:data:`REMEMBERED` jobs. Where it cannot be written, nothing is started; a result is then kept in memory alone.
"""

import fcntl
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from pushy_agent.job import Say

REMEMBERED = 1000
"""Jobs whose ids are known to have run."""

MAX_WAITING = 16
"""Results that wait for the server; more of them means that it does not acknowledge, and the oldest is given up."""

_GROWS_TO = 4 * 1024 * 1024  # bytes, until the journal is rewritten

T = TypeVar("T")


class InThread(Protocol):
    """Does work that may wait for a disk, in its order and off the reactor's thread."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """The result of `work`."""


class InUse(OSError):
    """Another agent has the journal open."""


def is_in_use(path: Path) -> bool:
    """Whether an agent has the journal at `path` open."""
    try:
        lock = os.open(_lock_of(path), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _lock_of(path: Path) -> Path:
    # A file of its own: the journal's is another one after each rewriting.
    return path.with_suffix(".lock")


class _Started(msgspec.Struct, frozen=True, tag="started"):
    job_id: str


class _Ended(msgspec.Struct, frozen=True, tag="ended"):
    say: Say


class _Done(msgspec.Struct, frozen=True, tag="done"):
    job_id: str


_Record = _Started | _Ended | _Done
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Record)  # a union of types is no `type` to mypy


class Journal:
    """The file: records in, records out. Its methods wait for the disk.

    It is 0600 in a directory that is made 0700, and locked as long as it is open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._lock = -1
        self._size = 0
        self._limit = _GROWS_TO

    @property
    def has_grown(self) -> bool:
        """Whether it is time to rewrite it."""
        return self._size > self._limit

    def open(self) -> list[_Record]:
        """Open it, and give what it has; what a crash left half written is left out.

        :raise InUse: another agent has it.
        :raise OSError: it cannot be read or written.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(_lock_of(self._path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise InUse(0, "another agent is using it", str(self._path)) from None
        records = []
        if self._path.exists():
            for line in self._path.read_bytes().splitlines():
                try:
                    records.append(_decoder.decode(line))
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue
        return records

    def append(self, record: _Record, *, sync: bool = True) -> None:
        """Add a record; safely on disk when this returns, unless `sync` is False.

        :raise OSError: it is not; the journal is as before.
        """
        if self._file == -1:
            raise OSError(f"{self._path} is not open")
        line = msgspec.json.encode(record) + b"\n"
        try:
            _write_all(self._file, line)
            if sync:
                os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)

    def rewrite(self, records: Iterable[_Record]) -> None:
        """Have these records only, and no moment without them.

        :raise OSError: the journal is as before.
        """
        new = self._path.with_suffix(".new")
        content = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(new, flags, 0o600)
        try:
            _write_all(file, content)
            os.fsync(file)
            new.rename(self._path)
        except OSError:
            os.close(file)
            new.unlink(missing_ok=True)
            # Not again with the next record.
            self._limit = 2 * self._size
            raise
        _sync_directory(self._path.parent)
        if self._file != -1:
            os.close(self._file)
        self._file, self._size = file, len(content)
        self._limit = max(_GROWS_TO, 2 * self._size)

    def close(self) -> None:
        """Let it go. A second call does nothing."""
        for descriptor in (self._file, self._lock):
            if descriptor != -1:
                os.close(descriptor)
        self._file = self._lock = -1


class Spool:
    """The jobs that this node has started, and the results that wait to be acknowledged."""

    log = Logger()

    def __init__(self, journal: Journal, in_thread: InThread) -> None:
        self._journal = journal
        self._in_thread = in_thread
        self._writing = DeferredLock()
        self._results: dict[str, Say] = {}
        self._unwritten: set[str] = set()
        self._over: OrderedDict[str, None] = OrderedDict()
        self._started: dict[str, None] = {}
        self.restored: frozenset[str] = frozenset()
        """The jobs of earlier runs whose results wait."""

    @property
    def waiting(self) -> tuple[Say, ...]:
        """The results that are kept, oldest first; those that are just being written are not yet among them."""
        return tuple(say for job_id, say in self._results.items() if job_id not in self._unwritten)

    @property
    def unwritten(self) -> tuple[str, ...]:
        """The jobs whose results are just being written."""
        return tuple(self._unwritten)

    @property
    def is_empty(self) -> bool:
        """Whether no result waits, or is just being written."""
        return not self._results

    def open(self) -> tuple[str, ...]:
        """Take up what an earlier run left; the ids of the jobs that it had started and never saw the end of.

        :raise OSError: the journal cannot be read or written.
        """
        for record in self._journal.open():
            match record:
                case _Started(job_id):
                    self._started[job_id] = None
                case _Ended(say) if say.job_id is not None:
                    self._note_over(say.job_id)
                    self._results[say.job_id] = say
                case _Done(job_id):
                    self._note_over(job_id)
                    self._results.pop(job_id, None)
        try:
            self._journal.rewrite(self._records())
        except OSError:
            self._journal.close()
            raise
        self.restored = frozenset([*self._results, *self._started])
        return tuple(self._started)

    def is_over(self, job_id: str) -> bool:
        """Whether the job ran here, as far as we remember, and must not again."""
        return job_id in self._over

    def has_result(self, job_id: str) -> bool:
        """Whether the job's result waits, or is just being written."""
        return job_id in self._results

    async def begin(self, job_id: str) -> None:
        """Note that the job is about to start.

        :raise OSError: it cannot be noted.
        """
        await self._append(_Started(job_id))
        self._started[job_id] = None

    async def cancel(self, job_id: str) -> None:
        """Note that a job that was about to start did not."""
        self._note_over(job_id)
        await self._append_done(job_id)

    async def keep(self, say: Say, whole: Coroutine[Deferred[Any], Any, Say] | None = None) -> None:
        """Keep a result until :meth:`drop`; where the disk does not take it, in memory.

        :param whole: gives the result with all that belongs to it; that the job is over is known before
        """
        assert say.job_id is not None
        self._results[say.job_id] = say
        self._note_over(say.job_id)
        self._unwritten.add(say.job_id)
        # Until it is written nothing else is, nor is the journal closed.
        await self._writing.acquire()
        try:
            if whole is not None:
                say = self._results[say.job_id] = await whole
            await self._write(_Ended(say))
        except OSError as error:
            self.log.critical(
                "The result of job {job_id} is kept in memory only: {error}", job_id=say.job_id, error=error
            )
        finally:
            self._unwritten.discard(say.job_id)
            self._writing.release()
        while len(self._results) > MAX_WAITING:
            oldest = next(iter(self._results))
            self.log.error("The result of job {job_id} is given up: nobody acknowledges it", job_id=oldest)
            await self.drop(oldest)

    async def drop(self, job_id: str) -> None:
        """The server has the result, or no use for it. Of a job that has none nothing happens."""
        if self._results.pop(job_id, None) is not None:
            await self._append_done(job_id)

    async def _append_done(self, job_id: str) -> None:
        try:
            # If this is lost, the server hears of the job once more, which changes nothing.
            await self._append(_Done(job_id), sync=False)
        except OSError as error:
            self.log.warn("Job {job_id} will be told again after a restart: {error}", job_id=job_id, error=error)

    async def close(self) -> None:
        """Wait for what is being written, and let the journal go."""
        await self._writing.acquire()
        self._journal.close()
        self._writing.release()

    async def _append(self, record: _Record, *, sync: bool = True) -> None:
        await self._writing.acquire()
        try:
            await self._write(record, sync=sync)
        finally:
            self._writing.release()

    async def _write(self, record: _Record, *, sync: bool = True) -> None:
        await self._in_thread(lambda: self._journal.append(record, sync=sync))
        if self._journal.has_grown:
            records = [*self._records(), record]
            await self._in_thread(lambda: self._journal.rewrite(records))

    def _records(self) -> list[_Record]:
        return [
            *(_Done(job_id) for job_id in self._over if job_id not in self._results),
            *(_Started(job_id) for job_id in self._started),
            *(_Ended(say) for say in self._results.values()),
        ]

    def _note_over(self, job_id: str) -> None:
        self._started.pop(job_id, None)
        self._over[job_id] = None
        if len(self._over) > REMEMBERED:
            oldest = next((known for known in self._over if known not in self._results), job_id)
            del self._over[oldest]


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
