"""Results as JSON (``-F json``): the API's own shapes, indented, with keys in a fixed order."""

from typing import Any

import msgspec

from pushy_protocol.api import encode


def to_json(value: object, **added: Any) -> str:
    """A value of the API as JSON, with keys of ours after its own."""
    data = encode({**msgspec.to_builtins(value), **added} if added else value)
    return msgspec.json.format(data, indent=2).decode()
