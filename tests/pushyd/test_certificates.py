"""The small CA: a client that trusts it, and nobody else's, talks to exactly the server that it names."""

from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, serverFromString, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from pushyd import certificates
from pushyd.certificates import Issued

reactor: Any = the_reactor
NAMES = ("push.example", "localhost", "127.0.0.1", "::1")
GREETING = b"hello"


class Greeter(Protocol):
    transport: Any

    def connectionMade(self) -> None:
        self.transport.write(GREETING)
        self.transport.loseConnection()


class Listener(Protocol):
    """Collects what it hears; fails with the reason for which the connection ended, unless that is its plain end."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(self.heard)


class HandshakeTests(TestCase):
    """Served as pushyd serves it, and verified as an agent does: by service-identity, over real sockets."""

    timeout = 10

    async def greeting(self, served: Issued, authority: Issued, name: str) -> bytes:
        """What a client hears that expects `name`, and trusts `authority`; nothing where it hangs up."""
        key, cert = self.written(served.key_pem), self.written(served.certificate_pem + authority.certificate_pem)
        endpoint = serverFromString(reactor, f"ssl:0:privateKey={key}:certKey={cert}:interface=127.0.0.1")
        port = await endpoint.listen(Factory.forProtocol(Greeter))
        try:
            options = optionsForClientTLS(name, trustRoot=Certificate.loadPEM(authority.certificate_pem))
            plain = cast("IStreamClientEndpoint", HostnameEndpoint(reactor, "127.0.0.1", port.getHost().port))
            client = wrapClientTLS(options, plain)
            listener = cast("Listener", await connectProtocol(client, Listener()))
            return await listener.ended
        finally:
            await port.stopListening()
            # Twisted hands to pyOpenSSL what pyOpenSSL warns of.
            self.assertEqual({warning["category"] for warning in self.flushWarnings()}, {DeprecationWarning})

    def written(self, pem: bytes) -> Path:
        path = Path(self.mktemp())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pem)
        return path

    async def test_every_name_is_believed(self) -> None:
        authority = certificates.make_authority("push.example")
        served = certificates.issue(authority, NAMES)
        for name in NAMES:
            self.assertEqual(await self.greeting(served, authority, name), GREETING, name)

    async def test_no_other_name_is(self) -> None:
        authority = certificates.make_authority("push.example")
        served = certificates.issue(authority, NAMES)
        for name in ("other.example", "sub.push.example", "127.0.0.2", "::2"):
            self.assertEqual(await self.greeting(served, authority, name), b"", name)

    async def test_no_other_authority_is_even_of_the_same_name(self) -> None:
        authority, impostor = (certificates.make_authority("push.example") for _ in range(2))
        served = certificates.issue(impostor, NAMES)
        self.assertEqual(await self.greeting(served, authority, "push.example"), b"")

    async def test_a_server_that_has_only_an_address_is_believed(self) -> None:
        for name in ("127.0.0.1", "2001:db8::1"):
            authority = certificates.make_authority(name)
            self.assertEqual(await self.greeting(certificates.issue(authority, [name]), authority, name), GREETING)


def test_a_long_name_does_not_fit_the_common_name_but_is_whole_in_the_certificate() -> None:
    name = f"{'a' * 60}.{'b' * 60}.example"
    authority = certificates.make_authority(name)
    served = certificates.issue(authority, [name])
    assert certificates.fits(served, authority.certificate, name)
    assert certificates.is_ours(served.certificate)


def test_an_authority_signs_nothing_that_signs() -> None:
    authority = certificates.make_authority("push.example")
    served = certificates.issue(authority, NAMES)
    of_authority, of_server = (
        issued.certificate.extensions.get_extension_for_class(x509.BasicConstraints) for issued in (authority, served)
    )
    assert (of_authority.critical, of_authority.value.ca, of_authority.value.path_length) == (True, True, 0)
    assert (of_server.critical, of_server.value.ca) == (True, False)


def test_what_is_read_back_is_what_was_written() -> None:
    served = certificates.issue(certificates.make_authority("a"), NAMES)
    read = Issued(
        key=certificates.parse_key(served.key_pem), certificate=certificates.parse_certificate(served.certificate_pem)
    )
    assert (read.key_pem, read.certificate) == (served.key_pem, served.certificate)


def test_a_certificate_fits_its_own_key_authority_and_names_only() -> None:
    authority, other = (certificates.make_authority("a.example") for _ in range(2))
    served = certificates.issue(authority, NAMES)
    for name in NAMES:
        assert certificates.fits(served, authority.certificate, name)
    assert not certificates.fits(served, authority.certificate, "a.example")
    assert not certificates.fits(served, other.certificate, NAMES[0])
    assert not certificates.fits(Issued(key=other.key, certificate=served.certificate), authority.certificate, NAMES[0])
    assert not certificates.fits(authority, authority.certificate, NAMES[0]), "it has no names"


def test_an_authority_with_another_key_cannot_issue() -> None:
    one, other = (certificates.make_authority("a") for _ in range(2))
    for key in (other.key, rsa.generate_private_key(65537, 1024)):
        with pytest.raises(ValueError, match="its own elliptic curve key"):
            certificates.issue(Issued(key=key, certificate=one.certificate), NAMES)


@pytest.mark.parametrize(
    ("parts", "ours"),
    [
        ({NameOID.COMMON_NAME: "pushyd a.example"}, True),
        ({NameOID.COMMON_NAME: "Acme's pushyd CA"}, False),
        ({NameOID.COMMON_NAME: "pushyd CA", NameOID.ORGANIZATION_NAME: "Acme"}, False),
        ({NameOID.ORGANIZATION_NAME: "pushyd Inc."}, False),
    ],
)
def test_whose_a_certificate_is(parts: dict[x509.ObjectIdentifier, str], *, ours: bool) -> None:
    like = certificates.make_authority("a")
    issuer = x509.Name([x509.NameAttribute(oid, value) for oid, value in parts.items()])
    authority = Issued(key=like.key, certificate=_renamed(like.certificate, issuer, like.key))
    assert certificates.is_ours(certificates.issue(authority, NAMES).certificate) is ours


def _renamed(certificate: x509.Certificate, name: x509.Name, key: Any) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        subject_name=name,
        issuer_name=name,
        public_key=certificate.public_key(),
        serial_number=certificate.serial_number,
        not_valid_before=certificate.not_valid_before_utc,
        not_valid_after=certificate.not_valid_after_utc,
    )
    return builder.sign(key, certificate.signature_hash_algorithm)  # type: ignore[arg-type]  # None is for other keys


def test_what_is_no_key_or_certificate_is_refused() -> None:
    issued = certificates.make_authority("a")
    encrypted = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    for pem in (b"", b"rubbish", issued.certificate_pem, encrypted, issued.key_pem[:-40]):
        with pytest.raises(ValueError, match=r"^expected an unencrypted private key in PEM"):
            certificates.parse_key(pem)
    for pem in (b"", b"rubbish", issued.key_pem, issued.certificate_pem[:-40]):
        with pytest.raises(ValueError, match=r"^expected a certificate in PEM"):
            certificates.parse_certificate(pem)
