"""Requests by Twisted's client, and what an operator reads of those that fail."""

from pathlib import Path

from OpenSSL import SSL
from twisted.internet.error import ConnectError, ConnectionLost, DNSLookupError, NoRouteError

from pushy_protocol.https import Answer, SignedClient, explain, make_client
from pushy_protocol.tls import Policy
from tests.pushy_protocol import signed_client_case


class RequestTests(signed_client_case.SignedClientCase):
    def client(self, trusted: tuple[Path, ...], verify: bool) -> SignedClient:
        http = make_client(self.reactor, Policy(trusted=trusted, verify=verify))
        return SignedClient(http, self.clock, lambda: signed_client_case.NOW)


def test_error_of_an_answer() -> None:
    assert Answer(status=401, body=b'{"error":["a","b"]}').error() == "HTTP 401: a; b"
    assert Answer(status=413, body=b'{"error":"too long"}').error() == "HTTP 413: too long"
    assert Answer(status=502, body=b"<html>\n bad   gateway").error() == "HTTP 502: <html> bad gateway"
    assert Answer(status=500, body=b"").error() == "HTTP 500: no text"


def test_causes() -> None:
    for error, said in (
        (DNSLookupError("x"), "DNS: no address for push.example"),
        (NoRouteError(), "no route to the host"),
        (ConnectionLost(), "the connection was closed before the answer"),
        (ConnectError("odd"), "connection failed: An error occurred while connecting: odd."),
        (SSL.Error([]), "TLS: the handshake was broken off"),
        (RuntimeError("odd"), "RuntimeError: odd"),
    ):
        assert explain(error, "push.example") == said
