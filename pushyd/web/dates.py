"""Dates as callers write them: RFC 3339, RFC 1123 (as the API itself writes them), or a day."""

import re
from datetime import UTC, datetime

from pushy_protocol.timestamps import parse_rfc1123

FORMS = "2026-01-31, 2026-01-31T12:00:00Z or Sat, 31 Jan 2026 12:00:00 GMT"

_DAY = r"\d{4}-\d\d-\d\d"
_RFC3339 = re.compile(rf"{_DAY}[Tt ]\d\d:\d\d:\d\d(\.\d{{1,6}})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_date(text: str) -> float:
    """Seconds since the epoch; a day is its beginning, in UTC.

    :raise ValueError: it has none of the three forms, or there is no such time
    """
    try:
        if re.fullmatch(_DAY, text, re.ASCII):
            return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        if _RFC3339.fullmatch(text):
            return datetime.fromisoformat(text.upper()).timestamp()
        return parse_rfc1123(text)
    except (ValueError, OverflowError):
        raise ValueError(f"expected a date such as {FORMS}") from None
