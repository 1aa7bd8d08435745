"""The query of ``pushy/jobs``: what is asked for, checked, and how the next page of a list is asked for."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from twisted.web.server import Request

from pushy_protocol.api import InvalidRequest
from pushy_protocol.states import JobStatus
from pushyd.store.interface import JobQuery
from pushyd.web.dates import parse_date

LIST_LIMIT = 1000
"""The most jobs that a list has, and how many it has where nobody says."""


def list_query(request: Request) -> JobQuery:
    """Which jobs a list shall have.

    :raise InvalidRequest: what of it cannot be taken, by its name
    """
    return JobQuery(**{"limit": LIST_LIMIT} | _arguments(request, _LIST))


def delete_before(request: Request) -> float:
    """Before when the jobs were made that shall be deleted, in seconds since the epoch.

    :raise InvalidRequest: it is not said, or cannot be taken
    """
    arguments = _arguments(request, {"before": parse_date})
    if not arguments:
        raise InvalidRequest("before: expected the date before which jobs are deleted, got nothing")
    before: float = arguments["before"]
    return before


def next_page(request: Request, last_id: str) -> str:
    """The query of the page after that whose last job is `last_id`."""
    asked = {name.decode(): values[0] for name, values in sorted(_given(request).items())}
    return urlencode({**asked, "before": last_id})


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= LIST_LIMIT):
        raise ValueError(f"expected a number from 1 to {LIST_LIMIT}")
    return int(text)


def _job_id(text: str) -> str:
    if len(text) != 32 or not set(text) <= set("0123456789abcdef"):
        raise ValueError("expected the id of a job, 32 hexadecimal digits in lower case")
    return text


def _status(text: str) -> JobStatus:
    try:
        return JobStatus(text)
    except ValueError:
        raise ValueError(f"expected one of {', '.join(JobStatus)}") from None


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("expected a text, got an empty one")
    return text


_LIST: Mapping[str, Callable[[str], Any]] = {
    "limit": _limit,
    "before": _job_id,
    "status": _status,
    "command": _not_empty,
    "node": _not_empty,
    "since": parse_date,
}


def _arguments(request: Request, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Every argument, read as `known` says; what is not known is refused, for it might be a misspelling."""
    arguments = {}
    for raw_name, values in _given(request).items():
        name = raw_name.decode("utf-8", "replace")
        if name not in known:
            raise InvalidRequest(f"{name}: expected one of {', '.join(known)}")
        if len(values) > 1:
            raise InvalidRequest(f"{name}: expected to be given once, got {len(values)} times")
        try:
            arguments[name] = known[name](values[0].decode())
        except UnicodeDecodeError:
            raise InvalidRequest(f"{name}: expected UTF-8") from None
        except ValueError as error:
            raise InvalidRequest(f"{name}: {error}") from None
    return arguments


def _given(request: Request) -> Mapping[bytes, list[bytes]]:
    return request.args or {}
