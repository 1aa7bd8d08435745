"""How a proxy is asked to connect us: HTTP's ``CONNECT`` and SOCKS 5 (RFC 1928, 1929). Pure: nothing is sent from here.

A handshake is a generator. It yields what to send, and how much it must hear before it goes on: a number of bytes, or
what ends the answer; it is sent just that. When it returns, the connection is the one that was asked for.
"""

import base64
from collections.abc import Generator
from ipaddress import ip_address

Handshake = Generator[tuple[bytes, int | bytes], bytes, None]
Login = tuple[str, str]
"""A user's name and password."""

MAX_ANSWER = 16 * 1024
"""The most bytes that an answer may have."""

_SOCKS_ERRORS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "it cannot connect",
    8: "it does not know such addresses",
}
_NO_LOGIN, _PASSWORD, _NONE_OF_THEM = 0, 2, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4


class Refused(Exception):
    """The proxy does not do it; the text says why."""


def http_connect(host: str, port: int, login: Login | None) -> Handshake:
    """``CONNECT`` of HTTP/1.1; `host` is as in a URL."""
    target = f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if login is not None:
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(':'.join(login).encode()).decode()}")
    head = yield "\r\n".join([*lines, "", ""]).encode(), b"\r\n\r\n"
    version, _, said = head.split(b"\r\n")[0].partition(b" ")
    if not version.startswith(b"HTTP/1."):
        raise Refused("it speaks no HTTP")
    if not said.startswith(b"2"):
        raise Refused(said.decode("ascii", "replace")[:200])


def socks5(host: str, port: int, login: Login | None) -> Handshake:
    """``CONNECT`` of SOCKS 5; the proxy looks up the name."""
    methods = bytes([_NO_LOGIN] if login is None else [_NO_LOGIN, _PASSWORD])
    answer = yield bytes([5, len(methods)]) + methods, 2
    if answer[0] != 5:
        raise Refused("it speaks no SOCKS 5")
    if answer[1] == _PASSWORD and login is not None:
        answer = yield b"\1" + b"".join(_short(text) for text in login), 2
        if answer[1] != 0:
            raise Refused("it does not accept the user's name and password")
    elif answer[1] != _NO_LOGIN:
        raise Refused("it wants a user's name and password" if login is None else "it wants another login")
    answer = yield b"\5\1\0" + _address(host.strip("[]")) + port.to_bytes(2, "big"), 5
    if answer[1] != 0:
        raise Refused(_SOCKS_ERRORS.get(answer[1], f"error {answer[1]}"))
    # The address that it connects from is of no use, but has to be read: its first byte is read already.
    size = {_IPV4: 4, _IPV6: 16, _NAME: answer[4] + 1}.get(answer[3])
    if size is None:
        raise Refused("it speaks no SOCKS 5")
    yield b"", size - 1 + 2


def _address(host: str) -> bytes:
    try:
        packed = ip_address(host).packed
    except ValueError:
        return bytes([_NAME]) + _short(host)
    return bytes([_IPV4 if len(packed) == 4 else _IPV6]) + packed


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > 255:
        raise Refused("SOCKS 5 takes names and passwords of at most 255 bytes")
    return bytes([len(data)]) + data
