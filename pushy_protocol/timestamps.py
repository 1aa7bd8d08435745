"""The two spellings of time in the protocol: RFC 1123 in messages and jobs, ISO 8601 in signatures.

Each has one form, in UTC and whole seconds, and only that is read: the parsers of the standard library take much more
(other digits, zones, missing parts), and no program of the protocol writes it.
"""

import re
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache

_RFC1123 = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", re.ASCII)
_ISO8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


def format_rfc1123(epoch: float) -> str:
    """Seconds since the epoch as ``Tue, 04 Sep 2012 23:01:02 GMT``."""
    return _format_second(int(epoch // 1))


# Ten thousand messages in one second have the same text: making and reading it once is enough.
@lru_cache(maxsize=16)
def _format_second(epoch: int) -> str:
    return formatdate(epoch, usegmt=True)


@lru_cache(maxsize=256)
def parse_rfc1123(text: str) -> float:
    """Seconds since the epoch of ``Tue, 04 Sep 2012 23:01:02 GMT``.

    :raise ValueError: it is not in that form, or there is no such time.
    """
    if not _RFC1123.fullmatch(text):
        raise ValueError("expected an RFC 1123 date")
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError as error:
        raise ValueError("expected an RFC 1123 date") from error


def format_iso8601(epoch: float) -> str:
    """Seconds since the epoch as ``2026-01-31T12:00:00Z``, the form of ``X-Ops-Timestamp``."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_iso8601(text: str) -> float:
    """Seconds since the epoch of ``2026-01-31T12:00:00Z``.

    :raise ValueError: it is not in that form, or there is no such time.
    """
    if not _ISO8601.fullmatch(text):
        raise ValueError("expected an ISO 8601 time in UTC, such as 2026-01-31T12:00:00Z")
    return datetime.fromisoformat(text).timestamp()
