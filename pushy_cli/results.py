"""Results as JSON or YAML (``-F json``, ``-F yaml``): the API's own shapes, with keys in a fixed order."""

from typing import Any

import msgspec

from pushy_protocol.api import encode


def structured(value: object, kind: str, **added: Any) -> str:
    """A value of the API as a document, with keys of ours after its own.

    :param kind: ``json`` or ``yaml``
    """
    plain = msgspec.to_builtins(value)
    if added:
        plain = {**plain, **added}
    if kind == "yaml":
        import yaml  # not needed by the others, and slow to import

        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return msgspec.json.format(encode(plain), indent=2).decode()
