"""Shows on a console how a job goes: a line that is redrawn, or, where that cannot be, a line for each change.

The live line is drawn anew every second, so that its clock goes on, and for every change of the terminal's width, but
not more often than a person can see.
"""

from types import TracebackType
from typing import Self

from pushy_cli import render
from pushy_cli.clock import Clock, DelayedCall
from pushy_cli.errors import CliError
from pushy_cli.following import PATIENCE
from pushy_cli.standing import Standing
from pushy_cli.terminal import Console
from pushy_protocol.states import TERMINAL_JOB_STATUSES

FRAME = 0.05
"""Seconds between two drawings at least: ten thousand nodes have thirty thousand events."""

TICK = 1.0


def progress_on(console: Console, clock: Clock, *, quiet: bool = False) -> "Silent":
    """The progress that the console can show; with `quiet` only trouble is told. To be used in a `with`."""
    if quiet:
        return Silent(console)
    return _Live(console, clock) if console.is_live else _Lines(console)


class Silent:
    """Tells of trouble once, and of its end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._troubled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def show(self, standing: Standing) -> None:
        """This is how the job stands now."""
        if self._troubled:
            self._console.note("The server answers again.")
        self._troubled = False
        self._show(standing)

    def trouble(self, error: CliError) -> None:
        """There was no answer; it is tried again."""
        if not self._troubled:
            self._console.note(
                f"{error.what}. The job goes on without us; trying again for {PATIENCE / 60:.0f} minutes..."
            )
        self._troubled = True

    def _show(self, standing: Standing) -> None:
        """Nothing is shown of a job that goes well."""

    def _stop(self) -> None:
        """Nothing is left to be removed."""


class _Lines(Silent):
    _last = ""

    def _show(self, standing: Standing) -> None:
        line = render.change_line(standing)
        if line != self._last:
            self._console.note(line)
        self._last = line


class _Live(Silent):
    def __init__(self, console: Console, clock: Clock) -> None:
        super().__init__(console)
        self._clock = clock
        self._began = clock.seconds()
        self._drawn = -FRAME
        self._next: DelayedCall | None = None
        self._standing: Standing | None = None

    def __enter__(self) -> Self:
        self._console.on_resize = self._draw
        return self

    def _show(self, standing: Standing) -> None:
        self._standing = standing
        since = self._clock.seconds() - self._drawn
        if since >= FRAME or standing.status in TERMINAL_JOB_STATUSES:
            self._draw()
        else:
            self._draw_in(FRAME - since)

    def _draw(self) -> None:
        standing = self._standing
        if standing is None:
            return
        self._drawn = self._clock.seconds()
        if standing.status in TERMINAL_JOB_STATUSES:
            self._stop()
            return
        self._console.live(render.progress_line(standing, self._drawn - self._began, self._console.err_style))
        self._draw_in(TICK)

    def _draw_in(self, seconds: float) -> None:
        if self._next and self._next.active():
            self._next.cancel()
        self._next = self._clock.callLater(seconds, self._draw)

    def _stop(self) -> None:
        if self._next and self._next.active():
            self._next.cancel()
        self._console.on_resize = None
        self._console.live("")
