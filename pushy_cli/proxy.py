"""Connections by way of a proxy, as ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` of the environment say.

The proxy only passes bytes on, so TLS is with the server itself and signatures hold. How it is asked to is in
:mod:`pushy_cli.handshakes`. Proxies that are reached over TLS are not supported.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from pushy_cli.errors import ConfigurationError
from pushy_cli.faults import ProxyRefusal
from pushy_cli.handshakes import MAX_ANSWER, Handshake, Login, Refused, http_connect, socks5
from pushy_cli.tls import Policy

_VARIABLES = {"https": ("https_proxy", "all_proxy"), "http": ("http_proxy", "all_proxy")}
# By the scheme of the proxy's URL: how it is asked, and its port by default. The proxy looks names up in any case,
# so that curl's difference between socks5 and socks5h is none here.
_KINDS = {"http": (http_connect, 80), "socks5": (socks5, 1080), "socks5h": (socks5, 1080), "socks": (socks5, 1080)}


@frozen(kw_only=True)
class Proxy:
    """Where the proxy is, of which kind, and what it wants to be told of us."""

    kind: str = "http"
    host: str
    port: int
    login: Login | None = field(default=None, repr=False)

    def handshake(self, host: str, port: int) -> Handshake:
        """What to say to be connected to a server."""
        return _KINDS[self.kind][0](host, port, self.login)


def proxy_for(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for a URL, or None for a direct connection.

    :raise ConfigurationError: a variable names one that we cannot use.
    """
    parts = urlsplit(url)
    if _is_excepted(parts.hostname or "", parts.port, _variable("no_proxy", environment)[1]):
        return None
    for name in _VARIABLES.get(parts.scheme, ()):
        variable, value = _variable(name, environment)
        if value:
            return _parse(variable, value)
    return None


def _variable(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """The lower-case spelling takes precedence, as it does for curl and Python."""
    for variable in (name, name.upper()):
        if environment.get(variable):
            return variable, environment[variable]
    return name, ""


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    for exception in (piece.strip().lower() for piece in exceptions.split(",")):
        name, _, only_port = exception.partition(":") if exception.count(":") == 1 else (exception, "", "")
        if only_port and only_port != str(port):
            continue
        domain = name.removeprefix("*").removeprefix(".")
        if name == "*" or (domain and (host == domain or host.endswith(f".{domain}"))):
            return True
    return False


def _parse(variable: str, value: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in _KINDS:
        raise ConfigurationError(
            f"{variable}: expected http://[USER:PASSWORD@]HOST[:PORT], or the same with socks5://",
            "Mend the variable, or name the host in NO_PROXY.",
        )
    login = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
    return Proxy(kind=parts.scheme, host=host, port=port or _KINDS[parts.scheme][1], login=login)


@implementer(IAgentEndpointFactory)
class ProxyEndpoints:
    """Gives Twisted's agent its connections."""

    def __init__(self, reactor: Any, proxy: Proxy, policy: Policy, timeout: float) -> None:
        """:param timeout: for connecting to the proxy, in seconds"""
        self._reactor = reactor
        self._proxy = proxy
        self._policy = policy
        self._timeout = timeout

    def endpointForURI(self, uri: URI) -> Any:
        """An endpoint for a server's URL; Twisted calls it."""
        to_proxy = HostnameEndpoint(self._reactor, self._proxy.host, self._proxy.port, self._timeout)
        # To mypy, zope's interfaces are classes that nobody is an instance of.
        tunnel: Any = _TunnelEndpoint(to_proxy, self._proxy, uri.host.decode("ascii"), uri.port)
        if uri.scheme != b"https":
            return tunnel
        creator: Any = self._policy.creatorForNetloc(uri.host, uri.port)
        return wrapClientTLS(creator, tunnel)


@implementer(IStreamClientEndpoint)
class _TunnelEndpoint:
    def __init__(self, to_proxy: Any, proxy: Proxy, host: str, port: int) -> None:
        self._to_proxy = to_proxy
        self._proxy = proxy
        self._host = host
        self._port = port

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect to the proxy, have it connect to the target, and only then begin the factory's protocol."""
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: Any) -> Any:
        tunnel = await self._to_proxy.connect(Factory.forProtocol(self._tunnel))
        try:
            await tunnel.opened
        except BaseException:
            tunnel.transport.abortConnection()
            raise
        return tunnel.begin(factory.buildProtocol(tunnel.transport.getPeer()))

    def _tunnel(self) -> "_Tunnel":
        return _Tunnel(self._proxy, self._proxy.handshake(self._host, self._port))


class _Tunnel(Protocol):
    """Speaks with the proxy; then passes all on to the protocol of the connection proper."""

    transport: Any

    def __init__(self, proxy: Proxy, handshake: Handshake) -> None:
        self.opened: Deferred[None] = Deferred()
        self._proxy = proxy
        self._handshake = handshake
        self._wanted: int | bytes = 0
        self._heard = b""
        self._inner: Any = None

    def connectionMade(self) -> None:
        self._go_on(None)

    def dataReceived(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        self._heard += data
        while not self.opened.called and (answer := self._answer()) is not None:
            self._heard = self._heard[len(answer) :]
            self._go_on(answer)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]  # as Twisted declares it
        if self._inner is not None:
            self._inner.connectionLost(reason)
        else:
            self._refuse("it closed the connection")

    def begin(self, inner: Any) -> Any:
        """From now on, this is `inner`'s connection."""
        self._inner = inner
        inner.makeConnection(self.transport)
        if self._heard:
            inner.dataReceived(self._heard)
        return inner

    def _answer(self) -> bytes | None:
        """What the handshake waits for, once it is here."""
        if isinstance(self._wanted, int):
            return self._heard[: self._wanted] if len(self._heard) >= self._wanted else None
        head, end, _ = self._heard.partition(self._wanted)
        if end:
            return head + end
        if len(self._heard) > MAX_ANSWER:
            self._refuse("its answer has no end")
        return None

    def _go_on(self, answer: bytes | None) -> None:
        try:
            say, self._wanted = next(self._handshake) if answer is None else self._handshake.send(answer)
        except StopIteration:
            self.opened.callback(None)
        except Refused as error:
            self._refuse(str(error))
        else:
            self.transport.write(say)

    def _refuse(self, why: str) -> None:
        if not self.opened.called:
            self.opened.errback(ProxyRefusal(f"the proxy {self._proxy.host}:{self._proxy.port} refuses: {why}"))
