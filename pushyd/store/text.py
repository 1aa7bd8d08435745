"""Any Python string as a text that both databases can hold, and back.

PostgreSQL's text cannot have NUL, and neither UTF-8 nor a driver takes lone surrogates; both come in from outside.
They are written as U+FDD0 and four hex digits, and U+FDD0 itself, which Unicode keeps out of interchange, in the same
way. So nothing is refused, nothing is lost, equal strings stay equal, and all others are stored as they are.
"""

import re

from sqlalchemy import Dialect, Text, TypeDecorator

_ESCAPE = "\ufdd0"
_UNSTORABLE = re.compile(f"[\0\ud800-\udfff{_ESCAPE}]")
_ESCAPED = re.compile(f"{_ESCAPE}([0-9a-f]{{4}})")


def escape(text: str) -> str:
    """`text` as it is stored."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub(lambda found: f"{_ESCAPE}{ord(found[0]):04x}", text)


def unescape(stored: str) -> str:
    """The text that was stored as `stored`."""
    if _ESCAPE not in stored:
        return stored
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), stored)


class AnyText(TypeDecorator[str]):
    """A column of :func:`escape`\\ d text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else escape(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """From the database."""
        return None if value is None else unescape(value)
