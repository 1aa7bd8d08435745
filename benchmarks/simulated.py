"""One simulated node: what it says and how it answers; see :mod:`benchmarks.swarm` for how far it is a node."""

import sys
import time
from base64 import b64decode
from collections import Counter
from http.client import HTTPConnection, HTTPSConnection
from ssl import SSLContext
from urllib.parse import SplitResult, quote, urlencode
from uuid import uuid4

import zmq
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from pushy_protocol import envelope, http_signing, messages
from pushy_protocol.api import AgentConfig, decode
from pushy_protocol.keys import CurveKeyPair

# As plain numbers: pyzmq's enums cost more than a frame.
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


@frozen(kw_only=True)
class Plan:
    """What all nodes of a swarm have in common."""

    url: SplitResult
    tls: SSLContext | None
    version: str
    interval: float | None
    """Seconds between heartbeats; None for what the server says."""
    output: str
    """What a command writes, where a job wants it."""

    @property
    def organization(self) -> str:
        """The organization, out of the URL."""
        return self.url.path.rpartition("/organizations/")[2]


class Node:
    """One simulated node; :meth:`fetch` may run in another thread, all else belongs to the swarm's loop."""

    def __init__(self, plan: Plan, name: str, key: RSAPrivateKey) -> None:
        self._plan = plan
        self._name = name
        self._key = key
        self._curve = CurveKeyPair.make()
        query = urlencode({"ccpk": self._curve.public, "version": plan.version}, quote_via=quote)
        path = f"{plan.url.path}/pushy/config/{name}"
        signature = http_signing.sign(
            private_key=key, user=name, method="GET", path=path, body=b"", now=time.time(), version="1.3"
        )
        self._request = (f"{path}?{query}", signature)
        self._who = (
            f'"node":"{name}","client":"{name}.example.net","org":"{plan.organization}",'
            f'"protocol_version":"{plan.version}","incarnation_id":"{uuid4()}"'
        )
        self._sequence = 0
        self._signer: envelope.SessionSigner
        self._job = ""
        self._state = "idle"
        self._has_output = False
        self._waits = False
        self._socket: zmq.Socket[bytes] | None = None
        self.is_available = False

    def fetch(self) -> AgentConfig:
        """Ask the server for the configuration, over a connection that is used for this alone."""
        url, tls = self._plan.url, self._plan.tls
        host, port = url.hostname or "", url.port
        connection = HTTPSConnection(host, port, context=tls, timeout=60) if tls else HTTPConnection(host, port)
        try:
            connection.request("GET", self._request[0], headers={**self._request[1], "Connection": "close"})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{self._name}: {response.status} {body[:200]!r}")
        config = decode(body, AgentConfig)
        self._signer = envelope.SessionSigner(
            self._key.decrypt(b64decode(config.encoded_session_key.key), padding.PKCS1v15())
        )
        return config

    def connect(self, context: "zmq.Context[zmq.Socket[bytes]]", config: AgentConfig) -> int:
        """Open the command channel; the descriptor that tells of its events."""
        socket = self._socket = context.socket(zmq.DEALER)
        # As pushy-agent does it: nothing is queued while there is no connection.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 100)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 10_000)
        socket.curve_serverkey = config.curve_public_key.encode()
        socket.curve_publickey = self._curve.public.encode()
        socket.curve_secretkey = self._curve.secret.encode()
        socket.connect(config.push_jobs.heartbeat.command_addr)
        return int(socket.getsockopt(zmq.FD))

    def beat(self, timestamp: str, counts: Counter[str]) -> None:
        """Send a heartbeat, then read what is there (sending may have eaten the edge that tells of it)."""
        if self._socket is not None:
            self._say("heartbeat", timestamp, counts, f',"job_state":"{self._state}"')
            self.read(timestamp, counts)

    def read(self, timestamp: str, counts: Counter[str]) -> None:
        """Take everything that came in."""
        socket = self._socket
        assert socket is not None
        # Whether there is anything costs less to ask than to be refused.
        while int(socket.get(_EVENTS)) & _POLLIN:
            header, body = socket.recv(_NOBLOCK), socket.recv(_NOBLOCK)
            self._take(header, body, timestamp, counts)

    def go(self, timestamp: str, counts: Counter[str]) -> None:
        """Vote for the job that was held back."""
        if self._waits:
            self._waits = False
            self._say("ack_commit", timestamp, counts)
            self.read(timestamp, counts)

    def _take(self, header: bytes, body: bytes, timestamp: str, counts: Counter[str]) -> None:
        try:
            self._signer.verify(header, body)
            command = messages.decode_from_server(body)
        except (envelope.EnvelopeError, messages.MessageError) as error:
            counts["refused"] += 1
            print(f"{self._name}: {error}", file=sys.stderr)
            return
        self._do(command, timestamp, counts)

    def _do(self, command: messages.ServerCommand, timestamp: str, counts: Counter[str]) -> None:
        match command:
            case messages.Commit() if self._state == "idle":
                self._job, self._state, self._has_output = command.job_id, "committed", command.capture
                self._waits = command.command == "wait"
                if not self._waits:
                    self._say("ack_commit", timestamp, counts)
            case messages.Commit(job_id=job) if job == self._job:
                pass  # said again after a restart
            case messages.Commit():
                self._say("nack_commit", timestamp, counts, job=command.job_id)
            case messages.Run(job_id=job) if job == self._job and self._state == "committed":
                self._say("ack_run", timestamp, counts)
                output = f',"stdout":{self._plan.output},"stderr":""' if self._has_output else ""
                self._say("succeeded", timestamp, counts, output)
                self._job, self._state = "", "idle"
            case messages.Run():
                self._say("nack_run", timestamp, counts, job=command.job_id)
            case messages.Abort():
                self._job, self._state, self._waits = "", "idle", False
                self._say("aborted", timestamp, counts)
                self.is_available = True
            case messages.Ack():
                counts["acks"] += 1

    def _say(self, kind: str, timestamp: str, counts: Counter[str], more: str = "", job: str | None = None) -> None:
        self._sequence += 1
        job = f'"{job or self._job}"' if job or self._job else "null"
        body = (
            f'{{"type":"{kind}",{self._who},"job_id":{job},"sequence":{self._sequence},'
            f'"timestamp":"{timestamp}"{more}}}'
        ).encode()
        assert self._socket is not None
        try:
            self._socket.send(self._signer.sign(body), _MORE)
            self._socket.send(body, _NOBLOCK)
        except zmq.Again:
            counts["unsent"] += 1  # there is no connection now
        else:
            counts[kind] += 1
