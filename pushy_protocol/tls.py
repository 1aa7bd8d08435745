"""Whom a program takes for its server: the system's authorities and the certificates of its settings.

The name in the server's certificate is checked against that in the URL (by service-identity, within Twisted).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, cast

from OpenSSL import SSL, crypto
from twisted.internet.abstract import isIPAddress
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS, platformTrust
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer


class NoCertificates(ValueError):
    """A file has no certificate that can be read; its path is the first argument."""


class ConnectionCreator(Protocol):
    """Twisted's `IOpenSSLClientConnectionCreator`, so that mypy knows it."""

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol, /) -> SSL.Connection:
        """A TLS connection, not yet connected."""


@implementer(IPolicyForHTTPS)
class Policy:
    """How a server's certificate is checked."""

    def __init__(self, *, trusted: Iterable[Path], verify: bool) -> None:
        """:param trusted: PEM files of certificates that are trusted besides the system's
        :param verify: False believes everybody (Chef's `verify_none`)
        :raise NoCertificates: one of the files has none
        """
        self._trusted = tuple(trusted)
        self._verify = verify
        self._creators: dict[bytes, ConnectionCreator] = {}  # Twisted asks before each request, connected or not
        _load(crypto.X509Store(), self._trusted)  # what is wrong with them is better said before a connection

    def creatorForNetloc(self, hostname: bytes, port: int) -> ConnectionCreator:
        """What makes connections to that server; Twisted calls it."""
        if hostname not in self._creators:
            self._creators[hostname] = self._creator(hostname)
        return self._creators[hostname]

    def _creator(self, hostname: bytes) -> ConnectionCreator:
        if not self._verify:
            return Unverified(hostname)
        options = optionsForClientTLS(hostname.decode("ascii"), trustRoot=platformTrust())
        return _Verified(cast("ConnectionCreator", options), self._trusted)


@implementer(IOpenSSLClientConnectionCreator)
class _Verified:
    """Adds certificates to what connections trust: Twisted takes the system's or a list, not both."""

    def __init__(self, options: ConnectionCreator, trusted: tuple[Path, ...]) -> None:
        self._options = options
        self._trusted = trusted
        self._is_loaded = False

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol, /) -> SSL.Connection:
        connection = self._options.clientConnectionForTLS(protocol)
        if not self._is_loaded:  # into the context, which all connections have
            store = connection.get_context().get_cert_store()
            assert store is not None
            _load(store, self._trusted)
            self._is_loaded = True
        return connection


@implementer(IOpenSSLClientConnectionCreator)
class Unverified:
    """Makes connections that believe whoever answers; the server is still told which name is asked for."""

    def __init__(self, hostname: bytes) -> None:
        self._hostname = hostname

    def clientConnectionForTLS(self, _protocol: TLSMemoryBIOProtocol, /) -> SSL.Connection:
        """A TLS connection, not yet connected."""
        connection = SSL.Connection(CertificateOptions(verify=False).getContext(), None)
        if not isIPAddress(self._hostname.decode("ascii")) and b":" not in self._hostname:
            connection.set_tlsext_host_name(self._hostname)
        return connection


def _load(store: crypto.X509Store, trusted: Iterable[Path]) -> None:
    # A server's own certificate may be trusted too, without the CA's that signed it.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for path in trusted:
        try:
            store.load_locations(str(path))
        except crypto.Error:
            raise NoCertificates(path) from None
