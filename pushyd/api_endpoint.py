"""Where the API listens: at an endpoint of the operator's choice, or with TLS from the state directory."""

from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL.crypto import X509, PKey
from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.ssl import CertificateOptions

from pushyd.config import Settings
from pushyd.state_dir import StateDir


def api_endpoint(reactor: Any, settings: Settings, state: StateDir) -> Any:
    """The endpoint of the API.

    :raise ValueError: `api_endpoint` is none, or what TLS needs cannot be read
    """
    description = settings.api_endpoint
    if description is None:
        return SSL4ServerEndpoint(reactor, settings.api_port, _tls(state))
    try:
        return serverFromString(reactor, description)
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"api_endpoint: expected a Twisted endpoint, got {description!r}: {error}") from None


def _tls(state: StateDir) -> CertificateOptions:
    """The certificate with all that follows it in its file, so that who does not know the CA yet can see it."""
    try:
        served, *chain = load_pem_x509_certificates(state.tls_certificate.read_bytes())
        key = load_pem_private_key(state.tls_key.read_bytes(), None)
        return CertificateOptions(
            privateKey=PKey.from_cryptography_key(key),  # type: ignore[arg-type]  # a wider union; TLS takes RSA and EC
            certificate=X509.from_cryptography(served),
            extraCertChain=[X509.from_cryptography(one) for one in chain],
        )
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"{state.tls_certificate}, {state.tls_key}: {error}") from None
