"""Where the API listens: at an endpoint of the operator's choice, or with TLS from the state directory."""

from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL.crypto import X509, PKey
from OpenSSL.SSL import Context, Error
from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import CertificateOptions
from zope.interface import implementer

from pushyd.config import Settings
from pushyd.state_dir import StateDir


@implementer(IOpenSSLContextFactory)
class Tls:
    """The TLS of the API: each new connection gets the certificate that was read last."""

    def __init__(self, state: StateDir) -> None:
        """Read it.

        :raise ValueError: it cannot be used
        """
        self._state = state
        self._context = _context(state)

    def reload(self) -> None:
        """Read it again.

        :raise ValueError: it cannot be used; the one that was there stays
        """
        self._context = _context(self._state)

    def getContext(self) -> Context:
        """For one connection."""
        return self._context


def api_endpoint(reactor: Any, settings: Settings, tls: Tls | None) -> Any:
    """The endpoint of the API.

    :param tls: for where the settings name no endpoint
    :raise ValueError: `api_endpoint` is none
    """
    description = settings.api_endpoint
    if description is None:
        return SSL4ServerEndpoint(reactor, settings.api_port, tls)
    try:
        return serverFromString(reactor, description)
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"api_endpoint: expected a Twisted endpoint, got {description!r}: {error}") from None


def _context(state: StateDir) -> Context:
    """With all that follows the certificate in its file, so that who does not know the CA yet can see it."""
    try:
        served, *chain = load_pem_x509_certificates(state.tls_certificate.read_bytes())
        key = load_pem_private_key(state.tls_key.read_bytes(), None)
        return CertificateOptions(
            privateKey=PKey.from_cryptography_key(key),  # type: ignore[arg-type]  # a wider union; TLS takes RSA and EC
            certificate=X509.from_cryptography(served),
            extraCertChain=[X509.from_cryptography(one) for one in chain],
        ).getContext()
    except (ValueError, TypeError, OSError, Error) as error:
        raise ValueError(f"{state.tls_certificate}, {state.tls_key}: {error}") from None
