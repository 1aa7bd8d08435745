"""The Push Jobs API, as far as the CLI uses it: one method a call, with typed answers.

How a request travels, and what its errors are, is :mod:`pushy_cli.transport`'s. What is Chef's own (clients, users,
groups, node objects, search) is in :mod:`pushy_cli.chef`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from attrs import frozen

from pushy_cli.errors import CliError, Garbage, NotFound, NotOffered, UnknownJob, missing
from pushy_protocol.api import InvalidRequest, Job, JobCreated, JobRequest, NodeState, decode, encode
from pushy_protocol.timestamps import format_iso8601, parse_rfc1123

PAGE = 100
"""The most jobs that are asked for at once."""

_JOB_ID_AT_END = re.compile(r"/([0-9a-f]{32})/?$")
_EVENT_STREAM = "text/event-stream"

T = TypeVar("T")


class Reply(Protocol):
    """See :class:`pushy_cli.transport.Answer`."""

    @property
    def body(self) -> bytes: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


class Head(Protocol):
    """See :class:`pushy_cli.bodies.Head`."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


class Requester(Protocol):
    """What sends requests; see :class:`pushy_cli.transport.Transport`."""

    async def request(self, method: str, path: str, body: bytes = b"", *, accept: str = ...) -> bytes: ...

    async def exchange(
        self, method: str, path: str, body: bytes = b"", *, accept: str = ..., api_version: str = ...
    ) -> Reply: ...

    async def stream(
        self,
        path: str,
        begin: Callable[[Head], Callable[[bytes], None]],
        *,
        headers: Mapping[str, str],
        silence: float,
    ) -> None: ...


class OutputPiece(msgspec.Struct, frozen=True):
    """The data of an event `output`: what a node wrote, from an offset of its channel on."""

    node: str
    channel: Literal["stdout", "stderr"]
    offset: Annotated[int, msgspec.Meta(ge=0)]
    data: bytes


@frozen(kw_only=True)
class JobQuery:
    """Which jobs are wanted; None is any."""

    limit: int | None = None
    status: str | None = None
    command: str | None = None
    """The whole of the command."""

    node: str | None = None
    since: float | None = None
    """Created at this moment or later, in seconds since the epoch."""

    def parameters(self) -> dict[str, str]:
        """As a server that has these parameters takes them; an original one passes over them."""
        given = {"status": self.status, "command": self.command, "node": self.node}
        if self.since is not None:
            given["since"] = format_iso8601(self.since)
        return {name: value for name, value in given.items() if value is not None}

    def matches(self, job: Job) -> bool:
        """Whether a job is wanted, as far as its entry in the list tells: not by its nodes."""
        return (
            (self.status is None or job.status == self.status)
            and (self.command is None or job.command == self.command)
            and (self.since is None or _created(job) >= self.since)
        )


class PushServer:
    """The jobs and nodes of one organization. Every method raises :class:`~pushy_cli.errors.CliError`."""

    def __init__(self, transport: Requester) -> None:
        self._transport = transport

    async def start_job(self, request: JobRequest) -> JobCreated:
        """Create a job, and say where it is."""
        created = await self._ask("POST", "pushy/jobs", JobCreated, encode(request))
        job_id_in(created.uri)
        return created

    async def jobs(self, query: JobQuery) -> list[Job]:
        """The jobs that are wanted, without their nodes, newest first."""
        found: list[Job] = []
        before: str | None = None
        while True:
            parameters = query.parameters()
            if query.limit is not None:
                parameters["limit"] = str(min(query.limit, PAGE))
            if before is not None:
                parameters["before"] = before
            path = f"pushy/jobs?{urlencode(parameters)}" if parameters else "pushy/jobs"
            answer = await self._transport.exchange("GET", path)
            page = _decoded(answer.body, list[Job], f"GET {path}")
            for job in page:
                if query.matches(job) and (query.node is None or await self._has_node(job.id, query.node)):
                    found.append(job)
                if query.limit is not None and len(found) >= query.limit:
                    return found
            if 'rel="next"' not in answer.headers.get("link", "") or not page or page[-1].id == before:
                return found
            before = page[-1].id

    async def job(self, job_id: str, *, with_file: bool = False) -> Job:
        """A job, with the reasons for what did not succeed where the server gives them.

        :param with_file: also with the file that was sent along
        :raise UnknownJob: there is none with that id.
        """
        path = f"pushy/jobs/{quote(job_id, safe='')}?detail=true{'&include_file=true' * with_file}"
        try:
            return await self._ask("GET", path, Job)
        except NotFound as error:
            raise UnknownJob(missing("job", job_id, error), "Find the job in: pushy job list") from None

    async def feed(
        self,
        job_id: str,
        take: Callable[[bytes], None],
        *,
        last_event_id: str | None,
        silence: float,
        with_output: bool = False,
    ) -> None:
        """Read the feed of a job until it ends.

        :param take: is given the bytes as they come, and none when there is an answer
        :param last_event_id: the feed goes on after that event
        :param silence: seconds without a byte after which the connection counts as lost
        :param with_output: also with events of :class:`OutputPiece`, from a server that has them
        """
        path = f"pushy/job_status_feed/{quote(job_id, safe='')}{'?output=true' * with_output}"
        headers = {"Accept": _EVENT_STREAM}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id

        def begin(head: Head) -> Callable[[bytes], None]:
            if not head.headers.get("content-type", "").startswith(_EVENT_STREAM):
                raise garbage("with something that is no feed")
            take(b"")
            return take

        await self._transport.stream(path, begin, headers=headers, silence=silence)

    async def abort(self, job_id: str) -> None:
        """Have a job aborted; when it is, it shows.

        :raise UnknownJob: there is none with that id.
        :raise Conflict: it has ended, or is being aborted already.
        :raise NotOffered: this server cannot.
        """
        try:
            await self._transport.request("POST", f"pushy/jobs/{quote(job_id, safe='')}/abort")
        except (NotFound, NotOffered):
            await self.job(job_id)
            raise _not_offered("abort jobs") from None

    async def purge(self, before: float) -> int | None:
        """Delete the jobs that were created before a moment; how many, where the server tells.

        :param before: in seconds since the epoch
        :raise NotOffered: this server cannot.
        """
        path = f"pushy/jobs?{urlencode({'before': format_iso8601(before)})}"
        try:
            answer = await self._transport.request("DELETE", path)
        except (NotFound, NotOffered):
            raise _not_offered("delete jobs") from None
        deleted = _decoded(answer, dict[str, object], "DELETE pushy/jobs").get("deleted") if answer.strip() else None
        return deleted if isinstance(deleted, int) else None

    async def node_states(self) -> list[NodeState]:
        """Every node that the server has seen."""
        return await self._ask("GET", "pushy/node_states", list[NodeState])

    async def node_state(self, name: str) -> NodeState:
        """One node; one that was never seen is offline."""
        return await self._ask("GET", f"pushy/node_states/{quote(name, safe='')}", NodeState)

    async def _has_node(self, job_id: str, node: str) -> bool:
        # Asked also of what a server chose by node: an original one passes over that parameter, without a word.
        job = await self.job(job_id)
        return any(node in names for names in (job.nodes or {}).values())

    async def _ask(self, method: str, path: str, shape: type[T], body: bytes = b"") -> T:
        return _decoded(await self._transport.request(method, path, body), shape, f"{method} {path}")


def job_id_in(uri: str) -> str:
    """The id at the end of a new job's URI.

    :raise Garbage: there is none.
    """
    if found := _JOB_ID_AT_END.search(uri):
        return found[1]
    raise garbage(f"with a job's uri that does not end in an id: {uri[:200]!r}")


def garbage(what: str) -> Garbage:
    """The error for an answer that is none of this API.

    :param what: how it answered, after the words "it answered"
    """
    return Garbage(
        f"What answered is no push server: it answered {what}", "Check the server's URL; --verbose shows the answer."
    )


def _not_offered(what: str) -> CliError:
    return NotOffered(f"This server cannot {what}", "It may be an original push server, or an older pushyd.")


def _decoded(body: bytes, shape: type[T], asked: str) -> T:
    try:
        return decode(body, shape)
    except InvalidRequest as error:
        raise garbage(f"to {asked}: {'; '.join(error.args)}") from None


def _created(job: Job) -> float:
    try:
        return parse_rfc1123(job.created_at)
    except ValueError:
        raise garbage(f"with a job created at {job.created_at[:100]!r}") from None
