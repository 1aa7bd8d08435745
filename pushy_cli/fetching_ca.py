"""``config fetch-ca``: the certificate of a server that is not trusted yet, to be compared, then trusted.

Nothing but the TLS handshake is done with the server; no request and no signature is sent to it.
"""

import re
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.web.client import URI
from zope.interface import implementer

from pushy_cli.context import own_certificates
from pushy_cli.errors import CliError, ConfigurationError, Untrusted
from pushy_cli.faults import no_answer
from pushy_cli.proxy import ProxyEndpoints, proxy_for
from pushy_cli.render import fact_lines, plain
from pushy_cli.session import Session
from pushy_cli.tls import Policy
from pushy_protocol.tls import Unverified


async def fetch(session: Session, url: str | None, fingerprint: str | None) -> int:
    """Show the certificate, and trust it if it is the one that is meant.

    :param url: of the server; without one, that of the settings
    :param fingerprint: SHA-256 that it must have; without one, the user is asked
    """
    url = url or session.given.get("server_url") or session.settings.server_url
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ConfigurationError(f"Expected https://HOST[:PORT], got {url!r}", "Give the server's URL.")
    chain = await _chain(session, url)
    certificate = _to_trust(chain)
    found = certificate.fingerprint(SHA256())
    facts = {
        "Server": f"{parts.scheme}://{parts.netloc}",
        "Certificate": plain(certificate.subject.rfc4514_string()) + (" (a CA)" if certificate is not chain[0] else ""),
        "Issued by": plain(certificate.issuer.rfc4514_string()),
        "Valid": f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}",
        "SHA-256": found.hex(":").upper(),
    }
    session.console.note(fact_lines(facts, session.console.err_style))
    if fingerprint is None:
        await session.confirm(
            "Trust it? Say yes only if its SHA-256 is the one that you know.", otherwise="Give --fingerprint SHA256."
        )
    elif re.sub("[^0-9a-f]", "", fingerprint.lower()) != found.hex():
        raise Untrusted("The fingerprint is another one", "Trust nothing; ask who runs the server.")
    path = own_certificates(session.place.home) / f"{re.sub('[^A-Za-z0-9.-]', '_', parts.hostname)}.pem"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}", "Mend its permissions.") from None
    session.show(
        {"file": str(path), "sha256": found.hex()},
        names=[str(path)],
        text=lambda _style: f"Trusted from now on: {path}",
    )
    return 0


def _to_trust(chain: list[x509.Certificate]) -> x509.Certificate:
    """The CA at the chain's end, which outlives the server's own; else the server's own."""
    last = chain[-1]
    return last if last.subject == last.issuer else chain[0]


async def _chain(session: Session, url: str) -> list[x509.Certificate]:
    """The certificates that the server shows, its own first."""
    uri = URI.fromBytes(url.encode("ascii"))
    timeout = session.given.get("request_timeout", 30.0)
    if proxy := proxy_for(url, session.place.environment):
        endpoint = ProxyEndpoints(session.reactor, proxy, Policy(trusted=(), verify=False), timeout).endpointForURI(uri)
    else:
        # To mypy, zope's interfaces are classes that nobody is an instance of.
        creator: Any = Unverified(uri.host)
        plain_endpoint: Any = HostnameEndpoint(session.reactor, uri.host, uri.port, timeout)
        endpoint = wrapClientTLS(creator, plain_endpoint)
    protocol: _Handshake | None = None
    try:
        protocol = await endpoint.connect(Factory.forProtocol(_Handshake))
        timer = session.clock.callLater(timeout, protocol.chain.cancel)
        try:
            return await protocol.chain
        finally:
            if timer.active():
                timer.cancel()
    except CliError:
        raise
    except Exception as error:
        raise no_answer([error], origin=url, seconds=timeout) from error
    finally:
        if protocol is not None:
            protocol.transport.abortConnection()


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """Takes the chain when the handshake is done."""

    transport: Any

    def __init__(self) -> None:
        self.chain: Deferred[list[x509.Certificate]] = Deferred()

    def handshakeCompleted(self) -> None:
        """TLS holds; Twisted calls it."""
        connection: SSL.Connection = self.transport.getHandle()
        shown = connection.get_peer_cert_chain(as_cryptography=True) or []
        if not self.chain.called:
            self.chain.callback(list(shown))

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]  # as Twisted declares it
        if not self.chain.called:
            self.chain.errback(reason)
