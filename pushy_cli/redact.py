"""JSON bodies as ``--verbose`` shows them: short, and without what may be secret."""

import json
from typing import Any

MAX_SHOWN = 2000
"""Characters of a body that are shown."""

_HIDDEN = "(hidden)"
_SECRETS = {"file", "private_key", "encoded_session_key", "password"}


def redacted(body: bytes) -> str:
    """A body's JSON in one line, without the values of environment variables, files and keys.

    What is not JSON is not shown, because it cannot be told what is secret in it.
    """
    if not body:
        return ""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return f"{len(body)} bytes that are not JSON"
    text = json.dumps(_without_secrets(value))
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(body)} bytes)"


def _without_secrets(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _hide(key, item) for key, item in value.items()}


def _hide(key: str, value: Any) -> Any:
    if key in _SECRETS:
        return _HIDDEN
    if key == "env":
        return dict.fromkeys(value, _HIDDEN) if isinstance(value, dict) else _HIDDEN
    return _without_secrets(value)
