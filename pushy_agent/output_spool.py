"""The outputs of jobs on the agent's disk, until the server has stored them: a directory for each job.

Its name tells the job and the limit of its channels (:mod:`kept` has what is in it), so an agent that was killed finds
again all that it had written. Every method waits for the disk.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from twisted.logger import Logger

from pushy_agent.kept import Kept, Quota, sync
from pushy_agent.output import Captured
from pushy_agent.stream import CHANNELS, Piece
from pushy_protocol.messages import Channel, OutputTotal

SYNC_SECONDS = 1.0
"""What was written is safe from a loss of power after so long, as long as more is written, and at the end."""

RESERVE = 1024 * 1024
"""Bytes that outputs leave free on the disk, so that the end of a job can still be noted there."""


class OutputFiles:
    """The kept output of one job."""

    log = Logger()

    def __init__(self, directory: Path, limit: int, quota: Quota, *, seconds: Callable[[], float]) -> None:
        """:param limit: bytes of each channel
        :param seconds: a monotonic clock
        """
        self._directory = directory
        self._seconds = seconds
        self._synced = seconds()
        self._channels: dict[Channel, Kept] = {name: Kept(directory, name, limit, quota) for name in CHANNELS}

    @property
    def trouble(self) -> str | None:
        """Why the disk does not take any more of it."""
        return next((kept.trouble for kept in self._channels.values() if kept.trouble), None)

    @property
    def sizes(self) -> dict[Channel, int]:
        """How far the kept streams reach."""
        return {name: kept.size for name, kept in self._channels.items()}

    @property
    def totals(self) -> dict[Channel, OutputTotal]:
        """What is kept and what is missing; after :meth:`finish`."""
        return {name: OutputTotal(bytes=kept.size, dropped=kept.dropped) for name, kept in self._channels.items()}

    def write(self, data: Mapping[Channel, Iterable[bytes]]) -> None:
        """Add to it. What the disk does not take is counted; nothing is raised."""
        for name, pieces in data.items():
            self._channels[name].append(b"".join(pieces))
        if self._seconds() - self._synced >= SYNC_SECONDS:
            self._sync()

    def finish(self) -> None:
        """Nothing follows; all of it is now safely on disk, or it is logged that it is not."""
        for kept in self._channels.values():
            kept.finish()
        self._sync()

    def read(self, pieces: Sequence[Piece]) -> list[bytes]:
        """Some pieces of it.

        :raise OSError: one cannot be read.
        """
        found = [self._channels[piece.channel].read(piece.offset, piece.size) for piece in pieces]
        for piece, data in zip(pieces, found, strict=True):
            if len(data) != piece.size:
                raise OSError(f"{self._directory}: {piece.channel} lacks bytes from {piece.offset + len(data)} on")
        return found

    def captured(self, limit: int) -> tuple[Captured, Captured]:
        """Both channels, at most so many bytes from either end of each.

        :raise OSError: they cannot be read.
        """
        stdout, stderr = (
            Captured(head=kept.read(0, limit))
            if kept.size <= limit
            else Captured(
                head=kept.read(0, limit),
                tail=kept.read(kept.size - limit, limit),
                left_out=max(0, kept.size - 2 * limit),
            )
            for kept in self._channels.values()
        )
        return stdout, stderr

    def remove(self) -> None:
        """Delete it."""
        for kept in self._channels.values():
            kept.remove()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _sync(self) -> None:
        self._synced = self._seconds()
        try:
            for kept in self._channels.values():
                kept.sync()
            if self._directory.is_dir():
                sync(self._directory)
                sync(self._directory.parent)
        except OSError as error:
            self.log.critical("An output is not safely on disk: {error}", error=error)


class OutputSpool:
    """All outputs, below one directory, 0700."""

    log = Logger()

    def __init__(self, directory: Path, limit: int, *, seconds: Callable[[], float] = time.monotonic) -> None:
        """:param limit: bytes that all of them may have together"""
        self._directory = directory
        self._quota = Quota(limit, self._free, RESERVE)
        self._seconds = seconds

    def open(self) -> dict[str, OutputFiles]:
        """Take up what an earlier run left, by job, oldest first; none of it will grow.

        :raise OSError: the directory cannot be made or read.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        found = {}
        for path in sorted(self._directory.iterdir(), key=lambda path: path.stat().st_mtime):
            name, _, limit = path.name.rpartition(".")
            if not path.is_dir() or not limit.isdecimal():
                self.log.warn("{path} is no output of a job; it is left alone", path=str(path))
                continue
            files = found[unquote(name)] = self._files(path, int(limit))
            files.finish()
        return found

    def files(self, job_id: str, limit: int) -> OutputFiles:
        """The place for the output of a job; nothing is written yet."""
        return self._files(self._directory / f"{quote(job_id, safe='')}.{limit}", limit)

    def _files(self, path: Path, limit: int) -> OutputFiles:
        return OutputFiles(path, limit, self._quota, seconds=self._seconds)

    def _free(self) -> int:
        status = os.statvfs(self._directory)
        return status.f_bavail * status.f_frsize
