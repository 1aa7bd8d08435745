"""An honest double of a push server, over HTTPS: it checks every signature, and keeps jobs that a test scripts.

A job's script is a list of its states: every look at the job takes it one state on, so that nothing in a test depends
on time. What the server should do wrong (`faults`) is a list too: each request takes one.
"""

import base64
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from klein import Klein
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.ssl import ContextFactory
from twisted.web.server import Site

from pushy_protocol.http_signing import SigningError, parse
from pushy_protocol.keys import make_rsa_key

ORGANIZATION = "acme"
JOB_ID = "0123456789abcdef0123456789abcdef"
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"
CREATED = "Tue, 04 Sep 2012 23:01:02 GMT"


@frozen(kw_only=True)
class Fault:
    """An answer in place of the right one; status 0 gives none at all."""

    status: int
    body: bytes = b""


@frozen(kw_only=True)
class Feed:
    """What one connection to a job's feed brings; `stays` keeps it open at the end."""

    events: tuple[tuple[str, dict[str, Any]], ...]
    stays: bool = False
    has_ids: bool = True
    content_type: str = "text/event-stream"


@frozen(kw_only=True)
class Follow:
    """What one connection that follows a node's output brings; `breaks` ends it before its end."""

    data: bytes
    breaks: bool = False


@define
class Script:
    """What a job goes through; the last state stays."""

    states: deque[dict[str, Any]]
    request: dict[str, Any] = field(factory=dict)

    def look(self) -> dict[str, Any]:
        return self.states.popleft() if len(self.states) > 1 else self.states[0]


class PushServer:
    """The API of one organization."""

    app = Klein()

    def __init__(self, keys: Mapping[str, RSAPublicKey]) -> None:
        self.keys = dict(keys)
        self.forbidden: set[str] = set()
        self.faults: deque[Fault | None] = deque()
        self.requests: list[str] = []
        self.jobs: dict[str, Script] = {}
        self.next_job: list[dict[str, Any]] = [{"status": "complete"}]
        self.outputs: dict[tuple[str, str], bytes] = {}
        self.follows: dict[tuple[str, str], deque[Follow]] = {}
        self.ranges: list[str | None] = []
        """What was asked for of outputs that were followed."""

        self.problem: str | None = None
        self.node_states: dict[str, tuple[str, str]] = {}
        self.on_look: Callable[[], None] = lambda: None
        self.feeds: dict[str, deque[Feed]] = {}
        self.on_abort: Callable[[str], None] = lambda job_id: None
        self.held: list[Deferred[bytes]] = []
        self.offers_more = True
        """Whether it has what an original push server has not: abort, pages, Chef's API."""

        self.missing_status = 404
        """How an original server answers to what it has not: 404, or 405. In HTML, as it does."""

        self.objects: dict[str, dict[str, Any]] = {kind: {} for kind in ("clients", "users", "groups", "nodes")}
        self.members: set[str] = set()
        self._port: Any = None

    def add_job(self, job_id: str, *states: dict[str, Any], **request: Any) -> None:
        """Keep a job that was started before; the newest is the last one that was added."""
        self.jobs[job_id] = Script(deque(states), {"command": "uptime", **request})

    async def listen(self, reactor: Any, certificate: ContextFactory | None) -> str:
        """Listen on loopback, with TLS if there is a certificate; the organization's URL."""
        site = Site(self.app.resource())
        site.timeOut = None
        if certificate is None:
            self._port = reactor.listenTCP(0, site, interface="127.0.0.1")
        else:
            self._port = reactor.listenSSL(0, site, certificate, interface="127.0.0.1")
        scheme = "http" if certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self._port.getHost().port}/organizations/{ORGANIZATION}"

    async def close(self) -> None:
        await self._port.stopListening()

    @app.route("/<path:path>", methods=["GET", "POST", "PUT", "DELETE"])
    def _any(self, request: Any, path: str) -> Any:
        body = request.content.read()
        # A push server's own paths are noted without their prefix, others from the root.
        rest = path.removeprefix(f"organizations/{ORGANIZATION}/").removeprefix("pushy/")
        self.requests.append(f"{request.method.decode()} {rest}")
        fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            if fault.status == 0:
                return Deferred()
            request.setResponseCode(fault.status)
            return fault.body
        if path == "pushy/_status":  # the one thing that strangers may ask
            return b'{"status": "it\'s alive"}'
        if problem := self._authenticate(request, body):
            return problem
        parts = rest.split("/")
        if parts[0] in {"jobs", "job_status_feed", "node_states"}:
            return self._pushy(request, parts, body)
        if not self.offers_more:
            return self._missing(request)
        at_root = not path.startswith("organizations/")
        return self._chef(request, parts, json.loads(body) if body else {}, at_root=at_root)

    def _pushy(self, request: Any, parts: list[str], body: bytes) -> Any:
        match request.method, parts:
            case b"POST", ["jobs"] if b'"command"' not in body:
                return self._error(request, 400, "command: expected it to be given, got nothing")
            case b"POST", ["jobs"]:
                return self._start(request, json.loads(body))
            case b"POST", ["jobs", job_id, "abort"] if self.offers_more:
                return self._abort(request, job_id)
            case b"DELETE", ["jobs"] if self.offers_more:
                deleted, self.jobs = len(self.jobs), {}
                return json.dumps({"deleted": deleted}).encode()
            case b"GET", ["job_status_feed", job_id] if self.feeds.get(job_id):
                return self._feed(request, self.feeds[job_id].popleft())
            case b"GET", _:
                return self._look(request, parts)
        return self._missing(request)

    def _missing(self, request: Any) -> bytes:
        if self.offers_more:
            return self._error(request, 404, "Not Found.")
        request.setResponseCode(self.missing_status)
        request.setHeader("content-type", "text/html")
        return b"<HTML><HEAD><TITLE>Not here</TITLE></HEAD><BODY><H1>Not here</H1></BODY></HTML>"

    def _feed(self, request: Any, feed: Feed) -> Any:
        request.setHeader("content-type", feed.content_type)
        request.write(b": hello\n\n")
        for number, (name, data) in enumerate(feed.events, 1):
            event_id = f"id: job-{number}\n" if feed.has_ids else ""
            request.write(f"event: {name}\n{event_id}data: {json.dumps(data)}\n\n".encode())
        return self._stay(request) if feed.stays else b""

    def _stay(self, request: Any) -> Deferred[bytes]:
        held: Deferred[bytes] = Deferred(lambda _: None)
        self.held.append(held)
        return held

    def end_feeds(self, name: str, data: dict[str, Any]) -> None:
        """End the feeds that stayed open, with one more event."""
        for held in self.held:
            held.callback(f"event: {name}\nid: job-99\ndata: {json.dumps(data)}\n\n".encode())
        self.held.clear()

    def _abort(self, request: Any, job_id: str) -> bytes:
        if job_id not in self.jobs:
            return self._error(request, 404, f"There is no job '{job_id}'.")
        if self.jobs[job_id].states[-1]["status"] in {"complete", "aborted"}:
            return self._error(request, 409, f"Job '{job_id}' cannot be aborted: it is complete.")
        self.on_abort(job_id)
        request.setResponseCode(202)
        return b"{}"

    def _chef(self, request: Any, parts: list[str], body: dict[str, Any], *, at_root: bool) -> bytes:
        match request.method, parts:
            case ((b"GET" | b"POST"), ["search", "node"]):
                return self._search(request, body)
            case b"GET", ["users"] if not at_root:
                return json.dumps([{"user": {"username": name}} for name in sorted(self.members)]).encode()
            case b"POST", ["users"] if not at_root:
                self.members.add(body["username"])
                return b"{}"
            case b"DELETE", ["users", name] if not at_root and name in self.members:
                self.members.remove(name)
                return b"{}"
            case b"GET", [kind] if kind in self.objects:
                return json.dumps(dict.fromkeys(self.objects[kind], "uri")).encode()
            case b"POST", [kind] if kind in self.objects:
                return self._make(request, kind, body)
            case method, [kind, name] if name in self.objects.get(kind, {}):
                return self._one(method, self.objects[kind], name, body)
        return self._error(request, 404, f"Cannot load {'/'.join(parts)}")

    def _make(self, request: Any, kind: str, body: dict[str, Any]) -> bytes:
        name = body.get("groupname") or body.get("username") or body["name"]
        if name in self.objects[kind]:
            return self._error(request, 409, f"{name} already exists")
        kept = {"groupname": name, "users": [], "clients": [], "groups": []} if kind == "groups" else {"name": name}
        self.objects[kind][name] = kept
        request.setResponseCode(201)
        assert request.getHeader("x-ops-server-api-version") == "1"
        key = {"chef_key": {"private_key": PRIVATE_KEY}} if body.get("create_key") else {}
        return json.dumps({"uri": "uri", **key}).encode()

    @staticmethod
    def _one(method: bytes, kept: dict[str, Any], name: str, body: dict[str, Any]) -> bytes:
        if method == b"DELETE":
            return json.dumps(kept.pop(name)).encode()
        if method == b"PUT":
            kept[name] |= body["actors"]
        return json.dumps(kept[name]).encode()

    def _search(self, request: Any, paths: dict[str, list[str]]) -> bytes:
        query, start = request.args[b"q"][0].decode(), int(request.args[b"start"][0])
        if ":" not in query:
            return self._error(request, 400, f"invalid search query: '{query}'")
        rows = [node for name, node in self.objects["nodes"].items() if query == "*:*" or query in f"name:{name}"]
        if request.method == b"POST":
            rows = [{"url": "uri", "data": {key: node.get(path[0]) for key, path in paths.items()}} for node in rows]
        return json.dumps({"total": len(rows), "start": start, "rows": rows[start : start + 2]}).encode()

    def _authenticate(self, request: Any, body: bytes) -> bytes | None:
        headers = {
            name.decode().lower(): b",".join(values).decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        try:
            signed = parse(headers)
            signed.check_content(body)
            signed.check_clock(time.time())
            assert signed.version == "1.3"
            known = [self.keys[signed.user]] if signed.user in self.keys else []
            signed.check_signature(method=request.method.decode(), path=request.uri.decode(), public_keys=known)
        except SigningError as error:
            return self._error(request, error.status, str(error))
        if signed.user in self.forbidden:
            return self._error(
                request, 403, f"User or client '{signed.user}' does not have access to that action on this server."
            )
        return None

    def _start(self, request: Any, wanted: dict[str, Any]) -> bytes:
        if not self.offers_more and "output_limit" in wanted:
            return self._error(request, 400, "invalid key supplied")
        if not self.offers_more and not isinstance(wanted.get("capture_output", False), bool):
            return self._error(request, 400, "capture_output: expected true or false, got a string")
        if wanted.get("output_limit", 0) > 64 * 1024 * 1024:
            return self._error(request, 400, "output_limit: expected at most 67108864 bytes")
        self.add_job(JOB_ID, *self.next_job, **wanted)
        request.setResponseCode(201)
        host = request.getHeader("host")
        return json.dumps({"uri": f"https://{host}/organizations/{ORGANIZATION}/pushy/jobs/{JOB_ID}"}).encode()

    def _look(self, request: Any, parts: list[str]) -> Any:
        match parts:
            case ["jobs"]:
                return self._list(request)
            case ["jobs", job_id] if job_id in self.jobs:
                answer = self._job(job_id, nodes=True)
                if not self.offers_more:
                    answer.pop("reasons", None)
                self.on_look()
                return json.dumps(answer).encode()
            case ["jobs", job_id, "output"] if self.offers_more and job_id in self.jobs:
                return self._groups(request)
            case ["jobs", _, "output", node, channel] if (
                self.follows.get((node, channel)) and b"follow" in request.args
            ):
                return self._follow(request, self.follows[node, channel].popleft())
            case ["jobs", job_id, "output", node, channel] if (node, channel) in self.outputs and job_id in self.jobs:
                request.setHeader("content-type", "application/octet-stream")
                self._tell_problem(request)
                return self.outputs[node, channel]
            case ["node_states"]:
                return json.dumps([self._node(name) for name in self.node_states]).encode()
            case ["node_states", name]:
                return json.dumps(self._node(name)).encode()
        return self._error(request, 404, "not found")

    def _groups(self, request: Any) -> bytes:
        """Each text in two lines, as a long one comes."""
        request.setHeader("content-type", "application/x-ndjson")
        groups: dict[tuple[str, bytes], list[str]] = {}
        for (node, channel), text in sorted(self.outputs.items()):
            if request.args.get(b"channel", [channel.encode()]) == [channel.encode()]:
                groups.setdefault((channel, text), []).append(node)
        lines = []
        for (channel, text), nodes in groups.items():
            head: dict[str, Any] = {"nodes": nodes, "channel": channel, "bytes": len(text), "dropped": 0}
            head |= {"problem": self.problem} if self.problem else {}
            lines.append({**head, "offset": 0, "data": base64.b64encode(text[:1]).decode()})
            lines.append({"offset": 1, "data": base64.b64encode(text[1:]).decode()})
        return "".join(f"{json.dumps(line)}\n" for line in lines).encode()

    def _tell_problem(self, request: Any) -> None:
        if self.problem:
            request.setHeader("x-pushy-output-problem", self.problem)

    def _follow(self, request: Any, follow: Follow) -> Any:
        wanted = request.getHeader("range")
        self.ranges.append(wanted)
        request.setHeader("content-type", "application/octet-stream")
        request.setHeader("x-pushy-output-bytes", "0")
        self._tell_problem(request)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start:
            request.setResponseCode(206)
        request.write(follow.data[start:])
        if follow.breaks:
            transport = request.channel.transport
            transport.unregisterProducer()  # TLS would wait for it
            transport.loseConnection()
            return Deferred(lambda _: None)
        return b""

    def _list(self, request: Any) -> bytes:
        ids = list(reversed(self.jobs))
        if self.offers_more:
            if before := request.args.get(b"before"):
                ids = ids[ids.index(before[0].decode()) + 1 :]
            limit = int(request.args.get(b"limit", [b"1000"])[0])
            if len(ids) > limit:
                request.setHeader("link", f'<{request.uri.decode()}>; rel="next"')
            ids = ids[:limit]
        return json.dumps([self._job(job_id, nodes=False) for job_id in ids]).encode()

    def _job(self, job_id: str, *, nodes: bool) -> dict[str, Any]:
        script = self.jobs[job_id]
        state = script.look() if nodes else script.states[-1]
        kept = ("command", "user", "dir", "env", "run_timeout", "capture_output", "file")
        shown = {name: script.request[name] for name in kept if name in script.request}
        if shown.get("capture_output") == "live":
            shown |= {"capture_output": True, "output": "live"}
        job = {"id": job_id, "run_timeout": 3600, "created_at": CREATED, "updated_at": CREATED, **shown, **state}
        if not nodes:
            job.pop("nodes", None)
            job.pop("reasons", None)
        return job

    def _node(self, name: str) -> dict[str, str]:
        status, availability = self.node_states.get(name, ("offline", "unavailable"))
        return {"node_name": name, "status": status, "availability": availability}

    @staticmethod
    def _error(request: Any, status: int, text: str) -> bytes:
        request.setResponseCode(status)
        return json.dumps({"error": [text]}).encode()


def make_certificate(directory: Path, *, name: str = "127.0.0.1") -> ContextFactory:
    """A CA, written to ``ca.pem`` in `directory`, and a certificate that it signed, for an IP address or a host."""
    authority_key, key = make_rsa_key(), make_rsa_key()
    authority = _certificate(
        "Test CA", authority_key, "Test CA", authority_key, x509.BasicConstraints(ca=True, path_length=None)
    )
    try:
        alternative: x509.GeneralName = x509.IPAddress(ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    leaf = _certificate("push server", key, "Test CA", authority_key, x509.SubjectAlternativeName([alternative]))
    (directory / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    return _Certificate(leaf, key)


class _Certificate(ContextFactory):
    # Twisted's own options hand pyOpenSSL objects that it warns of.
    def __init__(self, certificate: x509.Certificate, key: RSAPrivateKey) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_certificate(certificate)
        self._context.use_privatekey(key)

    def getContext(self) -> SSL.Context:
        return self._context


def _certificate(
    subject: str, key: RSAPrivateKey, issuer: str, issuer_key: RSAPrivateKey, extension: x509.ExtensionType
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject_name=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]),
        issuer_name=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(hours=1),
        not_valid_after=now + timedelta(days=1),
    )
    return builder.add_extension(extension, critical=False).sign(issuer_key, hashes.SHA256())
