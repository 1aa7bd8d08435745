"""The two streams of a call: results go to stdout, progress and errors to stderr.

What texts look like is decided in :mod:`pushy_cli.render`; here they are written, and one live line is kept apart from
them.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import BinaryIO, Protocol, TextIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from pushy_cli.render import Style

_ERASE_LINE = "\r\x1b[K"
_SAMPLE = "━┄─…"
_FALLBACK_WIDTH = 80
_MAX_LINE = 4096


class Reader(Protocol):
    """What of a reactor is used to wait for input."""

    def addReader(self, reader: object, /) -> None: ...

    def removeReader(self, reader: object, /) -> None: ...


class Console:
    """Where a call's texts go. After :meth:`close` they go nowhere."""

    def __init__(self, inp: TextIO, out: TextIO, err: TextIO, environment: Mapping[str, str]) -> None:
        self._inp = inp
        self._out: BinaryIO = out.buffer
        self._err: BinaryIO = err.buffer
        self._encodings = {self._out: out.encoding, self._err: err.encoding}
        self._environment = environment
        self._live = ""
        self._question = ""
        self._closed = False
        self.on_resize: Callable[[], None] | None = None
        """Called when the terminal has another width."""

        self.farewell: tuple[str, ...] = ("Interrupted.",)
        """What is to be said when a signal ends the call."""

    @property
    def is_live(self) -> bool:
        """Whether a line on stderr can be redrawn."""
        return self._err.isatty() and self._environment.get("TERM", "dumb") != "dumb"

    @property
    def can_ask(self) -> bool:
        """Whether there is somebody who sees a question and can answer it."""
        return self._inp.isatty() and self._err.isatty()

    @property
    def out_style(self) -> Style:
        """What stdout can show now."""
        return self._style(self._out)

    @property
    def err_style(self) -> Style:
        """What stderr can show now."""
        return self._style(self._err)

    def result(self, text: str) -> None:
        """Write a text to stdout; it ends its last line."""
        self._write(self._out, text if text.endswith("\n") else f"{text}\n")

    def raw(self, stream: str, data: bytes) -> None:
        """Write bytes as they are to ``stdout`` or ``stderr``."""
        if not self._closed:
            self._erase()
            file = self._out if stream == "stdout" else self._err
            file.write(data)
            file.flush()

    def note(self, text: str) -> None:
        """Write a line to stderr; the live line stays below it."""
        self.stream([("stderr", f"{text}\n")])

    def stream(self, texts: Iterable[tuple[str, str]]) -> None:
        """Write each text to the stream that is named first, ``stdout`` or ``stderr``; the live line stays below."""
        live, question = self._live, self._question
        for name, together in groupby(texts, key=itemgetter(0)):
            self._write(self._out if name == "stdout" else self._err, "".join(text for _, text in together))
        self._draw_again(live, question)

    def live(self, line: str) -> None:
        """Draw the live line anew, or remove it with an empty one. Only where :attr:`is_live`.

        While a question waits for its answer, the line is not drawn.
        """
        if not self._closed and not self._question and (line or self._live):
            self._put(self._err, f"{_ERASE_LINE}{line}")
            self._live = line

    async def ask(self, question: str, reactor: Reader) -> str:
        """What the user answers, in lower case; nothing where the terminal's input has ended.

        Only where :attr:`can_ask`. Cancelling takes the question back.
        """
        self._erase()
        self._question = f"{question} "
        self._put(self._err, self._question)
        try:
            answer = await read_line(self._inp.fileno(), reactor)
        except BaseException:
            self._leave_question()
            raise
        if answer.endswith("\n"):  # the terminal has shown it, and is on the next line
            self._question = ""
        self._leave_question()
        return answer.strip().lower()

    def close(self, *last: str) -> None:
        """Remove the live line and write the last lines to stderr; from now on, whatever is said goes nowhere."""
        self._erase()
        self._leave_question()
        for line in last:
            self.note(line)
        self._closed = True

    def _write(self, stream: BinaryIO, text: str) -> None:
        if not self._closed:
            self._erase()
            self._leave_question()
            self._put(stream, text)

    def _draw_again(self, live: str, question: str) -> None:
        if question and not self._closed:
            self._question = question
            self._put(self._err, question)
        elif live:
            self.live(live)

    def _erase(self) -> None:
        if self._live:
            self.live("")

    def _leave_question(self) -> None:
        """What is said next begins a line."""
        if self._question and not self._closed:
            self._put(self._err, "\n")
        self._question = ""

    def _put(self, stream: BinaryIO, text: str) -> None:
        if stream.isatty():
            stream.write(text.encode(self._encodings[stream], "backslashreplace"))
        else:
            # Captured bytes that are no text come out as they went in.
            stream.write(text.encode("utf-8", "surrogateescape"))
        stream.flush()

    def _style(self, stream: BinaryIO) -> Style:
        if not stream.isatty():
            return Style()
        try:
            width = os.get_terminal_size(stream.fileno()).columns or _FALLBACK_WIDTH
        except OSError:
            width = _FALLBACK_WIDTH
        dumb = self._environment.get("TERM", "dumb") == "dumb"
        return Style(
            colour=not dumb and not self._environment.get("NO_COLOR"),
            unicode=_can_encode(_SAMPLE, self._encodings[stream]),
            width=width,
            terminal=True,
        )


async def read_line(descriptor: int, reactor: Reader) -> str:
    """The next line of a terminal, which the user ends with the Enter key; until then the reactor goes on."""
    reader = _LineReader(descriptor)
    reactor.addReader(reader)
    try:
        return await reader.line
    finally:
        reactor.removeReader(reader)


@implementer(IReadDescriptor)
class _LineReader:
    """A terminal gives whole lines, so that one read, when there is something, never waits.

    Twisted's StandardIO would make the terminal non-blocking, also for the shell that we were started from.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.line: Deferred[str] = Deferred()

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "terminal"

    def doRead(self) -> None:
        try:
            data = os.read(self._descriptor, _MAX_LINE)
        except OSError:
            data = b""
        if not self.line.called:
            self.line.callback(data.decode("utf-8", "replace"))

    def connectionLost(self, _reason: object) -> None:
        if not self.line.called:
            self.line.callback("")


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
