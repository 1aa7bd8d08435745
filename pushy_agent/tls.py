"""Whom the agent takes for its server: the system's authorities and the certificates of the settings.

The name in the certificate is checked against that in the URL (by service-identity, within Twisted).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from OpenSSL import SSL
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS, platformTrust
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer


class ConnectionCreator(Protocol):
    """Twisted's `IOpenSSLClientConnectionCreator`, so that mypy knows it."""

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol, /) -> SSL.Connection:
        """A TLS connection, not yet connected."""


@implementer(IPolicyForHTTPS)
class Policy:
    """How a server's certificate is checked."""

    def __init__(self, *, trusted: Sequence[Path], verify: bool) -> None:
        """:param trusted: PEM files of certificates that are trusted besides the system's
        :param verify: False believes everybody (`ssl_verify_mode = "verify_none"`)
        """
        self._trusted = tuple(trusted)
        self._verify = verify

    def creatorForNetloc(self, hostname: bytes, port: int) -> ConnectionCreator:
        """What makes connections to that server; Twisted calls it."""
        name = hostname.decode("ascii")
        if not self._verify:
            return _Unverified(name)
        return _Verified(cast("ConnectionCreator", optionsForClientTLS(name, trustRoot=platformTrust())), self._trusted)


@implementer(IOpenSSLClientConnectionCreator)
class _Verified:
    """Adds certificates to what is trusted: Twisted takes the system's or a list, not both."""

    def __init__(self, options: ConnectionCreator, trusted: tuple[Path, ...]) -> None:
        self._options = options
        self._trusted = trusted

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol, /) -> SSL.Connection:
        connection = self._options.clientConnectionForTLS(protocol)
        store = connection.get_context().get_cert_store()
        assert store is not None  # a new context has one
        for path in self._trusted:
            store.load_locations(str(path))
        return connection


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """TLS with whoever answers."""

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol, /) -> SSL.Connection:
        connection = SSL.Connection(CertificateOptions(verify=False).getContext(), None)
        if not (isIPAddress(self._hostname) or isIPv6Address(self._hostname)):
            connection.set_tlsext_host_name(self._hostname.encode("ascii"))  # servers with many names want to know
        return connection
