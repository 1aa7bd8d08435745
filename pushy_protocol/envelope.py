"""The header frame of a ZeroMQ message: ``Version:2.0;SigningMethod:METHOD;Signature:BASE64``.

`hmac_sha256` signs the body with a node's session key (command channel, both ways); `rsa2048_sha1` with the server's
RSA key (heartbeat channel): PKCS#1 v1.5 type 1 over base64(SHA-1(body)), without a DigestInfo. Ruby senders put
newlines into long base64; they verify too. What the body says is for :mod:`messages`.
"""

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

MAX_HEADER_BYTES = 2048

_HMAC_PREFIX = b"Version:2.0;SigningMethod:hmac_sha256;Signature:"
_RSA_PREFIX = b"Version:2.0;SigningMethod:rsa2048_sha1;Signature:"
_METHODS = {"hmac_sha256", "rsa2048_sha1"}


class EnvelopeError(ValueError):
    """A header that is none, or a signature that is not the body's; the text says which."""


def sign_hmac(session_key: bytes, body: bytes) -> bytes:
    """The header for `body` under a session key (32 bytes)."""
    return _HMAC_PREFIX + b64encode(hmac.digest(session_key, body, "sha256"))


def verify_hmac(header: bytes, body: bytes, session_key: bytes) -> None:
    """Check that `header` signs `body` under `session_key`, in constant time.

    :raise EnvelopeError: it does not.
    """
    signature = _signature(header, "hmac_sha256", _HMAC_PREFIX)
    expected = b64encode(hmac.digest(session_key, body, "sha256"))
    if not hmac.compare_digest(signature, expected):
        raise EnvelopeError("the signature is not the body's")


def sign_rsa(private_key: RSAPrivateKey, body: bytes) -> bytes:
    """The header for `body` under the server's RSA key."""
    return _RSA_PREFIX + b64encode(private_key.sign(_digest(body), padding.PKCS1v15(), utils.NoDigestInfo()))


def verify_rsa(header: bytes, body: bytes, public_key: RSAPublicKey) -> None:
    """Check that `header` signs `body` under the RSA key `public_key`.

    :raise EnvelopeError: it does not.
    """
    try:
        signature = b64decode(_signature(header, "rsa2048_sha1", _RSA_PREFIX), validate=True)
        recovered = public_key.recover_data_from_signature(signature, padding.PKCS1v15(), None)
    except (binascii.Error, ValueError, InvalidSignature) as error:
        raise EnvelopeError(f"the signature is not the body's: {error}") from None
    if not hmac.compare_digest(recovered, _digest(body)):
        raise EnvelopeError("the signature is not the body's")


def _digest(body: bytes) -> bytes:
    return b64encode(hashlib.sha1(body).digest())  # noqa: S324 - the protocol's choice


def _signature(header: bytes, method: str, prefix: bytes) -> bytes:
    """The base64 of a header, without newlines; the usual spelling is recognized without parsing."""
    if len(header) > MAX_HEADER_BYTES:
        raise EnvelopeError(f"the header has {len(header)} bytes, at most {MAX_HEADER_BYTES} are expected")
    if header.startswith(prefix):
        return header[len(prefix) :].replace(b"\n", b"")
    fields = {}
    for field in header.split(b";"):
        name, separator, value = field.partition(b":")
        if not separator:
            raise EnvelopeError("the header is not of the form Name:value;Name:value")
        fields[name.strip().lower().decode("latin-1")] = value.strip()
    if fields.get("version") != b"2.0":
        raise EnvelopeError("the header's Version is not 2.0")
    said = fields.get("signingmethod", b"").decode("latin-1")
    if said != method:
        known = "another" if said in _METHODS else "an unknown"
        raise EnvelopeError(f"the header has {known} SigningMethod, expected {method}")
    if not fields.get("signature"):
        raise EnvelopeError("the header has no Signature")
    return fields["signature"].replace(b"\n", b"")
