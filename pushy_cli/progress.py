"""Shows on a console how a job goes: a line that is redrawn, or, where that cannot be, a line for each change.

The live line is drawn anew every second, so that its clock goes on, and for every change of the terminal's width.
Neither form is written for every event: ten thousand nodes have thirty thousand.
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

TICK = 1.0
"""Seconds after which the live line is drawn anew, for its clock."""


def progress_on(console: Console, clock: Clock, *, quiet: bool = False) -> "Silent":
    """The progress that the console can show; with `quiet` only trouble is told. To be used in a `with`."""
    if quiet:
        return Silent(console)
    return _Live(console, clock) if console.is_live else _Lines(console, clock)


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
        self.answered()
        self._show(standing)

    def answered(self) -> None:
        """The server is there."""
        if self._troubled:
            self._console.note("The server answers again.")
        self._troubled = False

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


class _Paced(Silent):
    """Shows the newest standing, but not more often than `pause` seconds, unless the job's status changes."""

    pause: float

    def __init__(self, console: Console, clock: Clock) -> None:
        super().__init__(console)
        self._clock = clock
        self._shown = clock.seconds() - self.pause
        self._next: DelayedCall | None = None
        self._standing: Standing | None = None

    def _show(self, standing: Standing) -> None:
        changed = self._standing is None or self._standing.status != standing.status
        ended = standing.status in TERMINAL_JOB_STATUSES
        self._standing = standing
        since = self._clock.seconds() - self._shown
        if changed or ended or since >= self.pause:
            self._draw_now()
        else:
            self._draw_in(self.pause - since)

    def _draw_now(self) -> None:
        if self._standing is not None:
            self._shown = self._clock.seconds()
            self._cancel()
            self._draw(self._standing)

    def _draw_in(self, seconds: float) -> None:
        self._cancel()
        self._next = self._clock.callLater(seconds, self._draw_now)

    def _cancel(self) -> None:
        if self._next and self._next.active():
            self._next.cancel()

    def _stop(self) -> None:
        self._cancel()

    def _draw(self, standing: Standing) -> None:
        raise NotImplementedError


class _Lines(_Paced):
    pause = 1.0
    _last = ""

    def _draw(self, standing: Standing) -> None:
        line = render.change_line(standing)
        if line != self._last:
            self._console.note(line)
        self._last = line


class _Live(_Paced):
    pause = 0.05

    def __init__(self, console: Console, clock: Clock) -> None:
        super().__init__(console, clock)
        self._began = clock.seconds()

    def __enter__(self) -> Self:
        self._console.on_resize = self._draw_now
        return self

    def _draw(self, standing: Standing) -> None:
        if standing.status in TERMINAL_JOB_STATUSES:
            self._console.live("")
            return
        elapsed = self._clock.seconds() - self._began
        self._console.live(render.progress_line(standing, elapsed, self._console.err_style))
        self._draw_in(TICK)

    def _stop(self) -> None:
        super()._stop()
        self._console.on_resize = None
        self._console.live("")
