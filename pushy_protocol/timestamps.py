"""The two spellings of time in the protocol: RFC 1123 in messages and jobs, ISO 8601 in signatures."""

from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache


def format_rfc1123(epoch: float) -> str:
    """Seconds since the epoch as ``Tue, 04 Sep 2012 23:01:02 GMT``."""
    return formatdate(epoch, usegmt=True)


# Ten thousand nodes send the same second's text: parsing it once is enough.
@lru_cache(maxsize=256)
def parse_rfc1123(text: str) -> float:
    """Seconds since the epoch of an RFC 1123 date.

    :raise ValueError: it is not one.
    """
    if len(text) > 64:
        raise ValueError("expected an RFC 1123 date")
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise ValueError("expected an RFC 1123 date") from error


def format_iso8601(epoch: float) -> str:
    """Seconds since the epoch as ``2026-01-31T12:00:00Z``, the form of ``X-Ops-Timestamp``."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_iso8601(text: str) -> float:
    """Seconds since the epoch of ``2026-01-31T12:00:00Z``.

    :raise ValueError: it is not in that form.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
