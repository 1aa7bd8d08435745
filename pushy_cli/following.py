"""Follows a job to its end: by its feed, or, where that cannot be had, by asking for the job again and again.

A server that cannot be reached for a while (it is restarted, the network is away) is no reason to give up: the job
goes on without us. What is shown of it is :mod:`pushy_cli.progress`'s.
"""

import json
from collections.abc import Callable, Iterator
from typing import Protocol

from pushy_cli.api import OutputPiece
from pushy_cli.clock import Clock, sleep
from pushy_cli.errors import CliError, ServerFault, Unreachable
from pushy_cli.sse import Event, Parser, TooLarge
from pushy_cli.standing import Standing, Tally, standing_of
from pushy_protocol.api import InvalidRequest, Job, decode
from pushy_protocol.states import TERMINAL_JOB_STATUSES

FIRST_INTERVAL = 0.3
LAST_INTERVAL = 1.0
"""Seconds between two looks: short jobs are seen to end at once, long ones cost the server little."""

PATIENCE = 600.0
"""Seconds without any answer after which we give up; a restart of the server takes some five."""

SILENCE = 40.0
"""Seconds without a byte after which a feed's connection is taken for lost: a keep-alive comes every 15."""

FIRST_EVENT = 5.0
"""Seconds to wait for a feed to begin. It does so at once, unless a proxy keeps it back: then looking serves better."""


class JobSource(Protocol):
    """What gives the job; see :class:`pushy_cli.api.PushServer`."""

    async def job(self, job_id: str) -> Job: ...

    async def feed(
        self,
        job_id: str,
        take: Callable[[bytes], None],
        *,
        last_event_id: str | None,
        silence: float,
        with_output: bool = ...,
    ) -> None: ...


class Progress(Protocol):
    """Shows how a job goes."""

    def show(self, standing: Standing) -> None:
        """This is how it stands now."""

    def answered(self) -> None:
        """The server is there, whether or not it has news."""

    def trouble(self, error: CliError) -> None:
        """There was no answer; it is tried again."""


class Output(Protocol):
    """Shows what nodes write; see :class:`pushy_cli.live_output.LiveOutput`."""

    def take(self, node: str, channel: str, offset: int, data: bytes) -> None:
        """A piece of a node's output."""

    def node_ended(self, node: str) -> None:
        """The node's command has ended."""


def pace(interval: float | None) -> Iterator[float]:
    """The seconds to wait between looks: always `interval`, or, without one, growing gently."""
    wait = interval or FIRST_INTERVAL
    while True:
        yield wait
        if interval is None:
            wait = min(wait * 1.2, LAST_INTERVAL)


async def follow(
    server: JobSource,
    job_id: str,
    *,
    clock: Clock,
    progress: Progress,
    output: Output | None = None,
    interval: float | None = None,
) -> Job:
    """The job when it has ended.

    :param output: is given what nodes write as it comes, as far as there is a feed that has it
    :param interval: seconds between two looks at the job; without one, its feed is read
    :raise CliError: it cannot be followed; without an answer only after :data:`PATIENCE`.
    """
    if interval is None:
        await _Feed(server, job_id, clock, progress, output).read_to_end()
    # The feed does not tell why a node failed, the job does: after the feed this is one look.
    answered = clock.seconds()
    for wait in pace(interval):
        try:
            job = await server.job(job_id)
        except (ServerFault, Unreachable) as error:
            if clock.seconds() - answered > PATIENCE:
                raise
            progress.trouble(error)
        else:
            answered = clock.seconds()
            progress.show(standing_of(job))
            if job.status in TERMINAL_JOB_STATUSES:
                return job
        await sleep(clock, wait)
    raise AssertionError("pace() never ends")


class _NotAFeed(ValueError):
    """What comes is no job's feed."""


class _Feed:
    """One job's feed, over as many connections as it takes."""

    def __init__(self, server: JobSource, job_id: str, clock: Clock, progress: Progress, output: Output | None) -> None:
        self._server = server
        self._job_id = job_id
        self._clock = clock
        self._progress = progress
        self._output = output
        self._tally = Tally()
        self._last_event_id: str | None = None
        self._heard = clock.seconds()
        self._ended = False

    async def read_to_end(self) -> None:
        """Come back when the job has ended, or when its feed cannot be had: looking at the job then says why.

        :raise CliError: the feed began, and then there was no answer for :data:`PATIENCE`.
        """
        for wait in pace(None):
            parser = Parser(self._take)

            def take(data: bytes, parser: Parser = parser) -> None:
                self._progress.answered()
                parser.feed(data)

            # Without the feed there is no output as it comes, so it is worth waiting for.
            silence = SILENCE if self._last_event_id or self._output else FIRST_EVENT
            try:
                await self._server.feed(
                    self._job_id,
                    take,
                    last_event_id=self._last_event_id,
                    silence=silence,
                    with_output=self._output is not None,
                )
            except (TooLarge, _NotAFeed):
                return
            except CliError as error:
                if self._last_event_id is None or not isinstance(error, ServerFault | Unreachable):
                    return
                if self._clock.seconds() - self._heard > PATIENCE:
                    raise
                if not self._ended:
                    self._progress.trouble(error)
            if self._ended:
                return
            await sleep(self._clock, wait)

    def _take(self, event: Event) -> None:
        self._heard = self._clock.seconds()
        if event.name == "output":
            self._take_output(event)
        else:
            self._take_change(event)
        self._last_event_id = event.id or self._last_event_id

    def _take_output(self, event: Event) -> None:
        """Ten thousand of these a second are no surprise, so that little is done for each."""
        if self._output is not None:
            try:
                piece = decode(event.data.encode(), OutputPiece)
            except InvalidRequest:
                raise _NotAFeed("expected a piece of output in an event") from None
            self._output.take(piece.node, piece.channel, piece.offset, piece.data)

    def _take_change(self, event: Event) -> None:
        try:
            data = json.loads(event.data)
        except (ValueError, RecursionError):
            raise _NotAFeed("expected JSON in an event") from None
        if not isinstance(data, dict):
            raise _NotAFeed("expected an object in an event")
        self._tally.take(event.name, data)
        self._ended |= event.name in {"job_complete", "summary"}
        if event.name != "summary":
            self._progress.show(self._tally.standing)
        if event.name == "run_complete" and self._output is not None:
            self._output.node_ended(str(data.get("node")))
