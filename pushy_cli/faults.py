"""The errors of the network and of a server's answers, as a person understands them. Nothing is sent from here."""

from collections.abc import Sequence
from http import HTTPStatus

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as Refusal
from twisted.internet.error import TimeoutError as ConnectTimeout

from pushy_cli.context import Settings
from pushy_cli.errors import (
    CliError,
    Conflict,
    Garbage,
    NoAnswer,
    NotFound,
    NotOffered,
    Refused,
    Rejected,
    ServerFault,
    Unreachable,
    Untrusted,
)
from pushy_cli.render import plain
from pushy_protocol import api

_MAX_TEXT = 500
_BUSY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_WRONG = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}


def no_answer(causes: Sequence[BaseException], *, origin: str, seconds: float) -> CliError:
    """The error for a connection or an exchange that failed.

    :param origin: the server's URL without a path
    :param seconds: how long was waited
    """
    for cause in causes:
        if isinstance(cause, VerificationError):
            return Untrusted(
                f"The certificate of {origin} is for another name",
                "Use the name that is in its certificate as the server's URL.",
            )
        if isinstance(cause, SSL.Error) and "certificate verify failed" in str(cause):
            return Untrusted(
                f"The certificate of {origin} is signed by nobody who is trusted here",
                "If the server is yours: pushy config fetch-ca, or name its CA's certificate with --ca-file.",
            )
    never_sent = any(isinstance(cause, DNSLookupError | Refusal | ProxyRefusal) for cause in causes)
    return (Unreachable if never_sent else NoAnswer)(
        f"Cannot reach {origin}: {_reason(causes, seconds)}",
        "Check the server's URL, the network, and that pushyd runs there; pushy config check looks step by step.",
    )


def refusal(status: int, body: bytes, *, origin: str, settings: Settings) -> CliError:
    """The error for an answer that is one."""
    text = _error_text(body)
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "unknown status"
    said = text or f"{status} {phrase}"
    name = settings.client_name
    if status == HTTPStatus.UNAUTHORIZED:
        return Refused(
            f"The server does not accept '{name}' with the key of {settings.key_source}: {said}",
            "Set this machine's clock, by NTP; pushy config check tells how far it is off."
            if "Synchronize the clock" in said
            else "Check the client's name, that this is its key, and this machine's clock.",
        )
    if status == HTTPStatus.FORBIDDEN:
        return Refused(
            f"The server does not allow this to '{name}': {said}",
            "An administrator can add it to group pushy_job_writers (to run) or pushy_job_readers (to look).",
        )
    if status == HTTPStatus.NOT_FOUND:
        return NotFound(f"{origin}: {said}", "Check the organization in the server's URL.")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return NotOffered(f"{origin} does not offer this: {said}", "It may be an older push server.")
    if status == HTTPStatus.CONFLICT:
        return Conflict(f"The server cannot do this now: {said}", "Look how things stand, then decide anew.")
    if 500 <= status < 600 or status in _BUSY:
        return ServerFault(
            f"{origin} is at fault: {said} (status {status})", "Try again, and look into the server's log."
        )
    if status in _WRONG:
        return Rejected(f"The server refuses the request: {said}", "Mend the request, or look into its help.")
    return Garbage(f"{origin} answered with status {status} {phrase}", "Check the server's URL.")


class ProxyRefusal(Exception):
    """The proxy does not connect us."""


def _reason(causes: Sequence[BaseException], timeout: float) -> str:
    """In a few words, why there was no answer."""
    for cause in causes:
        match cause:
            case ConnectTimeout():
                return f"no answer within {timeout:g} s"
            case DNSLookupError():
                return "its name is not known"
            case Refusal():
                return "connection refused"
            case SSL.Error():
                return "it does not speak TLS as we do"
            case ProxyRefusal():
                return str(cause)
            case ConnectError():
                return str(cause).rstrip(".")
    if any(isinstance(cause, ConnectionClosed) for cause in causes):
        return "the connection was closed before there was an answer"
    return f"{type(causes[0]).__name__}: {causes[0]}"


def _error_text(body: bytes) -> str:
    """What an error's body says; nothing where it is not in the API's form."""
    try:
        said = api.decode(body[: 64 * 1024], api.ErrorBody).error
    except api.InvalidRequest:
        return ""
    return plain(said if isinstance(said, str) else "; ".join(said))[:_MAX_TEXT]
