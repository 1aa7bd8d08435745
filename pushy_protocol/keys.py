"""RSA keys in PEM, CURVE keys in Z85: read, made, and written so that only their owner can read them.

ZeroMQ is imported where it is used: the CLI has RSA keys only, and is quick.
"""

import os
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

Z85_KEY_LENGTH = 40

RSA_BITS = range(1024, 16384 + 1)
"""The sizes of RSA keys that are taken: what is shorter can be broken, what is longer OpenSSL does not use."""


class KeyFormatError(ValueError):
    """A text that is not the key that was expected; the text of the error says what was."""


def make_rsa_key() -> RSAPrivateKey:
    """A new RSA key of 2,048 bits, the size that every version of Chef takes."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(key: RSAPrivateKey) -> bytes:
    """A private key as unencrypted PKCS#1 PEM (``BEGIN RSA PRIVATE KEY``), the form that Chef's tools write."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def public_pem(key: RSAPublicKey) -> str:
    """A public key as SubjectPublicKeyInfo PEM (``BEGIN PUBLIC KEY``)."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def parse_private_key(pem: bytes) -> RSAPrivateKey:
    """The RSA key in a PKCS#1 or PKCS#8 PEM.

    :raise KeyFormatError: it is none, or is encrypted.
    """
    try:
        # Checking that the numbers make a key takes longer than all else that the CLI does; it is our own key, and one
        # that is damaged makes no signature that anybody takes.
        key = serialization.load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFormatError(f"expected an unencrypted RSA private key in PEM: {_cause(error)}") from None
    if not isinstance(key, RSAPrivateKey):
        raise KeyFormatError("expected an RSA private key, got another kind of key")
    return key


def _cause(error: Exception) -> str:
    """The first sentence of cryptography's words; others refer to its manual."""
    return str(error).partition(". ")[0].rstrip(".")


def parse_public_key(pem: bytes) -> RSAPublicKey:
    """The RSA key in a PEM of a public key (either form) or of a certificate, as Chef stores them.

    :raise KeyFormatError: it is none, or its size is not in :data:`RSA_BITS`.
    """
    try:
        key = _key_of_certificate(pem) if b"BEGIN CERTIFICATE" in pem else serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFormatError(f"expected an RSA public key in PEM: {_cause(error)}") from None
    if not isinstance(key, RSAPublicKey):
        raise KeyFormatError("expected an RSA public key, got another kind of key")
    if key.key_size not in RSA_BITS:
        raise KeyFormatError(f"expected an RSA key of {RSA_BITS[0]} to {RSA_BITS[-1]} bits, got {key.key_size}")
    return key


def _key_of_certificate(pem: bytes) -> "CertificatePublicKeyTypes":
    # Agents that never meet a certificate here need not have its module in their memory (1 MB).
    from cryptography.x509 import InvalidVersion, load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(pem).public_key()
    except InvalidVersion as error:
        raise ValueError(error) from None


@frozen(kw_only=True)
class CurveKeyPair:
    """A CURVE key pair, each half 40 characters of Z85."""

    public: str
    secret: str = field(repr=False)

    @classmethod
    def make(cls) -> "CurveKeyPair":
        """A new pair."""
        import zmq

        public, secret = zmq.curve_keypair()
        return cls(public=public.decode(), secret=secret.decode())

    @classmethod
    def from_secret(cls, secret: str) -> "CurveKeyPair":
        """The pair of a secret half.

        :raise KeyFormatError: it is not a Z85 key.
        """
        import zmq

        check_curve_key(secret)
        return cls(public=zmq.curve_public(secret.encode()).decode(), secret=secret)


def check_curve_key(key: str) -> bytes:
    """The 32 bytes of a CURVE key in Z85.

    :raise KeyFormatError: it is not 40 characters of Z85.
    """
    from zmq.utils import z85

    if len(key) != Z85_KEY_LENGTH or not key.isascii():
        raise KeyFormatError(f"expected {Z85_KEY_LENGTH} characters of Z85")
    try:
        return z85.decode(key)
    except (KeyError, struct.error):  # no character of Z85; five characters that are more than 32 bits
        raise KeyFormatError(f"expected {Z85_KEY_LENGTH} characters of Z85") from None


def write_private(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a file that only its owner can read (0600), durably and in one piece.

    It is written aside, flushed to the disk and put in place, so that no reader ever sees half of it and a crash
    leaves the old file or the new.

    :raise FileExistsError: `path` exists and `overwrite` is false.
    :raise OSError: it cannot be written.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            Path(temporary).replace(path)
        else:
            path.hardlink_to(temporary)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        Path(temporary).unlink(missing_ok=True)
