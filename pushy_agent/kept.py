"""What is kept of one channel of a job's output, on disk: its head, its tail, and a line about what lies between.

What a command writes goes to files that only grow, named after where in the whole output they begin: ``stdout.0`` has
the head, half of the limit; the others have what follows, and those that the tail has left behind are deleted. So the
files alone tell what is kept, whatever moment a crash leaves them in, and no more of an output is ever in memory than
what waits to be written.

As long as the command runs, the kept stream is the head. Once it has ended the stream goes on with a line that says
how many bytes are missing, where some are, and the tail. Where the disk does not take the output, that line says why,
and the tail is what little is kept in memory.

Every method waits for the disk; who calls them, and from which thread, is not known here.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from attrs import define, frozen

from pushy_agent.output import missing_line

_FILE_BYTES = 256 * 1024
"""The least that a file of the tail has room for, so that a flood makes few of them."""

_REST_BYTES = 32 * 1024
"""Kept in memory of the end of an output that the disk did not take."""


class Quota:
    """How many bytes all outputs together may have on disk."""

    def __init__(self, limit: int, free: Callable[[], int], reserve: int) -> None:
        """:param free: gives the bytes that are free on the disk
        :param reserve: bytes that are left free there, for what matters more
        """
        self._limit = limit
        self._free = free
        self._reserve = reserve
        self.used = 0

    def check(self, size: int) -> None:
        """:raise OSError: so many bytes more are too many."""
        if self.used + size > self._limit:
            raise OSError(errno.EDQUOT, f"the outputs that wait for the server have reached {self._limit} bytes")
        if self._free() < size + self._reserve:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@define
class _File:
    path: Path
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@frozen
class _Range:
    """Bytes of the whole output, from one place to before another."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


@frozen
class _Text:
    """Bytes that are in no file."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)


class Kept:
    """One channel."""

    def __init__(self, directory: Path, name: str, limit: int, quota: Quota) -> None:
        """Of files that are there already it takes up what they have.

        :param directory: where its files are; made when the first is
        :param limit: bytes that are kept, half of them from each end
        """
        self._directory = directory
        self._name = name
        self._head_limit = limit - limit // 2
        self._tail_limit = limit // 2
        self._quota = quota
        self._files = sorted(self._found(), key=lambda file: file.start)
        quota.used += sum(file.size for file in self._files)
        self._written = self._files[-1].end if self._files else 0
        self._open = -1
        self._unsynced: set[Path] = set()
        self._lost = 0
        self._rest = b""
        self._parts: tuple[_Range | _Text, ...] | None = None
        self.trouble: str | None = None
        """Why the disk does not take any more of it."""

    @property
    def size(self) -> int:
        """Bytes of the kept stream, as far as it is known by now."""
        if self._parts is None:
            return self._head
        return sum(part.size for part in self._parts)

    @property
    def dropped(self) -> int:
        """Bytes of the output that are not kept."""
        kept = [part.size for part in self._parts or () if isinstance(part, _Range)]
        return self._written + self._lost - sum(kept) - len(self._rest)

    def append(self, data: bytes) -> None:
        """Take the next bytes; never raises."""
        view = memoryview(data)
        if self.trouble is None:
            try:
                while view:
                    view = view[self._write(view) :]
            except OSError as error:
                self._give_up(error)
        if view:
            self._lost += len(view)
            # Not more than the tail would have, and that the server has room for.
            self._rest = (self._rest + view[-_REST_BYTES:])[-min(_REST_BYTES, self._tail_limit) or len(view) :]

    def sync(self) -> None:
        """Have all of it safely on disk.

        :raise OSError: it is not.
        """
        for path in self._unsynced:
            with suppress(FileNotFoundError):
                sync(path)
        self._unsynced.clear()

    def finish(self) -> None:
        """Nothing follows: decide what is kept. A second call does nothing."""
        if self._parts is not None:
            return
        self._close()
        head, tail = self._head, self._tail
        missing = self._written + self._lost - head - tail.size - len(self._rest)
        line = missing_line(missing, after=self._last_of_head(), why=self.trouble) if missing else b""
        self._parts = (_Range(0, head), _Text(line), tail, _Text(self._rest))

    def read(self, offset: int, size: int) -> bytes:
        """At most so many bytes of the kept stream.

        :raise OSError: they cannot be read.
        """
        found = []
        start = 0
        for part in self._parts or (_Range(0, self._head),):
            first, last = max(0, offset - start), min(part.size, offset + size - start)
            if first < last:
                if isinstance(part, _Text):
                    found.append(part.data[first:last])
                else:
                    found.append(self._read(part.start + first, last - first))
            start += part.size
        return b"".join(found)

    def remove(self) -> None:
        """Delete its files."""
        self._close()
        while self._files:
            self._delete(self._files[0])

    @property
    def _head(self) -> int:
        # Of files that a loss of power left, the head's may be short.
        first = self._files[0] if self._files and self._files[0].start == 0 else None
        return min(self._head_limit, first.size) if first else 0

    @property
    def _tail(self) -> _Range:
        head, end = self._head, self._written
        start = end
        for file in reversed(self._files):
            if file.end != start:
                break
            start = file.start
        if self.trouble is not None or end <= head:
            return _Range(head, head)
        return _Range(max(start, head, end - self._tail_limit), end)

    def _last_of_head(self) -> bytes:
        with suppress(OSError):
            return self._read(self._head - 1, 1) if self._head else b""
        return b""

    def _found(self) -> Iterator[_File]:
        if self._directory.is_dir():
            for path in self._directory.iterdir():
                name, _, start = path.name.partition(".")
                status = path.lstat()
                if name == self._name and start.isdecimal() and stat.S_ISREG(status.st_mode):
                    yield _File(path, int(start), status.st_size)

    def _write(self, data: memoryview) -> int:
        if self._written >= self._head_limit and len(data) > self._tail_limit:
            # What would be left behind at once is not written. A file begins after it.
            self._close()
            self._written += len(data) - self._tail_limit
            return len(data) - self._tail_limit
        if self._open == -1:
            self._make_file()
        file = self._files[-1]
        room = self._head_limit if file.start == 0 else max(self._tail_limit, _FILE_BYTES)
        piece = data[: room - file.size]
        self._quota.check(len(piece))
        size = os.write(self._open, piece)
        file.size += size
        self._written += size
        self._quota.used += size
        self._unsynced.add(file.path)
        if file.size == room:
            self._close()
            self._prune()
        return size

    def _make_file(self) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        path = self._directory / f"{self._name}.{self._written}"
        self._open = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._files.append(_File(path, self._written, 0))

    def _give_up(self, error: OSError) -> None:
        self.trouble = error.strerror or str(error)
        self._close()
        # The room is of use to others; of an output with a hole the end is kept in memory.
        for file in [file for file in self._files if file.start]:
            self._delete(file)

    def _prune(self) -> None:
        while len(self._files) > 1 and self._files[1].end <= self._written - self._tail_limit:
            self._delete(self._files[1])

    def _delete(self, file: _File) -> None:
        file.path.unlink(missing_ok=True)
        self._files.remove(file)
        self._unsynced.discard(file.path)
        self._quota.used -= file.size

    def _close(self) -> None:
        if self._open != -1:
            os.close(self._open)
            self._open = -1

    def _read(self, start: int, size: int) -> bytes:
        found = []
        for file in self._files:
            first, last = max(start, file.start), min(start + size, file.end)
            if first < last:
                with file.path.open("rb") as opened:
                    opened.seek(first - file.start)
                    found.append(opened.read(last - first))
        return b"".join(found)


def sync(path: Path) -> None:
    """Have a file, or a directory's names, safely on disk.

    :raise OSError: it is not.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
