"""Values as text for people: pure functions, which know of a terminal only what a :class:`Style` says.

Whatever others wrote (commands, names, reasons, output) may hold terminal escapes; before it is shown on a terminal
or put into a line of ours it passes :func:`plain` or :func:`printable`.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from attrs import frozen

from pushy_cli.standing import Standing
from pushy_protocol.states import NodeStatus
from pushy_protocol.timestamps import format_iso8601, parse_rfc1123

# The order in which statuses are told: results, then what never ran, then what goes on.
_ORDER = [
    *(NodeStatus.SUCCEEDED, NodeStatus.FAILED, NodeStatus.CRASHED, NodeStatus.TIMED_OUT, NodeStatus.ABORTED),
    *(NodeStatus.NACKED, NodeStatus.UNAVAILABLE, NodeStatus.WAS_READY),
    *(NodeStatus.RUNNING, NodeStatus.READY, NodeStatus.NEW),
]
GOOD, BAD, WARNING, BUSY, BOLD = "32", "31", "33", "36", "1"
COLOURS = {
    **dict.fromkeys(("succeeded", "complete", "available", "online"), GOOD),
    **dict.fromkeys(("failed", "crashed", "timed_out", "aborted", "quorum_failed", "offline"), BAD),
    **dict.fromkeys(("nacked", "unavailable", "was_ready"), WARNING),
    **dict.fromkeys(("new", "voting", "running", "ready"), BUSY),
}
_COLOURED_COLUMNS = {"STATUS", "AVAILABILITY"}
_BAR_WIDTH = 20
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_UNSAFE_BUT_LINES_AND_COLOURS = re.compile(rf"(\x1b\[[0-9;]*m)|(?![\n\t]){_UNSAFE.pattern}")


@frozen(kw_only=True)
class Style:
    """What the place that a text goes to can show."""

    colour: bool = False
    unicode: bool = False
    width: int | None = None
    """Columns; None for a place without lines of a certain width, such as a pipe."""

    terminal: bool = False
    """Whether escapes would be obeyed there."""


PIPE = Style()

T = TypeVar("T")


def plain(text: str) -> str:
    r"""A text of others in one line of ours: what a terminal would obey is spelled out, as ``\x1b``."""
    return _UNSAFE.sub(_spelled, text)


def printable(text: str, style: Style) -> str:
    """Captured output: as it is, but on a terminal nothing of it is obeyed save lines, tabs and colours."""
    if not style.terminal:
        return text
    text = _UNSAFE_BUT_LINES_AND_COLOURS.sub(
        lambda match: (match[1] if style.colour else "") if match[1] else _spelled(match), text.replace("\r\n", "\n")
    )
    if "\x1b" not in text:
        return text
    # Before the last line's end, so that a text that ends its line still does.
    return f"{text[:-1]}\x1b[0m\n" if text.endswith("\n") else f"{text}\x1b[0m"


def duration(seconds: float) -> str:
    """Seconds as ``0:07``, ``12:34`` or ``1:02:03``."""
    minutes, second = divmod(int(max(seconds, 0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def change_line(standing: Standing) -> str:
    """Where a job stands in a plain line, for where progress cannot be redrawn."""
    told = [f"{number} {words(status)}" for status, number in by_rank(standing.counts)]
    return f"{words(standing.status)}: {', '.join(told)}"


def progress_line(standing: Standing, elapsed: float, style: Style) -> str:
    """Where a job stands in one line that fits the width: status, time, bar, and as many counts as have room."""
    done, total = standing.settled, standing.total
    pieces = [(f"{words(standing.status):7}", BOLD), (duration(elapsed), "")]
    if style.width is None or style.width >= 60:
        pieces.append((bar(done, total, style), BUSY))
    pieces.append((f"{done}/{total}", ""))
    pieces += [(f"{n} {words(status)}", COLOURS.get(status, "")) for status, n in by_rank(standing.counts)]
    return _fitted(pieces, style)


def reading_line(done: int, total: int, style: Style) -> str:
    """How much of the nodes' output has been fetched, as a line that fits the width."""
    return _fitted([("output ", BOLD), (bar(done, total, style), BUSY), (f"{done}/{total}", "")], style)


def bar(done: int, total: int, style: Style) -> str:
    """A bar of 20 columns; it is full only when all is done."""
    filled = _BAR_WIDTH * done // total if total else 0
    full, rest = ("━", "┄") if style.unicode else ("#", ".")
    return full * filled + rest * (_BAR_WIDTH - filled)


def fact_lines(facts: Mapping[str, str], style: Style) -> str:
    """``Name:  value`` lines, without those that have no value."""
    return "\n".join(f"{paint(f'{name}:'.ljust(14), BOLD, style)}{value}" for name, value in facts.items() if value)


def wrapped(names: str, indent: int, style: Style) -> str:
    """Names broken after commas and spaces where they are wider than the place, and set in."""
    if style.width is None:
        return names
    room = max(style.width - indent, 20)
    lines = [""]
    for piece in re.findall(r"[^, ]+,? ?|[, ]", names):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > room:
            lines.append("")
        lines[-1] += piece
    return f"\n{' ' * indent}".join(line.rstrip() for line in lines)


def by_rank(by_status: Mapping[str, T]) -> list[tuple[str, T]]:
    """What belongs to each status, in the order in which they are told; statuses that we do not know last."""
    rank = {str(status): index for index, status in enumerate(_ORDER)}
    return sorted(by_status.items(), key=lambda item: (rank.get(item[0], len(rank)), item[0]))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], style: Style) -> str:
    """Columns two spaces apart; the last one is cut where the place is too narrow for it."""
    widths = [max(_columns(row[column]) for row in (header, *rows)) for column in range(len(header) - 1)]
    lines = []
    for number, row in enumerate([header, *rows]):
        cells = [_padded(cell, width) for cell, width in zip(row, widths, strict=False)]
        room = None if style.width is None else style.width - sum(widths) - 2 * len(widths)
        cells.append(row[-1] if room is None else _cut(row[-1], max(room, 8), style))
        for column, (name, text) in enumerate(zip(header, row, strict=True)):
            colour = COLOURS.get(text.replace(" ", "_"), "") if name in _COLOURED_COLUMNS else ""
            cells[column] = paint(cells[column], colour if number else BOLD, style)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _fitted(pieces: Iterable[tuple[str, str]], style: Style) -> str:
    """Pieces two spaces apart, as many as have room beside the cursor."""
    shown: list[str] = []
    used = 1
    for text, colour in pieces:
        used += len(text) + (2 if shown else 0)
        if style.width is not None and used > style.width:
            break
        shown.append(paint(text, colour, style))
    return "  ".join(shown)


def _columns(text: str) -> int:
    """How many columns a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))


def _cut(text: str, width: int, style: Style) -> str:
    if _columns(text) <= width:
        return text
    mark = "…" if style.unicode else "..."
    while _columns(text) > width - len(mark):
        text = text[:-1]
    return text + mark


def paint(text: str, colour: str, style: Style) -> str:
    """The text in a colour (an SGR code), where there are colours."""
    return f"\x1b[{colour}m{text}\x1b[0m" if style.colour and colour else text


def words(status: str) -> str:
    return plain(status).replace("_", " ")


def time_of(text: str) -> str:
    """An RFC 1123 time as ``2026-01-31 12:00:00Z``, which sorts; what is none is shown as it is."""
    try:
        return format_iso8601(parse_rfc1123(text)).replace("T", " ")
    except ValueError:
        return plain(text)


def moment(epoch: float) -> str:
    """Seconds since the epoch as ``2026-01-31 12:00:00Z``."""
    return format_iso8601(epoch).replace("T", " ")


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
