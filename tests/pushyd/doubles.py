"""What stands for pushyd's neighbours where a service is tested alone: the store, the channel, nodes, jobs, feeds.

They keep the promises of the interfaces that they stand for, record what they were told, and can be made slow or
broken. Here are also the messages of nodes, made with the keys that every message has.
"""

from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure

from pushy_protocol import messages
from pushy_protocol.envelope import SessionSigner
from pushy_protocol.states import TERMINAL_JOB_STATUSES, JobStatus, NodeStatus
from pushy_protocol.timestamps import format_rfc1123
from pushyd.domain.effects import Emit
from pushyd.domain.job import JobSpec
from pushyd.domain.node import NodeRef, Presence
from pushyd.store.interface import (
    NO_DETAIL,
    AbortRequest,
    AlreadyExists,
    Change,
    FeedText,
    JobQuery,
    JobStatusChange,
    JobSummary,
    NodeDetail,
    NodeStatusChange,
    Registration,
    StoredJob,
    StoreUnavailable,
)
from pushyd.store.output_interface import (
    Appended,
    OutputCaptured,
    OutputEnd,
    OutputEvent,
    OutputPiece,
    OutputRules,
    OutputState,
    StreamRef,
)

T = TypeVar("T")
E = TypeVar("E", bound=Exception)
NOW = 1_400_000_000.0
"""Seconds since the epoch at which the tests begin."""


def begin(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Start a coroutine, as the reactor would."""
    return Deferred.fromCoroutine(coroutine)


def failure_of(deferred: Deferred[Any], kind: type[E]) -> E:
    """The error that a Deferred has failed with."""
    results: list[object] = []
    _ = deferred.addBoth(results.append)
    (failure,) = results
    assert isinstance(failure, Failure)
    assert isinstance(failure.value, kind)
    return failure.value


def texts(events: Iterable[LogEvent], level: str) -> list[str]:
    """What was logged at a level, by its name."""
    return [formatEvent(event) for event in events if event.get("log_level") is LogLevel.levelWithName(level)]


# Messages of nodes


def said(
    kind: Any,
    node: NodeRef,
    job_id: str | None = None,
    *,
    incarnation: str = "incarnation",
    **fields: Any,
) -> Any:
    """A message of `node`, as it comes out of the channel."""
    if kind is messages.NodeHeartbeat:
        fields.setdefault("job_state", "idle" if job_id is None else "running")
    return kind(
        node=node.name,
        client=f"{node.name}.example.org",
        org=node.organization,
        protocol_version=messages.PROTOCOL_VERSION,
        incarnation_id=incarnation,
        job_id=job_id,
        sequence=1,
        timestamp=fields.pop("timestamp", format_rfc1123(NOW)),
        **fields,
    )


# The store


@frozen
class _Write:
    """Something that somebody waits for."""

    work: Callable[[], None]
    done: Deferred[None] = field(factory=Deferred)


class MemoryStore:
    """A `JobStore` and `RegistrationStore` without a disk: a queue that is committed in order.

    It commits at once, unless :meth:`hold` was called (then at :meth:`release`) or :meth:`break_down` (then writes
    fail, and recorded changes are held until :meth:`mend`).
    """

    def __init__(self) -> None:
        self.recorded_changes: list[Change] = []
        """Every change that was ever recorded, committed or not."""
        self.saved: list[Registration] = []
        """Every registration that was ever saved."""
        self._jobs: dict[str, StoredJob] = {}
        self._outputs: dict[tuple[str, str, str], bytes] = {}
        self._output_events: dict[str, list[OutputEvent]] = {}
        self._output_ends: dict[tuple[str, str, str], OutputEnd] = {}
        self.appended: list[list[OutputPiece]] = []
        """What was appended to outputs, batch by batch."""
        self.no_room: str | None = None
        """Why there is no room for output, if so."""
        self._feeds: dict[str, dict[int, bytes]] = {}
        self._registrations: dict[NodeRef, Registration] = {}
        self._queue: list[Change | _Write] = []
        self._waiting: list[Deferred[None]] = []
        self._held = False
        self._broken: str | None = None

    # What a test does to it

    def hold(self) -> None:
        """Commit nothing from now on."""
        self._held = True

    def release(self) -> None:
        """Commit what was held, and everything from now on at once."""
        self._held = False
        self._commit()

    def break_down(self, why: str = "disk full") -> None:
        """Be unable to write or read from now on."""
        self._broken = why
        self._commit()

    def mend(self) -> None:
        """Be able to again, and write what was held."""
        self._broken = None
        self._commit()

    def keep(self, job: StoredJob) -> None:
        """Have a job from an earlier run."""
        self._jobs[job.spec.id] = job

    def kept(self, job_id: str) -> StoredJob | None:
        """A job as it is committed."""
        return self._jobs.get(job_id)

    def ids(self) -> list[str]:
        """The ids of all jobs that are committed."""
        return list(self._jobs)

    # JobStore

    async def create_job(self, spec: JobSpec) -> None:
        def insert() -> None:
            if spec.id in self._jobs:
                raise AlreadyExists(spec.id)
            self._jobs[spec.id] = StoredJob(
                spec=spec,
                status=JobStatus.NEW,
                updated_at=spec.created_at,
                nodes=dict.fromkeys(spec.nodes, NodeStatus.NEW),
            )

        await self._write(insert)

    def record(self, change: Change) -> None:
        self.recorded_changes.append(change)
        self._queue.append(change)
        self._commit()

    async def recorded(self, *, hurry: bool = False) -> None:
        if self._queue:
            settled: Deferred[None] = Deferred()
            self._waiting.append(settled)
            await settled

    async def job(self, organization: str, job_id: str) -> StoredJob | None:
        self._check()
        job = self._jobs.get(job_id)
        return job if job and job.spec.organization == organization else None

    async def jobs(self, organization: str, query: JobQuery) -> Sequence[JobSummary]:
        self._check()
        found = [_summary(job) for job in self._jobs.values() if job.spec.organization == organization]
        return found[::-1][: query.limit]

    async def unfinished_jobs(self) -> Sequence[StoredJob]:
        self._check()
        return [job for job in self._jobs.values() if job.status not in TERMINAL_JOB_STATUSES]

    async def feed(self, job_id: str) -> bytes:
        self._check()
        return b"".join(text for _, text in sorted(self._feeds.get(job_id, {}).items()))

    # OutputStore

    async def append_output(self, pieces: Sequence[OutputPiece], rules: OutputRules) -> Appended:
        offsets: dict[StreamRef, int] = {}
        kept: defaultdict[StreamRef, list[tuple[int, int, bytes]]] = defaultdict(list)

        def append() -> None:
            self.appended.append(list(pieces))
            for piece in pieces:
                offsets[piece.stream], added = self._append(piece)
                kept[piece.stream] += added

        await self._write(append)
        return Appended(offsets=offsets, kept=kept, no_room=self.no_room)

    def _append(self, piece: OutputPiece) -> tuple[int, list[tuple[int, int, bytes]]]:
        job = self._jobs.get(piece.stream.job_id)
        if job is None or piece.stream.node not in job.nodes or not job.spec.capture:
            return piece.offset + len(piece.data), []
        key = piece.stream[1:]
        before = self._outputs.setdefault(key, b"")
        added = []
        if not self.no_room and piece.offset <= len(before) < piece.offset + len(piece.data):
            data = piece.data[len(before) - piece.offset :]
            added.append((len(before), piece.at, data))
            self.keep_output(key, len(before), piece.at, data)
        return len(self._outputs[key]), added

    def keep_output(self, key: tuple[str, str, str], offset: int, at: int, data: bytes) -> None:
        """Have a piece of output at the end of a stream (job, node, channel)."""
        job_id, node, channel = key
        self._outputs[key] = self._outputs.get(key, b"") + data
        event = OutputEvent(node=node, channel=channel, offset=offset, at=at, data=data)
        self._output_events.setdefault(job_id, []).append(event)

    async def output(
        self, organization: str, job_id: str, node: str, channel: str, start: int = 0, stop: int | None = None
    ) -> bytes | None:
        job = await self.job(organization, job_id)
        output = self._outputs.get((job_id, node, channel)) if job else None
        return None if output is None else output[start:stop]

    async def output_states(
        self, organization: str, job_id: str, node: str | None = None, channel: str | None = None
    ) -> Sequence[OutputState]:
        job = await self.job(organization, job_id)
        states = []
        for number, (key, data) in enumerate(self._outputs.items()):
            if job and key[0] == job_id and node in (None, key[1]) and channel in (None, key[2]):
                end = self._output_ends.get(key)
                dropped = end.dropped if end else 0
                complete = end is not None and end.bytes <= len(data)
                states.append(
                    OutputState(
                        id=number, node=key[1], channel=key[2], kept=len(data), dropped=dropped, complete=complete
                    )
                )
        return sorted(states, key=lambda state: (state.node, state.channel))

    async def whole_outputs(self, ids: Sequence[int]) -> Mapping[int, bytes]:
        return {number: data for number, data in enumerate(self._outputs.values()) if number in ids}

    async def output_events(self, job_id: str, after: int, limit: int) -> Sequence[OutputEvent]:
        if self._broken:
            raise StoreUnavailable(self._broken)
        return [event for event in self._output_events.get(job_id, []) if event.at > after]

    async def last_output(self, job_id: str) -> int:
        return max((event.at for event in self._output_events.get(job_id, [])), default=0)

    # RegistrationStore

    async def save_registration(self, registration: Registration) -> None:
        def save() -> None:
            self.saved.append(registration)
            self._registrations[NodeRef(registration.organization, registration.node)] = registration

        await self._write(save)

    async def delete_registration(self, organization: str, node: str) -> None:
        await self._write(lambda: self._forget(NodeRef(organization, node)))

    async def registrations(self) -> Sequence[Registration]:
        self._check()
        return list(self._registrations.values())

    # Within

    def _forget(self, node: NodeRef) -> None:
        self._registrations.pop(node, None)

    def _check(self) -> None:
        if self._broken:
            raise StoreUnavailable(self._broken)

    async def _write(self, work: Callable[[], None]) -> None:
        write = _Write(work)
        self._queue.append(write)
        self._commit()
        await write.done

    def _commit(self) -> None:
        if self._held:
            return
        queue, self._queue = self._queue, []
        if self._broken:
            self._queue = [item for item in queue if not isinstance(item, _Write)]
            for item in queue:
                if isinstance(item, _Write):
                    item.done.errback(StoreUnavailable(self._broken))
            return
        for item in queue:
            if isinstance(item, _Write):
                try:
                    item.work()
                except AlreadyExists:
                    item.done.errback()
                else:
                    item.done.callback(None)
            else:
                self._apply(item)
        waiting, self._waiting = self._waiting, []
        for settled in waiting:
            settled.callback(None)

    def _apply(self, change: Change) -> None:
        job = self._jobs.get(change.job_id)
        if job is None:
            return
        match change:
            case JobStatusChange():
                job = attrs.evolve(job, status=change.status, updated_at=change.at)
            case NodeStatusChange():
                assert change.node in job.nodes
                details = dict(job.details)
                if change.detail != NO_DETAIL:
                    details[change.node] = change.detail
                job = attrs.evolve(job, nodes={**job.nodes, change.node: change.status}, details=details)
            case OutputCaptured():
                for channel, data in (("stdout", change.stdout), ("stderr", change.stderr)):
                    key = (job.spec.id, change.node, channel)
                    if data is not None and key not in self._outputs:
                        self.keep_output(key, 0, change.at, data)
                        self._output_ends[key] = OutputEnd(
                            job_id=key[0], node=key[1], channel=channel, bytes=len(data), dropped=0
                        )
            case OutputEnd():
                key = (change.job_id, change.node, change.channel)
                self._outputs.setdefault(key, b"")
                self._output_ends.setdefault(key, change)
            case AbortRequest():
                job = attrs.evolve(job, aborting=True)
            case FeedText():
                self._feeds.setdefault(job.spec.id, {}).setdefault(change.first, change.text)
        self._jobs[change.job_id] = job


def _summary(job: StoredJob) -> JobSummary:
    spec = job.spec
    return JobSummary(
        id=spec.id,
        command=spec.command,
        status=job.status,
        run_timeout=spec.run_timeout,
        created_at=spec.created_at,
        updated_at=job.updated_at,
        user=spec.user,
        dir=spec.dir,
        env=spec.env,
        capture=spec.capture,
        file_specified=spec.file is not None,
    )


class OneTurn(Clock):
    """Makes in one turn the calls that were planned before it for now, as a reactor does; Clock makes theirs too."""

    def __init__(self) -> None:
        super().__init__()
        self.planned: list[Callable[[], object]] = []

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> IDelayedCall:  # noqa: A002
        if delay == 0:
            self.planned.append(callable)
        return super().callLater(delay, callable, *args, **kw)

    def turn(self) -> None:
        planned, self.planned = self.planned, []
        for call in planned:
            call()


# The neighbours of a service


@frozen
class Sent:
    """One message to one node, as the channel was told."""

    route: bytes
    signer: SessionSigner = field(repr=False)
    body: bytes

    @property
    def kind(self) -> type[messages.ServerCommand]:
        """What kind of message it is."""
        return type(messages.decode_from_server(self.body))


class RecordingChannel:
    """A `nodes.Channel` to nowhere."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.encoded = 0
        self.is_behind = 0.0

    def behind(self) -> float:
        return self.is_behind

    def encode(self, kind: type[messages.ServerCommand], fields: Mapping[str, Any]) -> bytes:
        self.encoded += 1
        return messages.encode(kind(timestamp=format_rfc1123(NOW), sequence=self.encoded, **fields))

    def send(self, route: bytes, signer: SessionSigner, body: bytes) -> bool:
        self.sent.append(Sent(route, signer, body))
        return True

    def take(self) -> list[Sent]:
        """What was sent since the last time."""
        sent, self.sent = self.sent, []
        return sent

    def take_kinds(self) -> list[type[messages.ServerCommand]]:
        """The kinds of what was sent since the last time."""
        return [sent.kind for sent in self.take()]


class RecordingJobs:
    """A `nodes.Jobs` that is told which jobs are live for whom."""

    def __init__(self) -> None:
        self.live: set[tuple[NodeRef, str]] = set()
        self.over: set[tuple[NodeRef, str]] = set()
        """Of the live ones, those in which the node's part is over."""
        self.heard: list[tuple[NodeRef, messages.NodeMessage]] = []
        self.available: list[tuple[NodeRef, bool]] = []
        """Who became available, and whether it carries on."""
        self.carrying_on: list[NodeRef] = []
        """Who sent a message with which it carries on."""
        self.beating: list[NodeRef] = []
        """Who of 3.0 is there."""
        self.downs: list[NodeRef] = []
        self.when_down: Callable[[NodeRef], None] = lambda _: None

    def status(self, node: NodeRef, job_id: str) -> NodeStatus | None:
        if (node, job_id) not in self.live:
            return None
        return NodeStatus.SUCCEEDED if (node, job_id) in self.over else NodeStatus.RUNNING

    def on_message(self, node: NodeRef, message: messages.NodeMessage, *, carries_on: bool) -> None:
        assert (node, message.job_id) in self.live
        self.heard.append((node, message))
        if carries_on:
            self.carrying_on.append(node)

    def on_available(self, node: NodeRef, *, carries_on: bool) -> None:
        self.available.append((node, carries_on))

    def on_heartbeat(self, node: NodeRef) -> None:
        self.beating.append(node)

    def on_down(self, node: NodeRef) -> None:
        self.downs.append(node)
        self.when_down(node)


class RecordingNodes:
    """A `jobs.Nodes`: every node is idle unless it is said to be elsewhere."""

    def __init__(self) -> None:
        self.presences: dict[NodeRef, Presence] = {}
        self.sent: list[tuple[str, list[str], type[messages.ServerCommand], dict[str, Any]]] = []
        self.rehabs: list[NodeRef] = []

    def presence(self, node: NodeRef) -> Presence:
        return self.presences.get(node, Presence.IDLE)

    def send(
        self, organization: str, nodes: Iterable[str], kind: type[messages.ServerCommand], fields: Mapping[str, Any]
    ) -> None:
        kind(timestamp="", sequence=1, **fields)  # a message must come of it
        self.sent.append((organization, list(nodes), kind, dict(fields)))

    def rehab(self, node: NodeRef) -> None:
        self.rehabs.append(node)

    def told(self, kind: type[messages.ServerCommand]) -> list[str]:
        """The nodes that messages of a kind went to."""
        return [name for _, names, told, _ in self.sent if told is kind for name in names]


class RecordingFeeds:
    """A `jobs.Feeds` that nobody reads."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Emit]] = []
        self.said: list[tuple[str, str | None, NodeDetail]] = []
        self.restored: dict[str, bytes] = {}

    def emit(self, spec: JobSpec, event: Emit, said: NodeDetail = NO_DETAIL) -> None:
        self.events.append((spec.id, event))
        self.said.append((event.event, event.node, said))

    def restore(self, spec: JobSpec, kept: bytes, last_output: int) -> None:
        self.restored[spec.id] = kept


class RecordingClockOfFeeds:
    """An `outputs.Feeds` whose microseconds are numbers from 1 on."""

    def __init__(self) -> None:
        self.last = 0
        self.woken: list[str] = []

    def stamp(self, job_id: str, count: int) -> int:
        first, self.last = self.last + 1, self.last + count
        return first

    def wake(self, job_id: str) -> None:
        self.woken.append(job_id)
