"""The part of the Push Jobs API that is about output: of one node whole or as it comes, or of all nodes of a job.

Only what one node wrote, whole, is there on every server; the rest is pushyd's. What is read as it comes is given on
piece by piece, and never held here.
"""

from collections.abc import Callable
from typing import Literal
from urllib.parse import quote

import msgspec
from attrs import define, field, frozen

from pushy_cli.api import Head, Requester, garbage
from pushy_cli.errors import NotFound, NotOffered
from pushy_protocol.api import InvalidRequest, decode

OCTETS = "application/octet-stream"
LINES = "application/x-ndjson"
_PROBLEM = "x-pushy-output-problem"

MAX_LINE = 16 * 1024 * 1024
"""The largest line of JSON that is taken; a server's have some 350 KB, or the names of all nodes."""


class _OutputLine(msgspec.Struct, frozen=True):
    """A line of ``GET jobs/ID/output``; one without nodes goes on with the text of the one before."""

    data: bytes
    channel: Literal["stdout", "stderr"] | None = None
    nodes: list[str] | None = None
    node: str | None = None
    problem: str | None = None


@define
class Group:
    """A text, and the nodes that wrote it to a channel."""

    channel: str
    nodes: list[str]
    problem: str | None
    """Why some of it is missing."""

    text: bytearray = field(factory=bytearray)


@frozen(kw_only=True)
class Served:
    """What a server says of an output before it gives it."""

    start: int
    """The offset at which it begins: that was asked for, or the beginning."""

    problem: str | None = None


class OutputServer:
    """What the nodes of jobs wrote. Every method raises :class:`~pushy_cli.errors.CliError`."""

    def __init__(self, transport: Requester) -> None:
        self._transport = transport

    async def output(
        self, job_id: str, node: str, channel: str, on_problem: Callable[[str], None] = lambda text: None
    ) -> bytes | None:
        """What a node of a job wrote, or None where nothing was captured.

        :param channel: ``stdout`` or ``stderr``
        :param on_problem: called where some of it is missing, with the reason
        """
        try:
            answer = await self._transport.exchange("GET", _path(job_id, node, channel), accept=OCTETS)
        except NotFound:
            return None
        if problem := answer.headers.get(_PROBLEM):
            on_problem(problem)
        return answer.body

    async def read(
        self,
        job_id: str,
        node: str,
        channel: str,
        begin: Callable[[Served], Callable[[bytes], None]],
        *,
        start: int = 0,
        follow: bool = False,
        silence: float,
    ) -> None:
        """Read what a node wrote, piece by piece.

        :param begin: is told what is served, and says who takes the bytes
        :param start: the offset to begin at; an older server begins anew
        :param follow: go on until the node's part in the job has ended
        :param silence: seconds without a byte after which the connection counts as lost
        :raise NotFound: nothing was captured, or there is no such job.
        """

        def told(head: Head) -> Callable[[bytes], None]:
            return begin(
                Served(
                    start=start if head.status == 206 else 0,
                    problem=head.headers.get(_PROBLEM),
                )
            )

        headers = {"Accept": OCTETS} | ({"Range": f"bytes={start}-"} if start else {})
        path = f"{_path(job_id, node, channel)}{'?follow=true' * follow}"
        await self._transport.stream(path, told, headers=headers, silence=silence)

    async def groups(
        self,
        job_id: str,
        channel: str | None,
        *,
        silence: float,
        on_group: Callable[[Group], None] = lambda group: None,
    ) -> list[Group]:
        """Each different text that the nodes of a job wrote, those of most nodes first.

        :param channel: only this one; None is both
        :param on_group: is told of each when it begins
        :raise NotOffered: this server has them node by node only.
        """
        groups: list[Group] = []

        def take(line: bytes) -> None:
            try:
                told = decode(line, _OutputLine)
            except InvalidRequest as error:
                raise garbage(f"with a line of output that is none: {'; '.join(error.args)}") from None
            names = told.nodes if told.node is None else [told.node]
            if names is not None and told.channel is not None:
                groups.append(Group(told.channel, names, told.problem))
                on_group(groups[-1])
            elif not groups:
                raise garbage("with output of no node")
            groups[-1].text += told.data

        def begin(head: Head) -> Callable[[bytes], None]:
            if not head.headers.get("content-type", "").startswith(LINES):
                raise garbage("with something that is no output")
            return cutter(take)

        path = f"pushy/jobs/{quote(job_id, safe='')}/output?group=true{f'&channel={channel}' if channel else ''}"
        try:
            await self._transport.stream(path, begin, headers={"Accept": LINES}, silence=silence)
        except NotFound as error:
            raise NotOffered(error.what, error.hint) from None
        return groups


def cutter(take: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """What cuts bytes into lines and gives them to `take`; what has no end at last is passed over."""
    rest = bytearray()

    def feed(data: bytes) -> None:
        rest.extend(data)
        if b"\n" in data:
            *lines, left = bytes(rest).split(b"\n")
            rest[:] = left
            for line in lines:
                take(line)
        if len(rest) > MAX_LINE:
            raise garbage(f"with a line of more than {MAX_LINE} bytes")

    return feed


def _path(job_id: str, node: str, channel: str) -> str:
    return f"pushy/jobs/{quote(job_id, safe='')}/output/{quote(node, safe='')}/{channel}"
