"""Connections by way of an HTTP proxy, as ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` of the environment say.

The proxy only passes bytes on (``CONNECT``), so TLS is with the server itself and signatures hold. Proxies that are
reached over TLS or SOCKS are not supported.
"""

import base64
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
from pushy_cli.tls import Policy

_MAX_ANSWER = 16 * 1024
_VARIABLES = {"https": ("https_proxy", "all_proxy"), "http": ("http_proxy", "all_proxy")}


@frozen(kw_only=True)
class Proxy:
    """Where the proxy is, and what it wants to be told of us."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)


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
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme != "http":
        raise ConfigurationError(
            f"{variable}: expected http://[USER:PASSWORD@]HOST[:PORT]",
            "Mend the variable, or name the host in NO_PROXY.",
        )
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username is not None else ""
    return Proxy(
        host=host, port=port, authorization=f"Basic {base64.b64encode(user.encode()).decode()}" if user else None
    )


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
        tunnel: Any = _TunnelEndpoint(to_proxy, self._proxy, f"{uri.host.decode('ascii')}:{uri.port}")
        if uri.scheme != b"https":
            return tunnel
        creator: Any = self._policy.creatorForNetloc(uri.host, uri.port)
        return wrapClientTLS(creator, tunnel)


@implementer(IStreamClientEndpoint)
class _TunnelEndpoint:
    def __init__(self, to_proxy: Any, proxy: Proxy, target: str) -> None:
        self._to_proxy = to_proxy
        self._proxy = proxy
        self._target = target

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect to the proxy, have it connect to the target, and only then begin the factory's protocol."""
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: Any) -> Any:
        tunnel = await self._to_proxy.connect(Factory.forProtocol(lambda: _Tunnel(self._proxy, self._target)))
        try:
            await tunnel.opened
        except BaseException:
            tunnel.transport.abortConnection()
            raise
        return tunnel.begin(factory.buildProtocol(tunnel.transport.getPeer()))


class _Tunnel(Protocol):
    """Speaks with the proxy; then passes all on to the protocol of the connection proper."""

    transport: Any

    def __init__(self, proxy: Proxy, target: str) -> None:
        self.opened: Deferred[None] = Deferred()
        self._proxy = proxy
        self._target = target
        self._answer = b""
        self._inner: Any = None

    def connectionMade(self) -> None:
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}"]
        if self._proxy.authorization:
            lines.append(f"Proxy-Authorization: {self._proxy.authorization}")
        self.transport.write("\r\n".join([*lines, "", ""]).encode())

    def dataReceived(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        self._answer += data
        head, end, _rest = self._answer.partition(b"\r\n\r\n")
        if not end and len(self._answer) <= _MAX_ANSWER:
            return
        if not self.opened.called:
            status = head.split(b"\r\n")[0].split(b" ", 2)
            if end and status[0].startswith(b"HTTP/1.") and status[1:2] and status[1].startswith(b"2"):
                self.opened.callback(None)
            else:
                self._refuse(b" ".join(status[1:]).decode("ascii", "replace")[:200] if end else "no HTTP")

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]  # as Twisted declares it
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif not self.opened.called:
            self._refuse("it closed the connection")

    def begin(self, inner: Any) -> Any:
        """From now on, this is `inner`'s connection."""
        self._inner = inner
        inner.makeConnection(self.transport)
        return inner

    def _refuse(self, why: str) -> None:
        self.opened.errback(ProxyRefusal(f"the proxy {self._proxy.host}:{self._proxy.port} refuses: {why}"))
