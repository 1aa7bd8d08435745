"""A small certificate authority, so that a new server has TLS that its own agents can verify.

ECDSA P-256 keys: a handshake costs the server a tenth of one with RSA. Operators who have a CA of their own put its
files in place of these.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 3650  # the CA is this server's own; nothing but its agents trusts it
_BACKDATED = timedelta(hours=1)  # for agents whose clock is a little behind


@frozen(kw_only=True)
class Issued:
    """A certificate and its private key, both PEM."""

    key_pem: bytes = field(repr=False)
    certificate_pem: bytes


def make_authority(name: str) -> Issued:
    """A new authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    certificate = (
        _builder(subject, subject, key.public_key(), _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Issued(key_pem=_key_pem(key), certificate_pem=_pem(certificate))


def issue(authority: Issued, names: Sequence[str]) -> Issued:
    """A server certificate for host names and addresses, the first of them its common name.

    :raise ValueError: the authority's PEM is none
    """
    authority_certificate = x509.load_pem_x509_certificate(authority.certificate_pem)
    authority_key = serialization.load_pem_private_key(authority.key_pem, None)
    if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
        raise TypeError("expected the authority's key to be an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    certificate = (
        _builder(subject, authority_certificate.subject, key.public_key(), _SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return Issued(key_pem=_key_pem(key), certificate_pem=_pem(certificate))


def is_for(certificate_pem: bytes, names: Sequence[str]) -> bool:
    """Whether a certificate names the first of `names`; true for one that an operator has put there."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    try:
        said = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return True
    ours = "pushyd " in certificate.issuer.rfc4514_string()
    return not ours or _general_name(names[0]) in said


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


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
