"""What a job costs with nothing but its messages: the floor under the job's row, on the machine that it is taken on.

A server in a process of its own that has no store, no API, no feeds, no authorization and no timers: a ROUTER with
CURVE on Twisted's reactor, the signature and the shape of each message, and a vote, a run and a result of each node,
counted. Its nodes are those that the real server is measured with (:mod:`benchmarks.swarm`).

It is told what to do on its standard input: first its plan, a line of JSON; then ``job``, as often as wanted, and it
prints what each took.
"""

import json
import subprocess
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import zmq
from attrs import define
from cryptography.hazmat.primitives.asymmetric import padding
from twisted.internet import reactor as _reactor
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver

from benchmarks.identities import load_primes, node_name, private_key
from benchmarks.rows import SETTLE_SECONDS
from benchmarks.swarms import running_swarms
from pushy_protocol import api, messages
from pushy_protocol.envelope import SessionSigner
from pushy_protocol.keys import CurveKeyPair, make_rsa_key, public_pem
from pushy_protocol.timestamps import format_rfc1123
from pushy_protocol.zeromq import Connection, Context

reactor: Any = _reactor  # a module, until it is used

_KEY = b"k" * 32
_JOBS = 5
_SECONDS = 600.0


def measure(primes: Path, count: int) -> dict[str, float]:
    """A job on `count` nodes; the median of five."""
    with _running(primes, count) as sketch, running_swarms(sketch, primes, count) as swarms:
        swarms.start()
        swarms.wait(lambda counts: counts["available"] >= count, seconds=_SECONDS)
        jobs = []
        for _ in range(_JOBS):
            time.sleep(SETTLE_SECONDS)  # heartbeats go on, as between the jobs of the real server
            jobs.append(sketch.job())
    return {
        "s": sorted(job["s"] for job in jobs)[_JOBS // 2],
        "cpu ms/node": sorted(job["cpu s"] for job in jobs)[_JOBS // 2] / count * 1e3,
    }


@define
class _Sketch:
    """The process, from outside."""

    url: str
    _process: "subprocess.Popen[str]"
    ca: Path | None = None

    def job(self) -> dict[str, float]:
        """What a job took."""
        assert self._process.stdin is not None
        self._process.stdin.write("job\n")
        took: dict[str, float] = self.hear(self._process)
        return took

    @staticmethod
    def hear(process: "subprocess.Popen[str]") -> Any:
        """What it prints next, in JSON."""
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sketch ended with {process.wait()}")
        return json.loads(line)


@contextmanager
def _running(primes: Path, count: int) -> Iterator[_Sketch]:
    command = [sys.executable, "-m", "benchmarks.sketch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"primes": str(primes), "count": count}) + "\n")
        yield _Sketch(_Sketch.hear(process)["url"], process)
        process.stdin.close()


class _Server(LineOnlyReceiver):
    """The process, from inside."""

    delimiter = b"\n"

    def __init__(self) -> None:
        self._curve = CurveKeyPair.make()
        self._signer = SessionSigner(_KEY)
        self._routes: dict[str, bytes] = {}
        self._statuses: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._sequence = 0
        self._began = self._spent = 0.0

    def lineReceived(self, line: bytes) -> None:
        """Obey."""
        if line == b"job":
            self._began, self._spent = time.monotonic(), time.process_time()
            self._statuses = dict.fromkeys(self._routes, "new")
            self._counts = Counter(new=len(self._routes))
            self._tell_all(messages.Commit, {"command": "true"})
        else:
            plan = json.loads(line)
            self._listen(Path(plan["primes"]), plan["count"])

    def connectionLost(self, reason: object = None) -> None:
        """Standard input has ended."""
        reactor.stop()

    def _listen(self, primes: Path, count: int) -> None:
        self._connection = Connection(Context(reactor), zmq.ROUTER, self._received, rests=True)
        self._connection.socket.curve_server = True
        self._connection.socket.curve_secretkey = self._curve.secret.encode()
        self._connection.socket.set(zmq.BACKLOG, 4096)
        addresses = api.HeartbeatConfig(
            out_addr="tcp://127.0.0.1:1", command_addr=self._connection.bind("tcp://127.0.0.1:*"), interval=1
        )
        web = _web(primes, count, addresses, self._curve.public)
        Thread(target=web.serve_forever, daemon=True).start()
        print(json.dumps({"url": f"http://127.0.0.1:{web.server_port}/organizations/sketch"}), flush=True)

    def _received(self, frames: list[bytes], _: str) -> None:
        route, header, body = frames
        self._signer.verify(header, body)
        message = messages.decode_from_node(body)
        name = message.node
        if type(message) is messages.NodeHeartbeat:
            self._counts["heartbeats"] += 1
            if name not in self._routes:
                self._routes[name] = route
                self._send(route, self._encode(messages.Abort, {}))
            return
        kind = type(message)
        if kind is messages.AckCommit:
            self._move(name, "ready")
            if not self._counts["new"]:
                self._tell_all(messages.Run, {})
        elif kind is messages.AckRun:
            self._move(name, "running")
        elif kind is messages.Succeeded:
            self._move(name, "succeeded")
            if self._counts["succeeded"] == len(self._statuses):
                took = {"s": time.monotonic() - self._began, "cpu s": time.process_time() - self._spent}
                print(json.dumps(took), flush=True)

    def _move(self, name: str, status: str) -> None:
        self._counts[self._statuses[name]] -= 1
        self._counts[status] += 1
        self._statuses[name] = status

    def _tell_all(self, kind: type[messages.ServerCommand], fields: dict[str, Any]) -> None:
        body = self._encode(kind, {"job_id": "job", **fields})
        for route in self._routes.values():
            self._send(route, body)

    def _encode(self, kind: type[messages.ServerCommand], fields: dict[str, Any]) -> bytes:
        self._sequence += 1
        stamp: dict[str, Any] = {"timestamp": format_rfc1123(time.time()), "sequence": self._sequence}
        if kind is messages.Commit:
            stamp["server"] = "sketch"
        return messages.encode(kind(**stamp, **fields))

    def _send(self, route: bytes, body: bytes) -> None:
        self._connection.send([route, self._signer.sign(body), body])


def _web(primes: Path, count: int, addresses: api.HeartbeatConfig, curve_key: str) -> ThreadingHTTPServer:
    """Who gives each node its configuration; all have the same session key here."""
    keys = load_primes(primes, count)
    numbers = {node_name(number): number for number in range(count)}
    public_key = public_pem(make_rsa_key().public_key())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.partition("?")[0].rpartition("/")[2]
            encrypted = private_key(keys, numbers[name]).public_key().encrypt(_KEY, padding.PKCS1v15())
            config = api.AgentConfig(
                host="127.0.0.1",
                node=name,
                organization="sketch",
                push_jobs=api.PushJobsConfig(heartbeat=addresses),
                public_key=public_key,
                curve_public_key=curve_key,
                encoded_session_key=api.EncodedSessionKey(method="hmac_sha256", key=b64encode(encrypted).decode()),
                lifetime=3600,
                max_message_skew=10,
                max_body_size=63_000,
                incarnation_id="sketch",
            )
            self.send_response(200)
            self.end_headers()
            self.wfile.write(api.encode(config))

        def log_message(self, *_: object) -> None:
            """It is not to be read."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def main() -> None:
    """Be the server."""
    StandardIO(_Server())
    reactor.run()


if __name__ == "__main__":
    main()
