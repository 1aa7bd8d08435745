"""One node's output as it comes: ``job output ID NODE --follow``.

On a terminal by whole lines, of which nothing is obeyed; anywhere else byte by byte. A connection that breaks is made
again, and goes on where it was.
"""

from collections.abc import Callable

from pushy_cli import captured
from pushy_cli.clock import sleep
from pushy_cli.errors import CliError, NotFound, ServerFault, Unreachable
from pushy_cli.following import PATIENCE, follow, pace
from pushy_cli.lines import Line, Lines
from pushy_cli.output_api import Served
from pushy_cli.output_text import last_lines
from pushy_cli.progress import Silent
from pushy_cli.render import Style, plain, printable
from pushy_cli.session import Session
from pushy_protocol.api import Job
from pushy_protocol.states import TERMINAL_NODE_STATUSES

SILENCE = 60.0
"""Seconds without a byte after which the connection is made anew: a node that writes nothing looks like a lost one."""


async def follow_output(session: Session, job: Job, node: str, channel: str | None, *, tail: int | None) -> None:
    """Show what a node writes until its part in the job has ended.

    :param channel: only this one; None is both
    :param tail: begin with so many lines of what there is; None begins at the beginning
    :raise CliError: it cannot be followed; without an answer only after :data:`~pushy_cli.following.PATIENCE`.
    """
    if not job.capture_output:
        session.console.note("Nothing is captured: the job was started without --live or --capture.")
        return
    # One channel alone is the result; both keep to their own streams.
    channels = {name: name for name in captured.CHANNELS} if channel is None else {channel: "stdout"}
    followers = [_Follower(session, (job.id, node, name), stream) for name, stream in channels.items()]
    await captured.several(len(followers), (follower.run(tail) for follower in followers))
    if not (missed := [follower for follower in followers if follower.has_missed]):
        return
    if not _has_ended(await session.server.job(job.id), node):
        session.console.note("This server does not give output as it comes: it is shown when the job has ended.")
        await follow(session.server, job.id, clock=session.clock, progress=Silent(session.console))
    for follower in missed:
        await follower.finish(tail)


def _has_ended(job: Job, node: str) -> bool:
    return any(node in names for status, names in (job.nodes or {}).items() if status in TERMINAL_NODE_STATUSES)


class _Follower:
    """Follows one channel."""

    def __init__(self, session: Session, place: tuple[str, str, str], stream: str) -> None:
        """:param place: job, node and channel
        :param stream: where it is shown
        """
        self._session = session
        self._place = place
        self._stream = stream
        self._progress = Silent(session.console)
        self._lines = Lines()
        self._shown = 0
        self._offset = 0
        self._at = 0
        self._is_connected = False
        self._problem: str | None = None
        self.has_missed = False
        """The server knew nothing of it: it is older, or there is nothing to come."""

    async def run(self, tail: int | None) -> None:
        """Follow it to its end, over as many connections as it takes."""
        if tail is not None:
            await self.show_all(tail)
        clock = self._session.clock
        heard = clock.seconds()
        for wait in pace(None):
            self._is_connected = False
            try:
                await self._session.outputs.read(
                    *self._place, self._begin, start=self._offset, follow=True, silence=SILENCE
                )
            except NotFound:
                self.has_missed = True
                break
            except (ServerFault, Unreachable) as error:
                heard = self._bear(error, heard)
            else:
                break
            await sleep(clock, wait)
        self._end()

    async def finish(self, tail: int | None) -> None:
        """Show what was missed, now that the node has ended."""
        await self.show_all(tail)
        self._end()

    async def show_all(self, tail: int | None) -> None:
        """Show what there is, or its last lines."""
        text = await self._session.outputs.output(*self._place) or b""
        text, self._offset = text[self._offset :], max(self._offset, len(text))
        self._show(text if tail is None else last_lines(text, tail))

    def _bear(self, error: CliError, heard: float) -> float:
        """Whether to go on without an answer; the moment of the last one, in seconds."""
        now = self._session.clock.seconds()
        if self._is_connected:
            return now  # it broke off, or there was nothing for a while
        if now - heard > PATIENCE:
            raise error
        self._progress.trouble(error)
        return heard

    def _begin(self, served: Served) -> Callable[[bytes], None]:
        self._is_connected = True
        self._progress.answered()
        self._at = served.start
        if served.problem and served.problem != self._problem:
            self._session.console.note(f"Some {self._place[2]} is missing: {plain(served.problem)}.")
        self._problem = served.problem
        return self._take

    def _take(self, data: bytes) -> None:
        # A server that does not go on where it was told to begins anew.
        new = data[max(0, self._offset - self._at) :]
        self._at += len(data)
        self._offset = max(self._offset, self._at)
        self._show(new)

    def _show(self, data: bytes) -> None:
        if self._style.terminal:
            lines = self._lines.take(*self._place[1:], self._shown, data)
            self._shown += len(data)
            self._show_lines(lines)
        elif data:
            self._session.console.raw(self._stream, data)

    def _end(self) -> None:
        self._show_lines(self._lines.end())

    def _show_lines(self, lines: list[Line]) -> None:
        style = self._style
        texts = [(line.data or b"").decode("utf-8", "surrogateescape") for line in lines]
        self._session.console.stream((self._stream, f"{printable(text, style)}\n") for text in texts)

    @property
    def _style(self) -> Style:
        console = self._session.console
        return console.out_style if self._stream == "stdout" else console.err_style
