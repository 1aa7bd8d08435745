"""A real pushyd, and 2.x peers of it that a test makes at will and moves step by step.

Names are never used twice, so that tests share a server and nothing else.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import zmq
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from demo.fleet import SERVER_NAME, Fleet
from demo.processes import wait_until
from tests.integration.knife_2x import Event, Feed, Knife
from tests.integration.push_client_2x import PushClient
from tests.integration.signed_http_2x import Api, Principal

COMMAND = "chef-client"
AVAILABLE = ("online", "available")
IN_REHAB = ("online", "unavailable")
OFFLINE = ("offline", "unavailable")
UNKNOWN_JOB = "0123456789abcdef" * 2


Node = TypeVar("Node", bound=PushClient)

# An event as a test expects it: its name and its data.
Told = tuple[str, dict[str, object]]


@frozen(kw_only=True)
class Job:
    """A job that runs, and its feed from the beginning; the feed is closed by :meth:`Wire.release`."""

    id: str
    feed: Feed

    def tells(self, expected: Sequence[Told]) -> None:
        """The next events of the feed are these."""
        seen: list[Told] = []
        for _ in expected:
            try:
                seen += told([self.feed.next()])
            except AssertionError as error:
                raise AssertionError(f"expected {expected}, but after {seen}: {error}") from None
        assert seen == expected


class Wire:
    """Everything is made and joined on demand; :meth:`release` ends what a test has made, :meth:`close` the rest.

    :param fleet: its server is ready
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.api = Api(host=SERVER_NAME, port=fleet.api_port, ca_file=fleet.state / "ca.pem")
        self.knife = self.knife_of("admin", version="1.3")
        # One for all nodes, as to make a key takes a while; who is who is in the names and in the CURVE keys.
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._numbers = itertools.count(1)
        self._nodes: list[PushClient] = []
        self._feeds: list[Feed] = []

    def close(self) -> None:
        try:
            self.release()
        finally:
            self.api.close()
            self.context.destroy(linger=0)

    def release(self) -> None:
        """Close the nodes and the feeds that are open, and raise what the contract does not allow of what came."""
        feeds, self._feeds = self._feeds, []
        nodes, self._nodes = self._nodes, []
        for feed in feeds:
            feed.close()
        faults = [fault for node in nodes if (fault := _closed(node))]
        if faults:
            raise faults[0]

    def knife_of(self, user: str, *, version: str) -> Knife:
        """The knife of a principal whose key is in the state directory."""
        key = load_pem_private_key((self.fleet.state / f"{user}.pem").read_bytes(), None)
        assert isinstance(key, RSAPrivateKey)
        return Knife(self.api, Principal(name=user, key=key, version=version), self.fleet.organization)

    def client(self, *, version: str = "1.1") -> Principal:
        """A new client, made as knife makes one."""
        name = f"node-{next(self._numbers)}"
        pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        answer = self.knife.ask("POST", "/clients", {"name": name, "public_key": pem})
        assert answer.status == 201, answer
        return Principal(name=name, key=self._key, version=version)

    def node(self) -> PushClient:
        """A new node, known to the server and not connected."""
        return self.make(PushClient)

    def make(self, kind: type[Node]) -> Node:
        """A new node of some kind."""
        node = kind(self.context, self.api, self.fleet.organization, self.client())
        self._nodes.append(node)
        return node

    def joined(self) -> PushClient:
        """A new node that is through its first rehab, and beats."""
        return self.join(self.node())

    def join(self, node: Node) -> Node:
        """Bring a node through its first rehab, and let it beat."""
        node.connect()
        node.beat()
        node.heartbeat()
        self.recover(node)
        return node

    def recover(self, node: PushClient) -> None:
        """Go through the rehab that `node` is in."""
        node.expect("abort")
        node.say("aborted")
        self.wait_for_state(node, AVAILABLE)
        node.pass_over_aborts()

    def wait_for_state(self, node: PushClient, state: tuple[str, str]) -> None:
        """Wait until the server has `node` in this status and availability."""
        wait_until(lambda: self.knife.node_state(node.name) == state or None, f"{node.name} {state}", seconds=10)

    def start_job(self, nodes: Iterable[PushClient | str], **options: object) -> Job:
        """A new job on `nodes`."""
        names = [node if isinstance(node, str) else node.name for node in nodes]
        return self.watch(self.knife.start(COMMAND, names, **options))

    def running(self, node: PushClient) -> Job:
        """A job that runs on `node` alone, to which `run` was sent."""
        job = self.start_job([node])
        node.expect("commit")
        node.say("ack_commit", job.id)
        job.tells([start(1, 1), vote(node, "success"), QUORUM_SUCCEEDED])
        node.expect("run")
        return job

    def watch(self, job: str) -> Job:
        """A job that there is."""
        return Job(id=job, feed=self.feed(job))

    def feed(self, job: str | None = None, *, last_event_id: str | None = None, query: str = "") -> Feed:
        """A feed that :meth:`release` closes."""
        feed = self.knife.feed(job, last_event_id=last_event_id, query=query)
        self._feeds.append(feed)
        return feed

    def outcome(self, job: Job) -> tuple[str, dict[str, list[str]]]:
        """The status of a job and of its nodes."""
        shown = self.knife.job(job.id)
        return shown["status"], shown["nodes"]


@contextlib.contextmanager
def serving(fleet: Fleet) -> Iterator[Wire]:
    """The server of a fleet, started; a fault in its log is one of the tests."""
    fleet.start_server()
    with contextlib.closing(Wire(fleet)) as wire:
        yield wire
        assert fleet.server
        faults = fleet.server.said().partition("Traceback (most recent call last)")
        assert not faults[1], f"pushyd logged a fault:{faults[2][:2000]}"


def _closed(node: PushClient) -> AssertionError | None:
    try:
        node.close()
    except AssertionError as fault:
        return fault
    return None


def by_status(statuses: Mapping[PushClient, str]) -> dict[str, list[str]]:
    """The nodes of a job as its JSON has them."""
    return {
        status: sorted(node.name for node, each in statuses.items() if each == status)
        for status in set(statuses.values())
    }


def told(events: Iterable[Event]) -> list[Told]:
    return [(event.name, event.data) for event in events]


def start(nodes: int, quorum: float, **options: object) -> Told:
    data = {"command": COMMAND, "run_timeout": 3600, "quorum": quorum, "node_count": nodes, "user": "admin"}
    return "start", {**data, **options}


def vote(node: PushClient, status: str) -> Told:
    return "quorum_vote", {"node": node.name, "status": status}


def run_start(node: PushClient) -> Told:
    return "run_start", {"node": node.name}


def run_complete(node: PushClient, status: str) -> Told:
    return "run_complete", {"node": node.name, "status": status}


def rehab(node: PushClient) -> Told:
    return "rehab", {"node": node.name}


QUORUM_SUCCEEDED: Told = ("quorum_succeeded", {})


def job_complete(status: str) -> Told:
    return "job_complete", {"status": status}
