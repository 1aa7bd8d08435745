"""A small certificate authority, so that a new server has TLS that its own agents can verify.

ECDSA P-256 keys: a handshake costs the server a tenth of one with RSA. Operators who have a CA of their own put its
files in place of these.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 3650  # the CA is this server's own; nothing but its agents trusts it
_BACKDATED = timedelta(hours=1)  # for agents whose clock is a little behind
_OURS = "pushyd "
"""How the names of the authorities that are made here begin; they have no other parts."""


@frozen(kw_only=True)
class Issued:
    """A certificate and its private key."""

    key: PrivateKeyTypes = field(repr=False)
    certificate: x509.Certificate

    @property
    def key_pem(self) -> bytes:
        """The key, unencrypted, as PKCS#8 PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def parse_certificate(pem: bytes) -> x509.Certificate:
    """The first certificate in a PEM.

    :raise ValueError: there is none
    """
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise ValueError(f"expected a certificate in PEM: {error}") from None


def parse_key(pem: bytes) -> PrivateKeyTypes:
    """The private key in a PEM.

    :raise ValueError: it is none, or is encrypted
    """
    try:
        return serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"expected an unencrypted private key in PEM: {error}") from None


def make_authority(server_name: str) -> Issued:
    """A new authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(_OURS + server_name)
    certificate = (
        _builder(subject, subject, key.public_key(), _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Issued(key=key, certificate=certificate)


def issue(authority: Issued, names: Sequence[str]) -> Issued:
    """A server certificate for host names and addresses, the first of them its common name.

    :raise ValueError: the authority's key is not that of its certificate, or is none of :func:`make_authority`
    """
    issuer = authority.key
    if not isinstance(issuer, ec.EllipticCurvePrivateKey) or issuer.public_key() != authority.certificate.public_key():
        raise ValueError("expected the authority's certificate and its own elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name(names[0]), authority.certificate.subject, key.public_key(), _SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        .sign(issuer, hashes.SHA256())
    )
    return Issued(key=key, certificate=certificate)


def is_ours(certificate: x509.Certificate) -> bool:
    """Whether an authority of :func:`make_authority` issued it; else an operator has put it there."""
    parts = list(certificate.issuer)
    return len(parts) == 1 and parts[0].oid == NameOID.COMMON_NAME and str(parts[0].value).startswith(_OURS)


def fits(served: Issued, authority: x509.Certificate, name: str) -> bool:
    """Whether a certificate goes with its key, was issued by the authority, and is for `name`."""
    certificate = served.certificate
    try:
        certificate.verify_directly_issued_by(authority)
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return certificate.public_key() == served.key.public_key() and _general_name(name) in named


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])  # longer ones are not allowed


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
