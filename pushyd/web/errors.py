"""Errors as the API answers them: JSON, with the status and the text that each kind has. One place for all of them."""

from collections.abc import Callable, Mapping
from uuid import uuid4

from attrs import field, frozen
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from pushy_protocol.api import ErrorBody, InvalidRequest, encode
from pushy_protocol.http_signing import SigningError
from pushyd.identity.authenticate import NotAssociated
from pushyd.identity.interface import IdentityUnavailable, UnknownOrganization
from pushyd.store.interface import StoreUnavailable

JSON = "application/json"


class ApiError(Exception):
    """An answer that is an error: its HTTP status and texts."""

    def __init__(self, status: int, *texts: str) -> None:
        super().__init__(status, *texts)
        self.status = status
        self.texts = texts


@frozen(kw_only=True)
class Response:
    """What is answered."""

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    content_type: str = JSON
    headers: Mapping[str, str] = field(factory=dict)


def json_response(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(status=status, body=encode(value), headers=headers or {})


def _error(status: int, *texts: str, headers: Mapping[str, str] | None = None) -> Response:
    return json_response(ErrorBody(error=list(texts)), status=status, headers=headers)


_ANSWERS: list[tuple[type[Exception], Callable[..., Response]]] = [
    (ApiError, lambda error: _error(error.status, *error.texts)),
    (SigningError, lambda error: _error(error.status, str(error))),
    (InvalidRequest, lambda error: _error(400, *error.args)),
    (NotAssociated, lambda error: _error(403, str(error))),
    (UnknownOrganization, lambda error: _error(404, str(error))),
    (IdentityUnavailable, lambda error: _error(502, str(error))),
    (StoreUnavailable, lambda _: _error(503, "The server cannot reach its database. Try again.")),
    (
        MethodNotAllowed,
        lambda error: _error(
            405, "Method not allowed.", headers={"Allow": ", ".join(sorted(error.valid_methods or ()))}
        ),
    ),
    (HTTPException, lambda error: _error(error.code or 500, f"{error.name}.")),
]


def answer_to(failure: Failure, log: Logger) -> Response:
    """The answer to a request that raised. What nobody expected is logged under an id, and only the id is told."""
    if failure.check(StoreUnavailable):
        # The driver's words have names and addresses in them, and it may be a stranger who is answered.
        log.error("A request failed, the database cannot be reached: {error}", error=failure.value)
    for kind, make in _ANSWERS:
        if failure.check(kind):
            return make(failure.value)
    incident = uuid4().hex[:12]
    log.failure("A request failed (incident {incident})", failure, incident=incident)
    return _error(500, f"Internal error; the server's log has it as incident {incident}.")
