"""The state directory: made on the first start, used as it is on every later one.

It holds every key of the server. They outlive restarts, so that agents that are connected need nothing new. The
database is not touched here.
"""

import fcntl
import os
import secrets
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from pushy_protocol.keys import (
    CurveKeyPair,
    KeyFormatError,
    make_rsa_key,
    parse_private_key,
    private_pem,
    write_private,
)
from pushyd import certificates

FORMAT = 1
"""Of the directory; a higher number is of a newer version and refused."""

_SESSION_SECRET_BYTES = 32

T = TypeVar("T")


class StateDirError(Exception):
    """The directory cannot be used; the text is for the operator."""


@frozen(kw_only=True)
class StateDir:
    """What the directory holds, read."""

    path: Path
    rsa_key: RSAPrivateKey = field(repr=False)
    curve_keys: CurveKeyPair = field(repr=False)
    session_secret: bytes = field(repr=False)

    @property
    def tls_certificate(self) -> Path:
        """The API's certificate, followed by the CA's."""
        return self.path / "tls-cert.pem"

    @property
    def tls_key(self) -> Path:
        """The key of the API's certificate."""
        return self.path / "tls-key.pem"

    @property
    def ca_certificate(self) -> Path:
        """What agents and workstations have to trust."""
        return self.path / "ca.pem"

    def principal_key(self, name: str) -> tuple[Path, RSAPrivateKey]:
        """The private key of a principal that this directory introduces, made where it is not there yet.

        :raise StateDirError: it cannot be read or written
        """
        path = self.path / f"{name}.pem"
        return path, _rsa_key(path)


def open_state_dir(path: Path, server_name: str) -> StateDir:
    """Read the directory, after making what is missing. Blocks while keys are made.

    :raise StateDirError: it is of a newer version, or something in it cannot be read or written
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_format(path / "format")
        secret = _keep(path / "session-secret", lambda: secrets.token_bytes(_SESSION_SECRET_BYTES))
        curve = _keep(path / "curve-secret", lambda: CurveKeyPair.make().secret.encode())
        _make_certificates(path, server_name)
        if len(secret) != _SESSION_SECRET_BYTES:
            raise StateDirError(f"{path / 'session-secret'}: expected {_SESSION_SECRET_BYTES} bytes")
        return StateDir(
            path=path,
            rsa_key=_rsa_key(path / "server-rsa.pem"),
            curve_keys=_curve_keys(path / "curve-secret", curve),
            session_secret=secret,
        )
    except OSError as error:
        raise StateDirError(f"{error.filename or path}: {error.strerror}") from None


def lock(path: Path) -> int:
    """Make sure that one server uses the directory, which is made where there is none; to be called before anything is
    written into it.

    :return: a descriptor that holds the lock, also over a fork
    :raise StateDirError: another one does, or the directory cannot be made
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateDirError(f"{error.filename or path}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StateDirError(f"{path}: another pushyd uses this state directory; stop it first") from None
    return descriptor


def lock_is_held(path: Path) -> bool:
    """Whether a server uses the directory now.

    :raise StateDirError: the directory cannot be read
    """
    try:
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StateDirError(f"{error.filename or path}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _check_format(path: Path) -> None:
    said = _keep(path, lambda: f"{FORMAT}\n".encode()).strip()
    if not said.isdigit():
        raise StateDirError(f"{path}: expected a number, got {said[:20]!r}")
    if int(said) > FORMAT:
        raise StateDirError(
            f"{path.parent}: was made by a newer version of pushyd (format {int(said)}, this one knows {FORMAT}); "
            "install that version, or choose another --state-dir"
        )


def _keep(path: Path, make: Callable[[], bytes]) -> bytes:
    """What the file holds; it is made where there is none."""
    if not path.exists():
        write_private(path, make())
    return path.read_bytes()


def _rsa_key(path: Path) -> RSAPrivateKey:
    try:
        return parse_private_key(_keep(path, lambda: private_pem(make_rsa_key())))
    except KeyFormatError as error:
        raise StateDirError(f"{path}: {error}") from None
    except OSError as error:
        raise StateDirError(f"{path}: {error.strerror}") from None


def _curve_keys(path: Path, secret: bytes) -> CurveKeyPair:
    try:
        return CurveKeyPair.from_secret(secret.decode("ascii", "replace").strip())
    except KeyFormatError as error:
        raise StateDirError(f"{path}: {error}") from None


def _make_certificates(path: Path, server_name: str) -> None:
    """The CA once; the server's certificate anew when its name or its CA has changed. An operator's own is kept."""
    ca_key, ca_cert = path / "ca-key.pem", path / "ca.pem"
    key, cert = path / "tls-key.pem", path / "tls-cert.pem"
    names = _names(server_name)
    if cert.exists() and key.exists():
        served = _issued(key, cert)
        if not certificates.is_ours(served.certificate):
            return
        # The CA's key is not needed for this: an operator may keep it elsewhere.
        if ca_cert.exists() and certificates.fits(served, _parsed(ca_cert, certificates.parse_certificate), names[0]):
            return
    if not (ca_key.exists() and ca_cert.exists()):
        authority = certificates.make_authority(server_name)
        write_private(ca_key, authority.key_pem, overwrite=True)
        write_private(ca_cert, authority.certificate_pem, overwrite=True)
        ca_cert.chmod(0o644)
    authority = _issued(ca_key, ca_cert)
    try:
        issued = certificates.issue(authority, names)
    except ValueError as error:
        raise StateDirError(f"{ca_key}, {ca_cert}: {error}") from None
    write_private(key, issued.key_pem, overwrite=True)
    write_private(cert, issued.certificate_pem + authority.certificate_pem, overwrite=True)


def _issued(key: Path, certificate: Path) -> certificates.Issued:
    return certificates.Issued(
        key=_parsed(key, certificates.parse_key), certificate=_parsed(certificate, certificates.parse_certificate)
    )


def _parsed(path: Path, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(path.read_bytes())
    except ValueError as error:
        raise StateDirError(f"{path}: {error}") from None


def _names(server_name: str) -> tuple[str, ...]:
    """The names of the certificate: the server's, and what this machine itself calls it."""
    names = [server_name, "localhost", "127.0.0.1", "::1"]
    return tuple(dict.fromkeys(str(ip_address(name)) if _is_address(name) else name.lower() for name in names))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
