"""The presence of nodes: runs a machine (`domain.node`) for each and carries out what it wants.

Between jobs and nodes only plain messages pass. What a job is, is not known here; how a message travels neither.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from twisted.logger import Logger

from pushy_protocol import messages
from pushy_protocol.envelope import SessionSigner
from pushy_protocol.states import TERMINAL_NODE_STATUSES, NodeStatus
from pushyd.clock import Clock, Periodic
from pushyd.domain.node import (
    Check,
    Heard,
    HeartbeatRule,
    Kind,
    Node,
    NodeEffect,
    NodeRef,
    NodeStep,
    Presence,
    RehabTimer,
    RehabWanted,
    step,
)
from pushyd.sessions import Session, Sessions

_OFFLINE = Presence.OFFLINE
_RESULTS = (messages.Succeeded, messages.Failed, messages.Aborted)
_KINDS: Mapping[type, Kind] = {messages.NodeHeartbeat: Kind.HEARTBEAT, messages.Aborted: Kind.ABORTED}
_NO_EXTENSIONS: frozenset[str] = frozenset()

EXTENSION_FIELDS: Mapping[str, str] = {"output_limit": "output", "live": "output"}
"""The fields of messages that only nodes get that were offered an extension, and which."""


class Channel(Protocol):
    """The way to the nodes."""

    def encode(self, kind: type[messages.ServerCommand], fields: Mapping[str, Any]) -> bytes:
        """The body of a message, for any number of nodes."""

    def send(self, route: bytes, signer: SessionSigner, body: bytes) -> bool:
        """Send a body to the node behind a socket's identity; False where it could not be queued."""

    def behind(self) -> float:
        """For how many seconds it has not got round all nodes that have something to say; 0 where it does."""


class Jobs(Protocol):
    """Who hears what nodes say about jobs."""

    def status(self, node: NodeRef, job_id: str) -> NodeStatus | None:
        """The node's status in a job; None where that is not live, or the node is none of its nodes."""

    def on_message(self, node: NodeRef, message: messages.NodeMessage, *, carries_on: bool) -> None:
        """A message of a node of a live job, about that; its agent may `carries_on` after an interruption."""

    def on_available(self, node: NodeRef, *, carries_on: bool) -> None:
        """The node is available: it carries on with what it did, or does nothing after a rehab."""

    def on_heartbeat(self, node: NodeRef) -> None:
        """A node that is available, and whose agent speaks 3.0, is still there."""

    def on_down(self, node: NodeRef) -> None:
        """The node is down: it may be gone, or have started anew."""


class _Known:
    """A node that was heard of, and what is between it and the server."""

    __slots__ = ("held", "key", "machine", "spoken")

    def __init__(self, machine: Node) -> None:
        self.machine = machine
        # The CURVE key behind the node's route. One that has another key by now has to speak with it first: what it is
        # told until then is held, for whoever has the old key is not the node any more.
        self.key = ""
        self.held: list[bytes] = []
        self.spoken: float | None = None  # when it was last told anything


class NodeService:
    """All nodes that were heard of since the server started."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: Clock,
        sessions: Sessions,
        rule: HeartbeatRule,
        rehab_seconds: float,
        check_seconds: float,
    ) -> None:
        self._clock = clock
        self._sessions = sessions
        self._rule = rule
        self._nodes: dict[NodeRef, _Known] = {}
        # The nodes in rehab, and when they were last told to abort.
        self._told: dict[NodeRef, float] = {}
        self._rehab_seconds = rehab_seconds
        self._alive_seconds = messages.ALIVE_INTERVALS * rule.interval
        self._look_seconds = min(rehab_seconds / 4, check_seconds)
        self._looked = 0.0
        self._judge_from = 0.0
        self._loops = [
            Periodic(self._repeat_aborts, self._look_seconds, clock),
            Periodic(self._check, check_seconds, clock),
        ]
        self._channel: Channel
        self._jobs: Jobs
        self._on_result: Callable[[NodeRef, str], None]
        self._on_output: Callable[[NodeRef, messages.Output], None]

    def connect(
        self,
        channel: Channel,
        jobs: Jobs,
        on_result: Callable[[NodeRef, str], None],
        on_output: Callable[[NodeRef, messages.Output], None],
    ) -> None:
        """Say where messages go; before :meth:`start`.

        :param on_result: called, once all else is done, with the result of a node that wants to hear that it is stored
        :param on_output: called, once all else is done, with a piece of output of a node that was offered to send it
        """
        self._channel, self._jobs = channel, jobs
        self._on_result, self._on_output = on_result, on_output

    def start(self) -> None:
        """Begin to look for nodes that are down, and to repeat aborts."""
        self._looked = self._clock.seconds()
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Stop looking."""
        for loop in self._loops:
            loop.stop()

    def presence(self, node: NodeRef) -> Presence:
        """Where the node stands; one that was never heard of is offline."""
        known = self._nodes.get(node)
        return known.machine.presence if known else _OFFLINE

    def presences(self, organization: str) -> dict[str, Presence]:
        """Every known node of an organization, by sorted name."""
        names = self._sessions.nodes(organization)
        return {name: self.presence(NodeRef(organization, name)) for name in sorted(names)}

    def online_count(self) -> int:
        """How many nodes send heartbeats, over all organizations."""
        return sum(1 for known in self._nodes.values() if known.machine.presence is not _OFFLINE)

    def send(
        self, organization: str, nodes: Iterable[str], kind: type[messages.ServerCommand], fields: Mapping[str, Any]
    ) -> None:
        """Send one message to each of the nodes; encoded once, signed for each. Nodes that are offline get none.

        Fields of :data:`EXTENSION_FIELDS` are left out for nodes that were not offered the extension.
        """
        needs = {EXTENSION_FIELDS[name] for name in fields if name in EXTENSION_FIELDS}
        plain = {name: value for name, value in fields.items() if name not in EXTENSION_FIELDS} if needs else fields
        bodies: dict[bool, bytes] = {}
        for name in nodes:
            node = NodeRef(organization, name)
            is_whole = not needs or needs <= self._extensions(node)
            if is_whole not in bodies:
                bodies[is_whole] = self._channel.encode(kind, fields if is_whole else plain)
            self._send_to(node, bodies[is_whole])

    def acknowledge(self, node: NodeRef, job_id: str, offsets: Mapping[str, int] | None = None) -> None:
        """Tell a node that the result of a job is safely stored, or (with `offsets`) so much of its output."""
        fields = {"job_id": job_id} if offsets is None else {"job_id": job_id, "offsets": offsets}
        self._send_to(node, self._channel.encode(messages.Ack, fields))

    def rehab(self, node: NodeRef) -> None:
        """Send a node through rehab; one that is offline goes through it when it returns."""
        if known := self._nodes.get(node):
            self._step(node, known, RehabWanted())

    def on_message(self, session: Session, route: bytes, message: messages.NodeMessage) -> None:
        """A valid message of the node that has this session, from the socket with identity `route`."""
        node, job_id, extensions = session.node, message.job_id, session.extensions
        known = self._nodes.get(node)
        if known is None:
            known = self._nodes[node] = _Known(Node(self._rule))
        machine = known.machine
        status = None if job_id is None else self._jobs.status(node, job_id)
        now = self._clock.seconds()
        # Nearly all that comes in tells nothing new of the node itself; this must cost little.
        is_known = (
            known.key == session.registration.curve_key
            and not known.held
            and machine.is_known_as(message.incarnation_id, route)
        )
        if is_known and type(message) is messages.NodeHeartbeat and (status is not None or job_id is None):
            machine.beat(now)
            if "resume" in extensions:
                self._still_there(node, known, now)
            return
        kind = _KINDS.get(type(message), Kind.OTHER)
        output = message if isinstance(message, messages.Output) and "output" in extensions else None
        awaits = status is not None and status not in TERMINAL_NODE_STATUSES
        is_result = job_id is not None and "results" in extensions and isinstance(message, _RESULTS)
        carries_on = awaits and "resume" in extensions
        before = machine.presence
        is_news = False
        if not (is_known and status is not None and kind is Kind.OTHER):
            if kind is Kind.HEARTBEAT:
                unknown = job_id is not None and status is None
            else:
                unknown = status is None and not is_result and output is None
            known.key = session.registration.curve_key
            heard = Heard(now, kind, message.incarnation_id, route, unknown, resumes=carries_on)
            is_news = self._step(node, known, heard)
            held, known.held = known.held, []
            for body in held:
                self._send_to(node, body)
        # A result that is said again changes nothing; with 2.x it is a node out of step, which the job deals with.
        # Where the step did anything it may have ended the job: a node that was restarted is down first.
        tells = status is not None and kind is not Kind.HEARTBEAT and (awaits or not is_result)
        if tells and (not is_news or self._jobs.status(node, job_id or "") is not None):
            self._jobs.on_message(node, message, carries_on=carries_on)
        if machine.presence is Presence.IDLE and before is not Presence.IDLE:
            self._jobs.on_available(node, carries_on=carries_on)
        elif kind is Kind.HEARTBEAT and "resume" in extensions:
            self._still_there(node, known, now)
        if is_result:
            self._on_result(node, job_id or "")
        if output is not None:
            self._on_output(node, output)

    def _still_there(self, ref: NodeRef, known: _Known, now: float) -> None:
        """A node whose agent speaks 3.0 sent a heartbeat, as before."""
        if known.machine.presence is Presence.IDLE:
            self._jobs.on_heartbeat(ref)
            if known.spoken is not None and now - known.spoken >= self._alive_seconds:
                self._send_to(ref, self._channel.encode(messages.Ack, {}))

    def _extensions(self, node: NodeRef) -> frozenset[str]:
        session = self._sessions.of(node)
        return session.extensions if session else _NO_EXTENSIONS

    def _step(self, ref: NodeRef, known: _Known, event: NodeStep) -> bool:
        """Tell a node of an event and do what it wants; whether that was anything."""
        machine = known.machine
        before = machine.presence
        effects = step(machine, event)
        for effect in effects:
            match effect:
                case NodeEffect.SEND_ABORT:
                    self._told[ref] = self._clock.seconds()
                    self._send_to(ref, self._channel.encode(messages.Abort, {}))
                case NodeEffect.SEND_ACK:
                    self._send_to(ref, self._channel.encode(messages.Ack, {}))
                case NodeEffect.WENT_DOWN:
                    self.log.info("Node {node} is down", node="/".join(ref))
                    known.held.clear()
                    self._jobs.on_down(ref)
        if machine.presence is not before:
            if machine.presence is not Presence.REHAB:
                self._told.pop(ref, None)
            if before is _OFFLINE:
                self.log.info("Node {node} is online", node="/".join(ref))
        return bool(effects)

    def _send_to(self, ref: NodeRef, body: bytes) -> None:
        known, session = self._nodes.get(ref), self._sessions.of(ref)
        if known is None or session is None or known.machine.presence is _OFFLINE:
            return
        known.spoken = self._clock.seconds()
        if known.key == session.registration.curve_key:
            self._channel.send(known.machine.route, session.signer, body)
        else:
            known.held.append(body)

    def _look_at_clock(self) -> float:
        """The time; notices on the way that this process stood still, or does not keep up with what nodes say.

        Heartbeats are waiting to be read then: the nodes' averages do not know of them yet.
        """
        now = self._clock.seconds()
        late, behind = now - self._looked - self._look_seconds, self._channel.behind()
        self._looked = now
        if late > self._rule.interval:
            self.log.warn("This process stood still for {late:.1f} s; no node is found down for now", late=late)
        elif behind > self._rule.interval and now >= self._judge_from:
            self.log.warn("What nodes say is read {behind:.1f} s late; no node is found down for now", behind=behind)
        if max(late, behind) > self._rule.interval:
            self._judge_from = now + self._rule.window * self._rule.interval
        return now

    def _repeat_aborts(self) -> None:
        due = self._look_at_clock() - self._rehab_seconds
        for ref in [ref for ref, told in self._told.items() if told <= due]:
            self._step(ref, self._nodes[ref], RehabTimer())

    def _check(self) -> None:
        now = self._look_at_clock()
        if now < self._judge_from:
            return
        for ref, known in list(self._nodes.items()):
            if known.machine.is_silent(now):
                self._step(ref, known, Check(now))
