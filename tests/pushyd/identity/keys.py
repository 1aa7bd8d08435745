"""Keys for the principals of the tests; each is made once, as that takes a while."""

from functools import cache

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from pushy_protocol.keys import make_rsa_key, public_pem


@cache
def key_of(name: str) -> RSAPrivateKey:
    """The key that goes by this name."""
    return make_rsa_key()


def pem_of(name: str) -> str:
    """Its public half, as PEM."""
    return public_pem(key_of(name).public_key())
