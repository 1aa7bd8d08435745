"""HTTP requests signed as a 2.x Ruby program signs them: sections 1 and 3 of protocol.md, and nothing else.

Written from that page alone, over the standard library and cryptography, so that a fault which our own client and
server would share is seen here. Nothing is retried or redirected.
"""

import base64
import hashlib
import http.client
import json
import re
import select
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_LINE = 60
_KEEP_SECONDS = 5.0
TIMEOUT_SECONDS = 10.0


@frozen(kw_only=True)
class Principal:
    """Who signs, and in which version of mixlib-authentication: "1.0", "1.1" or "1.3"."""

    name: str
    key: RSAPrivateKey
    version: str = "1.1"


@frozen(kw_only=True)
class Answer:
    """What the server answered, with the names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, which says that it is JSON."""
        assert self.headers["content-type"].partition(";")[0] == "application/json", self
        return json.loads(self.body)


def _is_over(connection: http.client.HTTPSConnection) -> bool:
    """Whether the other side has closed it: with every answer read, there is nothing else to read."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def string_to_sign(principal: Principal, method: str, path: str, body: bytes, timestamp: str) -> str:
    """What the signature covers; the request is one of server API version 0."""
    canonical = re.sub("/+", "/", path.partition("?")[0])
    canonical = canonical.rstrip("/") or "/"
    content = f"X-Ops-Content-Hash:{_hash(principal.version, body)}"
    if principal.version == "1.3":
        return (
            f"Method:{method}\nPath:{canonical}\n{content}\nX-Ops-Sign:version=1.3\n"
            f"X-Ops-Timestamp:{timestamp}\nX-Ops-UserId:{principal.name}\nX-Ops-Server-API-Version:0"
        )
    user = principal.name if principal.version == "1.0" else _hash(principal.version, principal.name.encode())
    return (
        f"Method:{method}\nHashed Path:{_hash(principal.version, canonical.encode())}\n{content}\n"
        f"X-Ops-Timestamp:{timestamp}\nX-Ops-UserId:{user}"
    )


def signed_headers(principal: Principal, method: str, path: str, body: bytes, timestamp: str) -> dict[str, str]:
    """The ``X-Ops-…`` headers of a request."""
    text = string_to_sign(principal, method, path, body, timestamp).encode()
    how = hashes.SHA256() if principal.version == "1.3" else utils.NoDigestInfo()
    signature = base64.b64encode(principal.key.sign(text, padding.PKCS1v15(), how)).decode()
    algorithm = "sha256" if principal.version == "1.3" else "sha1"
    lines = [signature[start : start + _LINE] for start in range(0, len(signature), _LINE)]
    return {
        "X-Ops-Sign": f"algorithm={algorithm};version={principal.version};",
        "X-Ops-UserId": principal.name,
        "X-Ops-Timestamp": timestamp,
        "X-Ops-Content-Hash": _hash(principal.version, body),
        **{f"X-Ops-Authorization-{number}": line for number, line in enumerate(lines, start=1)},
    }


def _hash(version: str, content: bytes) -> str:
    made = hashlib.sha256(content) if version == "1.3" else hashlib.sha1(content, usedforsecurity=False)
    return base64.b64encode(made.digest()).decode()


class Api:
    """Where the API is. It is checked against a CA, and asked by one thread.

    One connection is kept for :meth:`request`, as most of the time of a request would go into TLS; it is made anew
    long before a server may have closed it, and when the server was killed meanwhile. Streams get connections of
    their own.
    """

    def __init__(self, *, host: str, port: int, ca_file: Path) -> None:
        self.host = host
        self.port = port
        self._context = ssl.create_default_context(cafile=str(ca_file))
        self._kept: http.client.HTTPSConnection | None = None
        self._used = 0.0

    def connect(self) -> http.client.HTTPSConnection:
        """A connection of the caller's own."""
        return http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_SECONDS, context=self._context)

    def close(self) -> None:
        """Close the connection that is kept, if any."""
        if self._kept:
            self._kept.close()
            self._kept = None

    def send(
        self,
        connection: http.client.HTTPSConnection,
        principal: Principal | None,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """Send a request, signed unless `principal` is None, and have what comes back, its body not yet read.

        :param headers: more of them; they replace those of the same name
        """
        sent = {"Accept": "application/json"}
        if body:
            sent["Content-Type"] = "application/json"
        if principal:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            sent |= signed_headers(principal, method, path, body, now)
        connection.request(method, path, body or None, {**sent, **(headers or {})})
        return connection.getresponse()

    def request(
        self,
        principal: Principal | None,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """As :meth:`send`, and the whole answer."""
        if self._kept and (time.monotonic() - self._used > _KEEP_SECONDS or _is_over(self._kept)):
            self.close()
        self._kept = self._kept or self.connect()
        try:
            response = self.send(self._kept, principal, method, path, body, headers)
            named = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(status=response.status, headers=named, body=response.read())
        except BaseException:
            self.close()
            raise
        self._used = time.monotonic()
        return answer
