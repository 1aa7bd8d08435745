"""The vectors that the original Ruby libraries made, and the keys that go with them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from pushy_protocol.keys import make_rsa_key, parse_private_key

_DIRECTORY = Path(__file__).parent.parent / "vectors"


def load(name: str) -> dict[str, Any]:
    """A file of vectors."""
    value: dict[str, Any] = json.loads((_DIRECTORY / f"{name}.json").read_text())
    return value


@cache
def vector_key() -> RSAPrivateKey:
    """The key that made every vector."""
    return parse_private_key(load("http_signing")["private_key"].encode())


@cache
def other_key() -> RSAPrivateKey:
    """A key that made none of them; made once, as that takes a while."""
    return make_rsa_key()
