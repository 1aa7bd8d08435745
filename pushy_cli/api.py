"""The Push Jobs API, as far as the CLI uses it: one method a call, with typed answers.

How a request travels, and what its errors are, is :mod:`pushy_cli.transport`'s.
"""

import re
from typing import Protocol, TypeVar
from urllib.parse import quote

from pushy_cli.errors import Garbage, NotFound, UnknownJob
from pushy_protocol.api import InvalidRequest, Job, JobCreated, JobRequest, NodeState, decode, encode

_JOB_ID_AT_END = re.compile(r"/([0-9a-f]{32})/?$")
_OCTETS = "application/octet-stream"

T = TypeVar("T")


class Requester(Protocol):
    """What sends requests; see :class:`pushy_cli.transport.Transport`."""

    async def request(self, method: str, path: str, body: bytes = b"", *, accept: str = ...) -> bytes: ...


class PushServer:
    """The jobs and nodes of one organization. Every method raises :class:`~pushy_cli.errors.CliError`."""

    def __init__(self, transport: Requester) -> None:
        self._transport = transport

    async def start_job(self, request: JobRequest) -> JobCreated:
        """Create a job, and say where it is."""
        created = await self._ask("POST", "pushy/jobs", JobCreated, encode(request))
        job_id_in(created.uri)
        return created

    async def jobs(self) -> list[Job]:
        """All jobs without their nodes, newest first."""
        return await self._ask("GET", "pushy/jobs", list[Job])

    async def job(self, job_id: str) -> Job:
        """A job, with the reasons for what did not succeed where the server gives them.

        :raise UnknownJob: there is none with that id.
        """
        try:
            return await self._ask("GET", f"pushy/jobs/{quote(job_id, safe='')}?detail=true", Job)
        except NotFound as error:
            raise UnknownJob(f"There is no job {job_id} ({error.what})", "Find the job in: pushy job list") from None

    async def output(self, job_id: str, node: str, channel: str) -> bytes | None:
        """What a node of a job wrote, or None where nothing was captured.

        :param channel: ``stdout`` or ``stderr``
        """
        path = f"pushy/jobs/{quote(job_id, safe='')}/output/{quote(node, safe='')}/{channel}"
        try:
            return await self._transport.request("GET", path, accept=_OCTETS)
        except NotFound:
            return None

    async def node_states(self) -> list[NodeState]:
        """Every node that the server has seen."""
        return await self._ask("GET", "pushy/node_states", list[NodeState])

    async def node_state(self, name: str) -> NodeState:
        """One node; one that was never seen is offline."""
        return await self._ask("GET", f"pushy/node_states/{quote(name, safe='')}", NodeState)

    async def _ask(self, method: str, path: str, shape: type[T], body: bytes = b"") -> T:
        answer = await self._transport.request(method, path, body)
        try:
            return decode(answer, shape)
        except InvalidRequest as error:
            raise _garbage(f"to {method} {path}: {'; '.join(error.args)}") from None


def job_id_in(uri: str) -> str:
    """The id at the end of a new job's URI.

    :raise Garbage: there is none.
    """
    if found := _JOB_ID_AT_END.search(uri):
        return found[1]
    raise _garbage(f"with a job's uri that does not end in an id: {uri[:200]!r}")


def _garbage(what: str) -> Garbage:
    return Garbage(
        f"What answered is no push server: it answered {what}", "Check the server's URL; --verbose shows the answer."
    )
