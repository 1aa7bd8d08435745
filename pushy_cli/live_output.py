"""Shows what nodes write as it comes: whole lines, each behind its node's name, in order of arrival.

On a terminal no more lines are shown than a person could read: a thousand nodes that talk at once would freeze it. What
is left out is shared out among the nodes, so that a loud one does not hide the others, and is told with how to get it.
Anywhere else every line is written.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from math import inf
from typing import Protocol

from pushy_cli.clock import Clock, DelayedCall
from pushy_cli.lines import Line, Lines
from pushy_cli.render import BAD, WARNING, Style, paint, plain, printable

ROWS_PER_SECOND = 500.0
"""Rows of a terminal: what is faster nobody reads, and a slow connection does not bear."""

BURST = 1000.0
"""Rows that are shown at once, after a quiet time."""

PAUSE = 0.05
"""Seconds between two looks at what to show, while there is more than may be shown."""

TOLD_EVERY = 5.0
"""Seconds between two lines that say what is left out."""

MAX_PADDING = 24
"""Columns to which names are padded; longer ones only move their own lines."""

_COLOURS = ("36", "32", "33", "35", "34", "96", "92", "93", "95", "94")


class Display(Protocol):
    """Where it is shown; see :class:`pushy_cli.terminal.Console`."""

    @property
    def out_style(self) -> Style: ...

    @property
    def err_style(self) -> Style: ...

    def stream(self, texts: Iterable[tuple[str, str]]) -> None:
        """Write each text to the stream that is named first, ``stdout`` or ``stderr``, in that order."""


class LiveOutput:
    """The output of one job. A piece is given to :meth:`take`; :meth:`close` shows what is left."""

    def __init__(
        self, display: Display, clock: Clock, *, job_id: str, nodes: Collection[str], only_stderr: bool = False
    ) -> None:
        """:param nodes: the names of the job's nodes
        :param only_stderr: leave stdout to something else, such as a document of JSON
        """
        self._display = display
        self._clock = clock
        self._job_id = job_id
        self._lines = Lines()
        self._labels = {node: number for number, node in enumerate(sorted(nodes))}
        self._padding = min(max((len(plain(node)) for node in nodes), default=0), MAX_PADDING)
        self._only_stderr = only_stderr
        self._waiting: list[Line] = []
        self._next: DelayedCall | None = None
        self._budget = Budget(clock.seconds())
        self._left_out: Counter[str] = Counter()
        self._told = clock.seconds()
        self.has_shown = False
        """Whether anything came."""

    def take(self, node: str, channel: str, offset: int, data: bytes) -> None:
        """A piece of a node's output; `offset` is where it belongs in its channel."""
        self._add(self._lines.take(node, channel, offset, data))

    def node_ended(self, node: str) -> None:
        """Nothing is expected of a node any more, so what it has begun is a line."""
        self._add(self._lines.end(node))

    def close(self) -> None:
        """Show what is left, and say what was left out."""
        self._add(self._lines.end())
        self._cancel()
        self._flush()
        if self._left_out:
            self._tell("In all, ")

    def _add(self, lines: Iterable[Line]) -> None:
        self._waiting += lines
        if self._waiting:
            self.has_shown = True
            if self._next is None:
                wait = 0.0 if self._budget.left(self._clock.seconds()) > 0 else PAUSE
                self._next = self._clock.callLater(wait, self._flush)

    def _cancel(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def _flush(self) -> None:
        self._next = None
        waiting, self._waiting = self._waiting, []
        style = self._display.out_style if not self._only_stderr else self._display.err_style
        shown = self._budget.choose(waiting, self._clock.seconds(), style.width) if style.terminal else waiting
        if len(shown) < len(waiting):
            self._left_out.update(line.node for line in waiting)
            self._left_out.subtract(line.node for line in shown)
        if shown:
            self._display.stream([self._text(line) for line in shown])
        if self._left_out and self._clock.seconds() - self._told >= TOLD_EVERY:
            self._tell("")

    def _tell(self, before: str) -> None:
        self._told = self._clock.seconds()
        lines, nodes = sum(self._left_out.values()), sum(number > 0 for number in self._left_out.values())
        text = f"{before}{_many(lines, 'line')} of {_many(nodes, 'node')} left out here"
        told = f"... {text}; all of it: pushy job output {self._job_id}\n"
        self._display.stream([("stderr", paint(told, WARNING, self._display.err_style))])

    def _text(self, line: Line) -> tuple[str, str]:
        stream = "stderr" if self._only_stderr else line.channel
        style = self._display.err_style if stream == "stderr" else self._display.out_style
        # Some agent's server may name a node that the job did not have.
        number = self._labels.setdefault(line.node, len(self._labels))
        label = paint(plain(line.node).ljust(self._padding), _COLOURS[number % len(_COLOURS)], style)
        mark = paint("!", BAD, style) if line.channel == "stderr" else "|"
        if line.data is None:
            return stream, f"{label} {mark} {paint(f'({line.missing} bytes are missing here)', WARNING, style)}\n"
        return stream, f"{label} {mark} {_shown(line.data, style)}\n"


class Budget:
    """How many rows may be shown now."""

    def __init__(self, now: float) -> None:
        self._rows = BURST
        self._at = now

    def left(self, now: float) -> float:
        """Rows that may be shown, at a moment in seconds."""
        self._rows = min(BURST, self._rows + (now - self._at) * ROWS_PER_SECOND)
        self._at = now
        return self._rows

    def choose(self, lines: Sequence[Line], now: float, width: int | None) -> Sequence[Line]:
        """Those of the lines that may be shown, in their order; every node gets its share of the rows."""
        rows = [_rows(line, width) for line in lines]
        left = self.left(now)
        if sum(rows) <= left:
            self._rows -= sum(rows)
            return lines
        share = max(1.0, left / len({line.node for line in lines}))
        chosen: set[int] = set()
        # First each node's share, then what is left over by those that want less.
        for most in (share, inf):
            taken: Counter[str] = Counter()
            for number, line in enumerate(lines):
                if number not in chosen and rows[number] <= left and taken[line.node] + rows[number] <= most:
                    taken[line.node] += rows[number]
                    left -= rows[number]
                    chosen.add(number)
        self._rows = left
        return [lines[number] for number in sorted(chosen)]


def _rows(line: Line, width: int | None) -> int:
    return 1 + len(line.data or b"") // (width or 80)


def _shown(data: bytes, style: Style) -> str:
    text = data.decode("utf-8", "surrogateescape")
    # What a terminal would have shown of a line that overwrote itself, as progress bars do.
    return printable(text.rstrip("\r").rpartition("\r")[2], style) if style.terminal else text


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
