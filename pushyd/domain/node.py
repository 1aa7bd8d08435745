"""A node, as the server sees it: section 6 of the protocol.

:func:`step` takes a node and an event, changes the node and returns what is to be done. Time comes with the events,
in seconds of a monotonic clock. Which jobs there are is not known here: the caller says whether the job that a
message names is live.
"""

from enum import Enum
from typing import NamedTuple

from attrs import frozen


class NodeRef(NamedTuple):
    """Which node: names are unique within an organization."""

    organization: str
    name: str


class Presence(Enum):
    """Offline; being told to abort until it says that it did; or idle, that is available."""

    OFFLINE = "offline"
    REHAB = "rehab"
    IDLE = "idle"


_OFFLINE = Presence.OFFLINE  # looking up a member of an enum takes longer than what it is compared with


class NodeEffect(Enum):
    """What is to be done about a node."""

    SEND_ABORT = "send abort"
    SEND_ACK = "send ack"
    WENT_DOWN = "went down"
    """Its jobs are to be told."""


class Kind(Enum):
    """The messages of a node, as far as its presence tells them apart."""

    HEARTBEAT = "heartbeat"
    ABORTED = "aborted"
    OTHER = "other"


class Heard(NamedTuple):
    """A valid message came.

    :param route: the identity of the socket that it came from
    :param about_unknown_job: it names a job that is not live, or, but for a heartbeat, none
    :param resumes: it names a job that waits for this node, and its agent speaks 3.0: it is to carry on, where one of
        2.x would have to abort (section 8)
    """

    now: float
    kind: Kind
    incarnation: str
    route: bytes
    about_unknown_job: bool
    resumes: bool = False


@frozen
class RehabWanted:
    """A job has found the node out of step."""


@frozen
class RehabTimer:
    """It is time to say `abort` again."""


@frozen
class Check:
    """It is time to see whether the node still sends heartbeats."""

    now: float


NodeStep = Heard | RehabWanted | RehabTimer | Check


@frozen(kw_only=True)
class HeartbeatRule:
    """When a node is down: `interval` in seconds, `window` in intervals, `threshold` in heartbeats an interval."""

    interval: float
    window: int
    threshold: float


class Node:
    """A node's presence and the average of its heartbeats. Changed by :func:`step`, and by :meth:`beat` for a heartbeat
    that tells nothing new (:meth:`is_known_as`).
    """

    __slots__ = ("_average", "_beats", "_since", "incarnation", "presence", "route", "rule")

    def __init__(self, rule: HeartbeatRule) -> None:
        self.rule = rule
        self.presence = Presence.OFFLINE
        self.incarnation = ""
        self.route = b""
        self._average = 1.0
        self._beats = 0
        self._since = 0.0

    def average(self, now: float) -> float:
        """The decayed average of heartbeats per interval, at most 1: nobody saves up for a silence.

        Whole intervals that have passed are folded in when somebody asks, so that a node costs nothing in between.
        """
        rule = self.rule
        if (passed := int((now - self._since) / rule.interval)) > 0:
            keep = (rule.window - 1) / rule.window
            self._average = min(1.0, self._average * keep + self._beats / rule.window) * keep ** (passed - 1)
            self._beats = 0
            self._since += passed * rule.interval
        return self._average

    def is_silent(self, now: float) -> bool:
        """Whether it is there as far as is known, but sends too few heartbeats; :class:`Check` finds it down."""
        return self.presence is not _OFFLINE and self.average(now) < self.rule.threshold

    def beat(self, now: float) -> None:
        """Count a heartbeat."""
        if now - self._since >= self.rule.interval:
            self.average(now)
        self._beats += 1

    def is_known_as(self, incarnation: str, route: bytes) -> bool:
        """Whether it is there and was heard last in the same way, so that a message tells nothing new of the node.

        Nearly all do not. For :func:`step` they are a heartbeat, to be counted by :meth:`beat`, or nothing, unless
        they are about a job that is not live, or say `aborted`.
        """
        return incarnation == self.incarnation and route == self.route and self.presence is not _OFFLINE

    def begin(self, event: Heard) -> None:
        """Take this message as the first one; where it is a heartbeat it counts as one."""
        self.incarnation, self.route = event.incarnation, event.route
        self._average, self._beats, self._since = 1.0, int(event.kind is Kind.HEARTBEAT), event.now


def step(node: Node, event: NodeStep) -> list[NodeEffect]:
    """Tell `node` of `event`: changes it, and returns what is to be done, in order."""
    match event:
        case Heard():
            return _heard(node, event)
        case RehabWanted():
            # A node that is offline goes through rehab anyway when it returns.
            return _to_rehab(node) if node.presence is Presence.IDLE else []
        case RehabTimer():
            return [NodeEffect.SEND_ABORT] if node.presence is Presence.REHAB else []
        case Check(now):
            if not node.is_silent(now):
                return []
            node.presence = Presence.OFFLINE
            return [NodeEffect.WENT_DOWN]


def _heard(node: Node, event: Heard) -> list[NodeEffect]:
    if event.resumes and (node.presence is Presence.OFFLINE or event.incarnation != node.incarnation):
        node.begin(event)
        node.presence = Presence.IDLE
        return [NodeEffect.SEND_ACK]
    if node.presence is Presence.OFFLINE:
        node.begin(event)
        return _to_rehab(node)
    if event.incarnation != node.incarnation:
        node.begin(event)
        return [NodeEffect.WENT_DOWN, *_to_rehab(node)]
    effects: list[NodeEffect] = []
    if event.route != node.route:
        node.route = event.route
        # Whoever connects is answered at once: a 2.x client that hears nothing fetches its configuration again.
        in_rehab = node.presence is Presence.REHAB and event.kind is not Kind.ABORTED
        effects.append(NodeEffect.SEND_ABORT if in_rehab else NodeEffect.SEND_ACK)
    if event.kind is Kind.HEARTBEAT:
        node.beat(event.now)
    if event.kind is Kind.ABORTED:
        node.presence = Presence.IDLE
    elif event.about_unknown_job and node.presence is Presence.IDLE:
        effects += _to_rehab(node)
    return effects


def _to_rehab(node: Node) -> list[NodeEffect]:
    node.presence = Presence.REHAB
    return [NodeEffect.SEND_ABORT]
