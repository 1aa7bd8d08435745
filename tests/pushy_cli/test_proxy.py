from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from pushy_cli.errors import NO_SERVER, ConfigurationError
from pushy_cli.proxy import Proxy, proxy_for
from tests.pushy_cli.test_program import ProgramTestCase

URL = "https://push.example.com:10003/organizations/acme"
REACTOR: Any = reactor


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": "http://p:3128"}, Proxy(host="p", port=3128)),
        ({"https_proxy": "p:1", "HTTPS_PROXY": "q:1"}, Proxy(host="p", port=1)),
        ({"ALL_PROXY": "http://p/"}, Proxy(host="p", port=80)),
        ({"HTTPS_PROXY": "http://u%40:x@p:1"}, Proxy(host="p", port=1, authorization="Basic dUA6eA==")),
        *(
            ({"HTTPS_PROXY": "p:1", "NO_PROXY": no}, None)
            for no in ("*", "a, example.com", ".example.com", "*.Example.com")
        ),
        ({"HTTPS_PROXY": "p:1", "no_proxy": "push.example.com:10003"}, None),
        *(
            ({"HTTPS_PROXY": "p:1", "NO_PROXY": no}, Proxy(host="p", port=1))
            for no in ("", ",", "ample.com", "push.example.com:1", "x.push.example.com")
        ),
    ],
)
def test_which_proxy(environment: Mapping[str, str], proxy: Proxy | None) -> None:
    assert proxy_for(URL, environment) == proxy


@pytest.mark.parametrize("value", ["https://p:1", "socks5://p:1", "http://", "p:x"])
def test_a_proxy_that_is_none(value: str) -> None:
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY: expected http://"):
        proxy_for(URL, {"HTTPS_PROXY": value})


class _HttpProxy(Protocol):
    """Passes on what comes after an accepted CONNECT."""

    transport: Any

    def __init__(self, asked: list[str]) -> None:
        self._asked = asked
        self._other: Any = None

    def dataReceived(self, data: bytes) -> None:
        if self._other is not None:
            self._other.transport.write(data)
            return
        lines = data.decode().split("\r\n")
        self._asked.append(lines[0])
        if not any(line.startswith("Proxy-Authorization: Basic ") for line in lines):
            self.transport.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            self.transport.loseConnection()
            return
        host, port = lines[0].split()[1].split(":")
        endpoint: Any = TCP4ClientEndpoint(REACTOR, host, int(port))
        endpoint.connect(Factory.forProtocol(lambda: _Back(self))).addCallback(self._connected)

    def _connected(self, other: Any) -> None:
        self._other = other
        self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    def connectionLost(self, _reason: Any = None) -> None:
        if self._other is not None:
            self._other.transport.loseConnection()


class _Back(Protocol):
    transport: Any

    def __init__(self, front: _HttpProxy) -> None:
        self._front = front

    def dataReceived(self, data: bytes) -> None:
        self._front.transport.write(data)

    def connectionLost(self, _reason: Any = None) -> None:
        self._front.transport.loseConnection()


class ThroughProxyTests(ProgramTestCase):
    async def test_tls_is_with_the_server_itself(self) -> None:
        asked: list[str] = []
        port: Any = await TCP4ServerEndpoint(REACTOR, 0, interface="127.0.0.1").listen(
            Factory.forProtocol(lambda: _HttpProxy(asked))
        )
        self.addCleanup(port.stopListening)
        proxy = f"127.0.0.1:{port.getHost().port}"
        self.server.node_states = {"web1": ("online", "available")}
        result = await self.run_pushy("node", "status", "-F", "names", HTTPS_PROXY=f"http://me:pw@{proxy}")
        assert (result.status, result.out) == (0, "web1\n"), result
        target = self.url.split("/")[2]
        assert asked == [f"CONNECT {target} HTTP/1.1"]
        result = await self.run_pushy("node", "status", HTTPS_PROXY=f"http://{proxy}")
        self.assert_error(result, NO_SERVER, f"the proxy {proxy} refuses: 407 Proxy Authentication Required")
        result = await self.run_pushy("config", "check", HTTPS_PROXY=f"http://me:pw@{proxy}")
        assert f"looked up by the proxy {proxy}" in result.out
        result = await self.run_pushy(
            "node", "status", "-F", "names", HTTPS_PROXY=f"http://{proxy}", NO_PROXY="127.0.0.1"
        )
        assert result.out == "web1\n"
