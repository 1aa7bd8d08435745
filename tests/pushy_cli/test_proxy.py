import contextlib
from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from pushy_cli.errors import NO_SERVER, ConfigurationError
from pushy_cli.handshakes import Handshake, Refused, http_connect, socks5
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
        ({"HTTPS_PROXY": "http://u%40:x@p:1"}, Proxy(host="p", port=1, login=("u@", "x"))),
        ({"ALL_PROXY": "socks5h://u@p"}, Proxy(kind="socks5h", host="p", port=1080, login=("u", ""))),
        ({"HTTPS_PROXY": "socks5://[::1]:9"}, Proxy(kind="socks5", host="::1", port=9)),
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


@pytest.mark.parametrize("value", ["https://p:1", "socks4://p:1", "http://", "p:x"])
def test_a_proxy_that_is_none(value: str) -> None:
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY: expected http://"):
        proxy_for(URL, {"HTTPS_PROXY": value})


class _Proxy(Protocol):
    """Passes on what comes once it has connected; `asked` gets what it was asked for."""

    transport: Any

    def __init__(self, asked: list[str]) -> None:
        self._asked = asked
        self._other: Any = None
        self._heard = b""

    def dataReceived(self, data: bytes) -> None:
        if self._other is not None:
            self._other.transport.write(data)
            return
        self._heard += data
        self._hear()

    def _hear(self) -> None:
        raise NotImplementedError

    def _connect(self, host: str, port: int, established: bytes) -> None:
        def connected(other: Any) -> None:
            self._other = other
            for byte in established:  # a byte at a time: nothing says that an answer comes in one piece
                self.transport.write(bytes([byte]))

        endpoint: Any = TCP4ClientEndpoint(REACTOR, host, port)
        endpoint.connect(Factory.forProtocol(lambda: _Back(self))).addCallback(connected)

    def connectionLost(self, _reason: Any = None) -> None:
        if self._other is not None:
            self._other.transport.loseConnection()


class _HttpProxy(_Proxy):
    def _hear(self) -> None:
        lines = self._heard.decode().split("\r\n")
        self._asked.append(lines[0])
        if not any(line.startswith("Proxy-Authorization: Basic ") for line in lines):
            self.transport.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            self.transport.loseConnection()
            return
        host, port = lines[0].split()[1].split(":")
        self._connect(host, int(port), b"HTTP/1.1 200 Connection established\r\n\r\n")


class _SocksProxy(_Proxy):
    """RFC 1928 and 1929, for IPv4 addresses; wants the login me:pw."""

    def _hear(self) -> None:
        step, size = len(self._asked), len(self._heard)
        if step == 0 and size >= 2 + self._heard[1]:
            offered = self._heard[2:]
            self._asked.append(f"methods {list(offered)}")
            self.transport.write(b"\5\2" if 2 in offered else b"\5\xff")
        elif step == 1:
            self._asked.append(f"login {self._heard!r}")
            self.transport.write(b"\1\0" if self._heard == b"\1\2me\2pw" else b"\1\1")
        else:
            assert self._heard[:4] == b"\5\1\0\1"
            host = ".".join(str(byte) for byte in self._heard[4:8])
            port = int.from_bytes(self._heard[8:], "big")
            self._asked.append(f"connect {host}:{port}")
            self._connect(host, port, b"\5\0\0\1\0\0\0\0\0\0")
        self._heard = b""


class _Back(Protocol):
    transport: Any

    def __init__(self, front: _Proxy) -> None:
        self._front = front

    def dataReceived(self, data: bytes) -> None:
        self._front.transport.write(data)

    def connectionLost(self, _reason: Any = None) -> None:
        self._front.transport.loseConnection()


class ThroughProxyTests(ProgramTestCase):
    async def listen(self, kind: type[_Proxy], asked: list[str]) -> str:
        """Where such a proxy is."""
        factory = Factory.forProtocol(lambda: kind(asked))
        port: Any = await TCP4ServerEndpoint(REACTOR, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        self.server.node_states = {"web1": ("online", "available")}
        return f"127.0.0.1:{port.getHost().port}"

    async def test_tls_is_with_the_server_itself(self) -> None:
        asked: list[str] = []
        proxy = await self.listen(_HttpProxy, asked)
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

    async def test_socks(self) -> None:
        asked: list[str] = []
        proxy = await self.listen(_SocksProxy, asked)
        result = await self.run_pushy("node", "status", "-F", "names", ALL_PROXY=f"socks5://me:pw@{proxy}")
        assert (result.status, result.out) == (0, "web1\n"), result
        assert asked == ["methods [0, 2]", "login b'\\x01\\x02me\\x02pw'", f"connect {self.url.split('/')[2]}"]
        for login, said in (
            ("", "it wants a user's name and password"),
            ("me:wrong@", "it does not accept the user's name and password"),
            (f"{'x' * 256}@", "at most 255 bytes"),
        ):
            asked.clear()
            result = await self.run_pushy("node", "status", HTTPS_PROXY=f"socks5h://{login}{proxy}")
            self.assert_error(result, NO_SERVER, f"the proxy {proxy} refuses: ")
            assert said in result.err


def answered(handshake: Handshake, *answers: bytes) -> list[tuple[bytes, int | bytes]]:
    """What a handshake says, and waits for, when it is answered so."""
    said = [next(handshake)]
    for answer in answers:
        with contextlib.suppress(StopIteration):
            said.append(handshake.send(answer))
    return said


def test_a_name_is_looked_up_by_the_proxy() -> None:
    said = answered(socks5("push.example.com", 443, None), b"\5\0", b"\5\0\0\3\4", b"name\0\0")
    assert said == [(b"\5\1\0", 2), (b"\5\1\0\3\x10push.example.com\1\xbb", 5), (b"", 6)]
    said = answered(socks5("[::1]", 1, None), b"\5\0", b"\5\0\0\4\0")
    assert said[1:] == [(b"\5\1\0\4" + b"\0" * 15 + b"\1\0\1", 5), (b"", 17)]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([b"HT"], "it speaks no SOCKS 5"),
        ([b"\5\xff"], "it wants a user's name and password"),
        ([b"\5\2"], "it wants a user's name and password"),
        ([b"\5\0", b"\5\5\0\1\0"], "connection refused"),
        ([b"\5\0", b"\5\x63\0\1\0"], "error 99"),
        ([b"\5\0", b"\5\0\0\7\0"], "it speaks no SOCKS 5"),
    ],
)
def test_what_a_socks_proxy_refuses(answers: list[bytes], said: str) -> None:
    with pytest.raises(Refused, match=said):
        answered(socks5("a", 1, None), *answers)


@pytest.mark.parametrize(("answer", "said"), [(b"SSH-2.0\r\n\r\n", "no HTTP"), (b"HTTP/1.1 403 No\r\n\r\n", "403 No")])
def test_what_an_http_proxy_refuses(answer: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said):
        answered(http_connect("a", 1, None), answer)
