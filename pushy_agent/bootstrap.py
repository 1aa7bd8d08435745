"""How a node and its server come to terms over HTTPS: who the node is, and all that the channels need.

:meth:`Bootstrap.fetch` reads ``pushy/config/NODE`` with a new CURVE key pair and gives a :class:`Session`. A node
without a key makes one and has the validator register its public half, so that no private key travels. Until the
server knows it the new key waits beside its place, in ``client_key.pending``; a start after a crash finds it there and
goes on. Retries are for the caller.
"""

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from twisted.logger import Logger

from pushy_protocol.answer import Answer, Unreachable
from pushy_protocol.api import AgentConfig, HeartbeatConfig, InvalidRequest, NewClient, decode, encode
from pushy_protocol.keys import (
    CurveKeyPair,
    KeyFormatError,
    check_curve_key,
    make_rsa_key,
    parse_private_key,
    parse_public_key,
    private_pem,
    public_pem,
    write_private,
)
from pushy_protocol.messages import PROTOCOL_VERSION_3

_SESSION_KEY_BYTES = 32


class BootstrapError(Exception):
    """There are no terms now; the text is one line that says why, and what to do where that is known."""


class NotAccepted(BootstrapError):
    """The server does not believe that we are who we say (401)."""


class Requests(Protocol):
    """Signed requests; see :class:`pushy_agent.http.SignedClient`."""

    async def request(self, method: str, url: str, *, user: str, key: RSAPrivateKey, body: bytes = b"") -> Answer:
        """Send one, and give the answer; :raise Unreachable: there is none."""


@frozen(kw_only=True)
class Session:
    """What a node and its server agreed on, checked. Times are in seconds, sizes in bytes."""

    node: str
    organization: str
    heartbeat: HeartbeatConfig
    server_key: RSAPublicKey
    server_curve_key: str
    curve: CurveKeyPair
    session_key: bytes = field(repr=False)
    lifetime: float
    max_skew: float
    max_body_size: int
    incarnation_id: str
    extensions: frozenset[str] | None
    """What the server offers beyond 2.x; None where it does not speak 3.0."""


@frozen(kw_only=True)
class Bootstrap:
    """Comes to terms with one server as one node.

    :param max_body_size: the node's own limit, in bytes, or None
    :param facts: gives what the node tells of itself, to a server that takes it, when it has changed
    """

    requests: Requests
    server_url: str
    node_name: str
    client_key: Path
    validation_key: Path | None
    validation_client_name: str
    max_body_size: int | None
    facts: Callable[[], Mapping[str, Any]]
    make_curve_keys: Callable[[], CurveKeyPair] = CurveKeyPair.make
    make_key: Callable[[], RSAPrivateKey] = make_rsa_key

    reported: dict[str, Any] = field(factory=dict)  # the facts that the server has heard, from one attempt to the next

    _log = Logger()

    async def fetch(self) -> Session:
        """Read the configuration; before that, make and register the node's key where there is none.

        :raise BootstrapError: it could not be done, now or at all.
        """
        try:
            if self.client_key.exists():
                return await self._read_config(_load(self.client_key))
            return await self._enrol()
        except Unreachable as error:
            raise BootstrapError(f"{self.server_url}: {error}") from error
        except OSError as error:
            raise BootstrapError(f"{error.filename}: {error.strerror}") from error

    async def _read_config(self, key: RSAPrivateKey) -> Session:
        curve = self.make_curve_keys()
        url = f"{self.server_url}/pushy/config/{quote(self.node_name, safe=':')}"
        query = config_query(curve)
        answer = await self.requests.request("GET", url + query, user=self.node_name, key=key)
        if answer.status != 200:
            raise (NotAccepted if answer.status == 401 else BootstrapError)(f"{url}: {answer.error()}")
        try:
            session = read_session(answer.body, key=key, curve=curve, max_body_size=self.max_body_size)
        except ValueError as error:
            raise BootstrapError(f"{url}: the server's configuration is not usable: {error}") from error
        if "facts" in (session.extensions or ()):
            await self._report(url + query, key)
        return session

    async def _report(self, url: str, key: RSAPrivateKey) -> None:
        """Tell the facts. That they cannot be told keeps nobody from working."""
        facts = dict(self.facts())
        if facts == self.reported:
            return
        try:
            answer = await self.requests.request(
                "POST", url, user=self.node_name, key=key, body=encode({"facts": facts})
            )
        except Unreachable as error:
            self._log.warn("The node's facts were not reported: {error}", error=error)
            return
        if answer.status == 200:
            self.reported.clear()
            self.reported.update(facts)
        else:
            self._log.warn("The node's facts were not reported: {error}", error=answer.error())

    async def _enrol(self) -> Session:
        pending = self.client_key.with_name(self.client_key.name + ".pending")
        if not pending.exists():
            write_private(pending, private_pem(self.make_key()))
        key = _load(pending)
        registered = await self._register(key)
        if registered:
            pending.rename(self.client_key)
            self._log.info("Registered {node} with its new key {path}", node=self.node_name, path=self.client_key)
            return await self._read_config(key)
        # The name is taken. By us, if a crash kept us from noting it.
        try:
            session = await self._read_config(key)
        except NotAccepted as error:
            raise BootstrapError(
                f"{self.server_url} has a client {self.node_name} with another key: put that key at "
                f"{self.client_key}, or delete the client on the server to have this node registered anew ({error})"
            ) from error
        pending.rename(self.client_key)
        return session

    async def _register(self, key: RSAPrivateKey) -> bool:
        """Have the validator register the key; False where the name is taken."""
        if self.validation_key is None:
            raise BootstrapError(f"client_key: expected a key at {self.client_key}")
        url = f"{self.server_url}/clients"
        answer = await self.requests.request(
            "POST",
            url,
            user=self.validation_client_name,
            key=_load(self.validation_key),
            body=encode(NewClient(name=self.node_name, public_key=public_pem(key.public_key()))),
        )
        if answer.status not in {201, 409}:
            raise BootstrapError(f"{url}, as {self.validation_client_name}: {answer.error()}")
        return answer.status == 201


def config_query(curve: CurveKeyPair) -> str:
    """What a request for a node's configuration asks for, behind its path."""
    return f"?ccpk={quote(curve.public, safe='')}&version={PROTOCOL_VERSION_3}"


def read_session(body: bytes, *, key: RSAPrivateKey, curve: CurveKeyPair, max_body_size: int | None) -> Session:
    """The session in the answer of ``config/NODE``.

    :param key: the node's, for which the session key is encrypted
    :raise ValueError: the answer is not what was expected; the text names the key.
    """
    config = decode(body, AgentConfig)
    heartbeat = config.push_jobs.heartbeat
    _expect(0.01 <= heartbeat.interval <= 3600, "push_jobs.heartbeat.interval: expected 0.01 to 3600 seconds")
    _expect(heartbeat.offline_threshold > 0, "push_jobs.heartbeat.offline_threshold: expected 1 or more")
    _expect(heartbeat.online_threshold > 0, "push_jobs.heartbeat.online_threshold: expected 1 or more")
    _expect(config.lifetime > 0, "lifetime: expected 1 or more seconds")
    _expect(config.max_body_size > 0, "max_body_size: expected 1 or more bytes")
    try:
        check_curve_key(config.curve_public_key)
        server_key = parse_public_key(config.public_key.encode())
    except KeyFormatError as error:
        raise ValueError(f"public_key, curve_public_key: {error}") from None
    return Session(
        node=config.node,
        organization=config.organization,
        heartbeat=heartbeat,
        server_key=server_key,
        server_curve_key=config.curve_public_key,
        curve=curve,
        session_key=_decrypt(config.encoded_session_key.key, key),
        lifetime=config.lifetime,
        max_skew=config.max_message_skew,
        max_body_size=int(min(config.max_body_size, max_body_size or math.inf)),
        incarnation_id=config.incarnation_id,
        extensions=None if config.extensions is None else frozenset(config.extensions),
    )


def _decrypt(encoded: str, key: RSAPrivateKey) -> bytes:
    try:
        session_key = key.decrypt(base64.b64decode(encoded), padding.PKCS1v15())
    except (binascii.Error, ValueError):
        session_key = b""
    # OpenSSL answers a wrong key with random bytes, of any length.
    _expect(len(session_key) == _SESSION_KEY_BYTES, "encoded_session_key: expected 32 bytes, encrypted for our key")
    return session_key


def _expect(condition: bool, text: str) -> None:
    if not condition:
        raise InvalidRequest(text)


def _load(path: Path) -> RSAPrivateKey:
    try:
        return parse_private_key(path.read_bytes())
    except KeyFormatError as error:
        raise BootstrapError(f"{path}: {error}") from None
