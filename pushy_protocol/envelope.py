"""The header frame of a ZeroMQ message: ``Version:2.0;SigningMethod:METHOD;Signature:BASE64``.

`hmac_sha256` signs the body with a node's session key (command channel, both ways); `rsa2048_sha1` with the server's
RSA key (heartbeat channel): PKCS#1 v1.5 type 1 over base64(SHA-1(body)), without a DigestInfo. Ruby senders put
newlines into long base64; they verify too. What the body says is for :mod:`messages`.
"""

import binascii
import hashlib
import re
from base64 import b64decode, b64encode
from binascii import b2a_base64
from hmac import compare_digest

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

MAX_HEADER_BYTES = 2048

_HMAC_PREFIX = b"Version:2.0;SigningMethod:hmac_sha256;Signature:"
_RSA_PREFIX = b"Version:2.0;SigningMethod:rsa2048_sha1;Signature:"
_HEADER = re.compile(rb"Version:([^;]*);SigningMethod:([^;]*);Signature:([^;]+)")
_BLOCK_BYTES = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))
_METHODS = {b"hmac_sha256", b"rsa2048_sha1"}


class EnvelopeError(ValueError):
    """A header that is none, or a signature that is not the body's; the text says which."""


class SessionSigner:
    """Signs under one session key, and checks what the other side signed.

    HMAC-SHA-256 (RFC 2104) with the key's part of both hashes taken once. OpenSSL 3 looks HMAC up anew for each digest,
    which costs three times as much when the processor's caches have held something else meanwhile.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, session_key: bytes) -> None:
        """:param session_key: 32 bytes; no more than a block of the hash, 64"""
        block = session_key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER_PAD))
        self._outer = hashlib.sha256(block.translate(_OUTER_PAD))

    def sign(self, body: bytes) -> bytes:
        """The header for `body`."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(body)
        outer.update(inner.digest())
        return _HMAC_PREFIX + b2a_base64(outer.digest(), newline=False)

    def verify(self, header: bytes, body: bytes) -> None:
        """Check that `header` signs `body`, in constant time.

        :raise EnvelopeError: it does not.
        """
        expected = self.sign(body)
        if compare_digest(header, expected):
            return
        # It may be the same with newlines, or there is something to say about it.
        if not compare_digest(_signature(header, _HMAC_PREFIX), expected[len(_HMAC_PREFIX) :]):
            raise EnvelopeError("the signature is not the body's")


def sign_rsa(private_key: RSAPrivateKey, body: bytes) -> bytes:
    """The header for `body` under the server's RSA key."""
    return _RSA_PREFIX + b64encode(private_key.sign(_digest(body), padding.PKCS1v15(), utils.NoDigestInfo()))


def verify_rsa(header: bytes, body: bytes, public_key: RSAPublicKey) -> None:
    """Check that `header` signs `body` under the RSA key `public_key`.

    :raise EnvelopeError: it does not.
    """
    encoded = _signature(header, _RSA_PREFIX)
    try:
        signature = b64decode(encoded, validate=True)
        recovered = public_key.recover_data_from_signature(signature, padding.PKCS1v15(), None)
    except (binascii.Error, ValueError, InvalidSignature):
        raise EnvelopeError("the signature is not the body's") from None
    # Base64 has spare bits at its end; a signature has one spelling.
    if not compare_digest(recovered, _digest(body)) or b64encode(signature) != encoded:
        raise EnvelopeError("the signature is not the body's")


def _digest(body: bytes) -> bytes:
    return b64encode(hashlib.sha1(body).digest())  # noqa: S324 - the protocol's choice


def _signature(header: bytes, prefix: bytes) -> bytes:
    """The base64 that follows `prefix` in a header, without newlines."""
    if len(header) > MAX_HEADER_BYTES:
        raise EnvelopeError(f"the header has {len(header)} bytes, at most {MAX_HEADER_BYTES} are expected")
    if not header.startswith(prefix):
        raise EnvelopeError(_why_not(header))
    return header[len(prefix) :].replace(b"\n", b"")


def _why_not(header: bytes) -> str:
    """What is wrong with a header that does not begin as expected."""
    parts = _HEADER.fullmatch(header)
    if parts is None:
        return "the header is not of the form Version:2.0;SigningMethod:METHOD;Signature:BASE64"
    version, method, _ = parts.groups()
    if version != b"2.0":
        return "the header's Version is not 2.0"
    return f"the header's SigningMethod is {'not that of this channel' if method in _METHODS else 'unknown'}"
