"""What ``pushy-agent --doctor`` looks at between a node and its server, one check each.

A check gives what it found, with words for it, or raises :class:`Trouble`: what is wrong, and what to do next. In which
order they come, and which of them are of use, is for :mod:`doctor`.
"""

import socket
import ssl
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from pushy_agent.background import InThread
from pushy_agent.bootstrap import Requests, Session, config_query, read_session
from pushy_agent.config import Config
from pushy_agent.connection import Channels
from pushy_agent.http import Trust, explain
from pushy_agent.spool import is_in_use
from pushy_protocol.answer import Answer, Unreachable
from pushy_protocol.api import InvalidRequest, NodeState, decode
from pushy_protocol.keys import CurveKeyPair, parse_private_key
from pushy_protocol.messages import ServerHeartbeat

CONNECT_SECONDS = 5.0
"""How long is waited for a connection."""

_MAX_SKEW = 300.0
_CLOCK = "set this machine's clock, or the server's: both should have a time server (chrony, ntpd)"
_OTHER_NAME = "the server's name in chef_server_url must be one of those in its certificate"
_DISTRUST = "put the certificate of the CA that signed the server's (pushyd: STATE_DIR/ca.pem) into ca_file"


class Trouble(Exception):
    """A check that failed: what is wrong, and what to do next."""

    def __init__(self, text: str, advice: str) -> None:
        super().__init__(text)
        self.advice = advice


class NotChecked(Exception):
    """A check that cannot be made; the text says why."""


@frozen(kw_only=True)
class Examination:
    """What a doctor needs.

    :param reactor: Twisted's
    :param in_thread: where a check may wait
    :param now: gives the seconds since the epoch
    :param tell: takes the lines of the findings
    :param channel_seconds: how long the two channels may take, beside what heartbeats take
    """

    config: Config
    requests: Requests
    reactor: Any
    in_thread: InThread
    now: Callable[[], float]
    tell: Callable[[str], None]
    channel_seconds: float = 10.0


class Checks:
    """The checks of one examination; all but the first few need what earlier ones have found."""

    def __init__(self, examination: Examination) -> None:
        self._with = examination
        self._config = examination.config
        parts = urlsplit(self._config.server_url)
        self._host = parts.hostname or ""
        self._uses_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._uses_tls else 80)
        self._may_register = not self._config.client_key.exists() and self._config.validation_key is not None
        self._curve = CurveKeyPair.make()
        self.agent_runs = is_in_use(self._config.state_dir / "jobs.journal")
        """Whether the node's agent does."""

    @property
    def _asks_for_terms(self) -> bool:
        return not self.agent_runs and not self._may_register

    @property
    def _user(self) -> str:
        return self._config.validation_client_name if self._may_register else self._config.node_name

    @property
    def _key(self) -> RSAPrivateKey:
        config = self._config
        path = config.validation_key if self._may_register and config.validation_key else config.client_key
        return parse_private_key(path.read_bytes())

    # From here to there

    async def dns(self) -> tuple[list[str], str]:
        """The addresses of the server's name."""

        def look_up() -> list[str]:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(address[0]) for *_, address in found))

        try:
            addresses = await self._with.in_thread(look_up)
        except (OSError, UnicodeError) as error:
            raise Trouble(
                f"no address for {self._host} ({error})",
                "look at the name in chef_server_url, at /etc/resolv.conf and at /etc/hosts",
            ) from error
        return addresses, f"{self._host} is {', '.join(addresses)}"

    async def tcp(self, addresses: list[str]) -> tuple[bool, str]:
        wrong = {}
        for address in addresses:
            try:
                await self._with.in_thread(partial(_connect, address, self._port))
            except OSError as error:
                wrong[address] = explain(error, address)
        said = "; ".join(f"{address} port {self._port}: {text}" for address, text in wrong.items())
        if len(wrong) == len(addresses):
            raise Trouble(said, "see that the server runs, and that no firewall on the way keeps the port closed")
        connected = [address for address in addresses if address not in wrong]
        return True, f"{', '.join(connected)} port {self._port}" + (f" (but not {said})" if wrong else "")

    async def tls(self) -> tuple[bool, str]:
        """Whether the server is the one that it should be."""
        if not self._uses_tls:
            return True, "not used (http://)"
        trust = Trust(trusted=self._config.trusted, verify=self._config.verify_peer)
        try:
            certificate = await self._with.in_thread(partial(_shake_hands, self._host, self._port, trust.context()))
        except OSError as error:
            advice = "see that what answers is the server's HTTPS port"
            if isinstance(error, ssl.SSLCertVerificationError):
                advice = _OTHER_NAME if "not for" in explain(error, self._host) else _DISTRUST
            text = "TLS: no answer" if isinstance(error, TimeoutError) else explain(error, self._host)
            raise Trouble(text, advice) from error
        until = f"the certificate is for {self._host}, until {certificate.get('notAfter')}"
        return True, until if self._config.verify_peer else "whoever answers is believed: ssl_verify_mode = verify_none"

    # What the server says

    async def http(self) -> tuple[Answer, str]:
        """What the server answers, whatever that is."""
        node = quote(self._config.node_name, safe=":")
        path = (
            f"/pushy/config/{node}{config_query(self._curve)}" if self._asks_for_terms else f"/pushy/node_states/{node}"
        )
        try:
            answer = await self._with.requests.request(
                "GET", self._config.server_url + path, user=self._user, key=self._key
            )
        except Unreachable as error:
            raise Trouble(str(error), "see that what answers is pushyd, or a proxy before it that lives") from error
        if answer.status >= 500:
            raise Trouble(answer.error(), "the server, or a proxy before it, is in trouble: see its log")
        return answer, f"the server answers ({answer.status})"

    async def clock(self, answer: Answer) -> tuple[bool, str]:
        try:
            skew = parsedate_to_datetime(answer.headers["date"]).timestamp() - self._with.now()
        except (KeyError, ValueError):
            return True, "unknown: the server does not say what time it has"
        if abs(skew) > _MAX_SKEW:
            raise Trouble(f"the server's is {skew:+.0f} s off ours, at most {_MAX_SKEW:.0f} s are allowed", _CLOCK)
        return True, f"the server's is {skew:+.0f} s off ours"

    async def signature(self, answer: Answer) -> tuple[bool, str]:
        match answer.status:
            case 401:
                raise Trouble(
                    answer.error(),
                    "look at node_name and the organization in chef_server_url; where they are right, the server has "
                    f"another key of client {self._user}: put that one here, or delete the client on the server and "
                    "the key here, to have the node registered anew",
                )
            case 404:
                raise Trouble(answer.error(), "look at the organization in chef_server_url")
            case 403 if self._asks_for_terms:
                raise Trouble(answer.error(), "a client may act for the node of its own name only: look at node_name")
        return True, f"the server knows us as {self._user}"

    async def agent(self, answer: Answer) -> tuple[bool, str]:
        """The server's view of a node whose agent runs."""
        if answer.status != 200:
            raise NotChecked(f"the agent runs; whether the server hears it we may not ask ({answer.error()})")
        try:
            state = decode(answer.body, NodeState)
        except InvalidRequest as error:
            raise Trouble(f"the server's answer is not usable: {error}", "see that it is a push server") from error
        if state.status != "online":
            raise Trouble(
                "the agent runs, but the server does not hear it",
                "its log says why; stop it, and run this again, to have its channels looked at",
            )
        return True, f"it runs, and is {state.status} and {state.availability} to the server"

    async def terms(self, answer: Answer) -> tuple[Session, str]:
        if not self._asks_for_terms:
            raise NotChecked("this node has no key yet: it registers itself when its agent starts")
        if answer.status != 200:
            raise Trouble(answer.error(), "see the server's log")
        try:
            session = read_session(
                answer.body, key=self._key, curve=self._curve, max_body_size=self._config.max_body_size
            )
        except ValueError as error:
            raise Trouble(
                f"the server's configuration is not usable: {error}", "see that it is a push server"
            ) from error
        version = "2.x" if session.extensions is None else f"3.0 ({', '.join(sorted(session.extensions))})"
        return session, f"protocol {version}, a heartbeat every {session.heartbeat.interval:g} s"

    async def commands(self, channels: Channels) -> tuple[bool, str]:
        if not channels.stands:
            raise Trouble(
                channels.trouble(),
                "TCP: see that no firewall keeps the port closed. CURVE: see that all of the server's ports reach the "
                "same server",
            )
        return True, channels.trouble()

    async def heartbeat(
        self, channels: Channels, session: Session, heartbeats: list[ServerHeartbeat]
    ) -> tuple[bool, str]:
        address = session.heartbeat.out_addr
        if not heartbeats:
            refused = channels.refusal
            raise Trouble(
                f"{address}: {refused or 'nothing has come'}",
                "see that this port reaches the same server as the others"
                if refused
                else "see that no firewall keeps the port closed",
            )
        return True, f"{address}: signed by the server, incarnation {heartbeats[0].incarnation_id}"


def _connect(address: str, port: int) -> None:
    socket.create_connection((address, port), CONNECT_SECONDS).close()


def _shake_hands(host: str, port: int, context: ssl.SSLContext) -> dict[str, Any]:
    """The server's certificate; of one that is not verified, nothing."""
    with (
        socket.create_connection((host, port), CONNECT_SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=host) as secure,
    ):
        return secure.getpeercert() or {}
