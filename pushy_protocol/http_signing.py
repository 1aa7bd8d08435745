"""Signed HTTP requests, versions 1.0, 1.1 and 1.3 of Chef's `mixlib-authentication`.

:func:`sign` makes the headers of a request. A receiver takes :func:`parse`, then the checks of
:class:`SignedRequest` in their order: `check_content`, `check_clock`, (look the name up), `check_signature`. Each
raises a :class:`SigningError` that knows the HTTP status and the text that Chef answers with. Who a name is, and what
it may do, is not decided here.
"""

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from itertools import count

from attrs import frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from pushy_protocol.timestamps import format_iso8601, parse_iso8601

ALLOWED_SKEW = 900.0
"""Seconds that a signer's clock may be off."""

_ALGORITHMS = {"1.0": "sha1", "1.1": "sha1", "1.3": "sha256"}
_REQUIRED = ("X-Ops-Sign", "X-Ops-UserId", "X-Ops-Timestamp", "X-Ops-Content-Hash")
_LINE = 60
# A signature of the longest key that is sensible (16,384 bits) has 46 lines.
_MAX_LINES = 64


class SigningError(Exception):
    """A request whose signature cannot be believed; `status` is the HTTP status, the text is for the caller."""

    status = 401


class MalformedSigning(SigningError):
    """Headers are missing, or the version of the protocol is unknown."""

    status = 400


@frozen(kw_only=True)
class SignedRequest:
    """What the headers of a request say of its signature; nothing of it is true before it is checked."""

    version: str
    user: str
    timestamp: str
    content_hash: str
    server_api_version: str
    signature: str

    def check_content(self, body: bytes) -> None:
        """Check that the content hash is the body's, the timestamp is one, and the name is printable.

        :raise SigningError: they are not; all that are wrong are named.
        """
        wrong = []
        # A name goes into answers, logs and queries: no control characters, no halves of surrogates.
        if not self.user.isprintable():
            wrong.append("X-Ops-UserId")
        try:
            parse_iso8601(self.timestamp)
        except ValueError:
            wrong.append("X-Ops-Timestamp")
        # No secret: whoever sent the one sent the other, so the comparison may take its time or not.
        if self.content_hash != _hash(self.version, body):
            wrong.append("X-Ops-Content-Hash")
        if wrong:
            raise _bad_headers(*wrong)

    def check_clock(self, now: float) -> None:
        """Check that the signer's clock is within :data:`ALLOWED_SKEW` of `now` (seconds since the epoch).

        :raise SigningError: it is not.
        """
        try:
            signed_at = parse_iso8601(self.timestamp)
        except ValueError:
            raise _bad_headers("X-Ops-Timestamp") from None
        if abs(now - signed_at) > ALLOWED_SKEW:
            raise SigningError(f"Failed to authenticate as {self.user}. Synchronize the clock on your host.")

    def check_signature(self, *, method: str, path: str, public_keys: Iterable[RSAPublicKey]) -> RSAPublicKey:
        """The first of a principal's keys that made the signature; the content hash must have been checked.

        :raise SigningError: none of them did.
        """
        text = _string_to_sign(
            self.version,
            method=method,
            path=path,
            content_hash=self.content_hash,
            timestamp=self.timestamp,
            user=self.user,
            server_api_version=self.server_api_version,
        )
        try:
            signature = b64decode(self.signature, validate=True)
        except ValueError:
            signature = b""
        # Base64 has spare bits at its end; a signature has one spelling.
        if b64encode(signature).decode() == self.signature:
            for key in public_keys:
                if _is_signed(self.version, signature, text, key):
                    return key
        raise SigningError(f"Invalid signature for user or client '{self.user}'")


def sign(
    *,
    private_key: RSAPrivateKey,
    user: str,
    method: str,
    path: str,
    body: bytes,
    now: float,
    version: str = "1.3",
    server_api_version: str = "0",
) -> dict[str, str]:
    """The headers that sign a request.

    :param path: the request's path, with or without its query string, which is not signed
    :param now: seconds since the epoch
    :raise ValueError: no such version, or a name too long for 1.0 (with 2,048 bits, some 90 characters)
    """
    if version not in _ALGORITHMS:
        raise ValueError(f"version {version!r}: expected one of {', '.join(_ALGORITHMS)}")
    timestamp, content_hash = format_iso8601(now), _hash(version, body)
    text = _string_to_sign(
        version,
        method=method,
        path=path,
        content_hash=content_hash,
        timestamp=timestamp,
        user=user,
        server_api_version=server_api_version,
    )
    if version == "1.3":
        signature = private_key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = private_key.sign(text, padding.PKCS1v15(), utils.NoDigestInfo())
    encoded = b64encode(signature).decode()
    headers = {
        "X-Ops-Sign": f"algorithm={_ALGORITHMS[version]};version={version};",
        "X-Ops-UserId": user,
        "X-Ops-Timestamp": timestamp,
        "X-Ops-Content-Hash": content_hash,
        "X-Ops-Server-API-Version": server_api_version,
    }
    for number, start in enumerate(range(0, len(encoded), _LINE), 1):
        headers[f"X-Ops-Authorization-{number}"] = encoded[start : start + _LINE]
    return headers


def parse(headers: Mapping[str, str]) -> SignedRequest:
    """What a request's headers say of its signature.

    :param headers: by lower-case name
    :raise MalformedSigning: required ones are missing or empty, or the version is unknown
    """
    missing = [name for name in _REQUIRED if not headers.get(name.lower())]
    if missing:
        raise MalformedSigning(f"missing required authentication header(s) {_quoted(missing)}")
    description = dict(part.strip().partition("=")[::2] for part in headers["x-ops-sign"].split(";") if part.strip())
    version = description.get("version", "")
    # The algorithm may be left out; where it is said it must be the version's.
    if version not in _ALGORITHMS or description.get("algorithm", _ALGORITHMS[version]) != _ALGORITHMS[version]:
        raise MalformedSigning("Unsupported authentication protocol version")
    lines = []
    for number in count(1):
        line = headers.get(f"x-ops-authorization-{number}")
        if line is None or number > _MAX_LINES:
            break
        lines.append(line.strip())
    return SignedRequest(
        version=version,
        user=headers["x-ops-userid"],
        timestamp=headers["x-ops-timestamp"],
        content_hash=headers["x-ops-content-hash"],
        server_api_version=headers.get("x-ops-server-api-version") or "0",
        signature="".join(lines),
    )


def canonical_path(path: str) -> str:
    """A path as it is signed: without its query, runs of ``/`` collapsed, no ``/`` at its end unless it is all."""
    collapsed = re.sub("/+", "/", path.partition("?")[0])
    return collapsed.rstrip("/") or "/"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _bad_headers(*names: str) -> SigningError:
    return SigningError(f"bad header(s) {_quoted(names)}")


def _utf8(text: str) -> bytes:
    # What is no Unicode must fail as a signature does, not as a codec does.
    return text.encode(errors="surrogatepass")


def _hash(version: str, data: bytes) -> str:
    algorithm = hashlib.sha256 if version == "1.3" else hashlib.sha1
    return b64encode(algorithm(data).digest()).decode()


def _string_to_sign(
    version: str, *, method: str, path: str, content_hash: str, timestamp: str, user: str, server_api_version: str
) -> bytes:
    path = canonical_path(path)
    if version == "1.3":
        lines = [
            f"Method:{method.upper()}",
            f"Path:{path}",
            f"X-Ops-Content-Hash:{content_hash}",
            "X-Ops-Sign:version=1.3",
            f"X-Ops-Timestamp:{timestamp}",
            f"X-Ops-UserId:{user}",
            f"X-Ops-Server-API-Version:{server_api_version}",
        ]
    else:
        lines = [
            f"Method:{method.upper()}",
            f"Hashed Path:{_hash(version, _utf8(path))}",
            f"X-Ops-Content-Hash:{content_hash}",
            f"X-Ops-Timestamp:{timestamp}",
            f"X-Ops-UserId:{_hash(version, _utf8(user)) if version == '1.1' else user}",
        ]
    return _utf8("\n".join(lines))


def _is_signed(version: str, signature: bytes, text: bytes, key: RSAPublicKey) -> bool:
    try:
        if version == "1.3":
            key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
            return True
        recovered = key.recover_data_from_signature(signature, padding.PKCS1v15(), None)
    except (InvalidSignature, ValueError):
        return False
    return hmac.compare_digest(recovered, text)
