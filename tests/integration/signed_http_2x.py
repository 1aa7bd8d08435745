"""HTTP requests signed as a 2.x Ruby program signs them: sections 1 and 3 of protocol.md, and nothing else.

Written from that page alone, over the standard library and cryptography, so that a fault which our own client and
server would share is seen here. Nothing is retried, redirected or kept open.
"""

import base64
import hashlib
import http.client
import json
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_LINE = 60
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


@frozen(kw_only=True)
class Api:
    """Where the API is, and the CA that it is checked against."""

    host: str
    port: int
    ca_file: Path

    def open(
        self, principal: Principal | None, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        """Send a request, signed unless `principal` is None; the caller reads the answer and closes both.

        :param headers: more of them, ``_`` for ``-``; they replace those of the same name
        """
        context = ssl.create_default_context(cafile=str(self.ca_file))
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_SECONDS, context=context)
        try:
            sent = {"Accept": "application/json"}
            if body:
                sent["Content-Type"] = "application/json"
            if principal:
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                sent |= signed_headers(principal, method, path, body, now)
            sent |= {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body or None, sent)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def request(
        self, principal: Principal | None, method: str, path: str, body: bytes = b"", **headers: str
    ) -> Answer:
        """As :meth:`open`, and the whole answer."""
        connection, response = self.open(principal, method, path, body, **headers)
        try:
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(status=response.status, headers=named, body=response.read())
        finally:
            response.close()
            connection.close()
