"""Follows a job to its end by asking for it again and again, and shows how it goes.

A server that cannot be reached for a while (it is restarted, the network is away) is no reason to give up: the job
goes on without us.
"""

from collections.abc import Iterator
from typing import Protocol

from pushy_cli import render
from pushy_cli.clock import Clock, sleep
from pushy_cli.errors import ServerFault, Unreachable
from pushy_cli.terminal import Console
from pushy_protocol.api import Job
from pushy_protocol.states import TERMINAL_JOB_STATUSES

FIRST_INTERVAL = 0.3
LAST_INTERVAL = 1.0
"""Seconds between two looks: short jobs are seen to end at once, long ones cost the server little."""

PATIENCE = 600.0
"""Seconds without any answer after which we give up; a restart of the server takes some five."""


class JobSource(Protocol):
    """What gives the job; see :class:`pushy_cli.api.PushServer`."""

    async def job(self, job_id: str) -> Job: ...


class Progress(Protocol):
    """Shows how a job goes."""

    def show(self, job: Job, elapsed: float) -> None:
        """This is the job after so many seconds."""

    def trouble(self, error: ServerFault | Unreachable) -> None:
        """There was no answer; it is tried again."""


def pace(interval: float | None) -> Iterator[float]:
    """The seconds to wait between looks: always `interval`, or, without one, growing gently."""
    wait = interval or FIRST_INTERVAL
    while True:
        yield wait
        if interval is None:
            wait = min(wait * 1.2, LAST_INTERVAL)


async def follow(server: JobSource, job_id: str, *, clock: Clock, waits: Iterator[float], progress: Progress) -> Job:
    """The job when it has ended.

    :param waits: seconds between two looks
    :raise CliError: it cannot be followed; without an answer only after :data:`PATIENCE`.
    """
    started = answered = clock.seconds()
    while True:
        try:
            job = await server.job(job_id)
        except (ServerFault, Unreachable) as error:
            if clock.seconds() - answered > PATIENCE:
                raise
            progress.trouble(error)
        else:
            answered = clock.seconds()
            progress.show(job, answered - started)
            if job.status in TERMINAL_JOB_STATUSES:
                return job
        await sleep(clock, next(waits))


def progress_on(console: Console) -> Progress:
    """The progress that the console can show: a line that is redrawn, or a line for each change."""
    return _Live(console) if console.is_live else _Lines(console)


class _Shown:
    """Tells of trouble once, and of its end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._troubled = False

    def show(self, job: Job, elapsed: float) -> None:
        if self._troubled:
            self._console.note("The server answers again.")
        self._troubled = False
        self._draw(job, elapsed)

    def trouble(self, error: ServerFault | Unreachable) -> None:
        if not self._troubled:
            self._console.note(
                f"{error.what}. The job goes on without us; trying again for {PATIENCE / 60:.0f} minutes..."
            )
        self._troubled = True

    def _draw(self, job: Job, elapsed: float) -> None:
        raise NotImplementedError


class _Live(_Shown):
    def _draw(self, job: Job, elapsed: float) -> None:
        done = job.status in TERMINAL_JOB_STATUSES
        self._console.live("" if done else render.progress_line(job, elapsed, self._console.err_style))


class _Lines(_Shown):
    _last = ""

    def _draw(self, job: Job, elapsed: float) -> None:
        line = render.change_line(job)
        if line != self._last:
            self._console.note(line)
        self._last = line
