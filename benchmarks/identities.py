"""The identities of simulated nodes: a 2,048-bit RSA key each, made in microseconds instead of a tenth of a second.

Every node has a modulus of its own, so a server has as much to do with it as with any other. But the primes are shared:
of 142 of them 10,011 pairs can be made. Who knows one node's key can find the others', which is no matter here.
"""

import json
from collections.abc import Sequence
from math import isqrt, lcm
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from pushy_protocol.keys import make_rsa_key

_EXPONENT = 65537


def make_primes(count: int) -> list[int]:
    """Enough primes for `count` nodes."""
    primes: list[int] = []
    while len(primes) * (len(primes) - 1) // 2 < count:
        numbers = make_rsa_key().private_numbers()
        primes += [numbers.p, numbers.q]
    return primes


def load_primes(path: Path, count: int) -> list[int]:
    """The primes in a file; more are made, and kept there, where they are not enough."""
    primes: list[int] = json.loads(path.read_text()) if path.exists() else []
    if len(primes) * (len(primes) - 1) // 2 < count:
        primes = make_primes(count)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(primes))
    return primes


def private_key(primes: Sequence[int], index: int) -> RSAPrivateKey:
    """The key of a node, by its number."""
    # Pairs in the order (1, 0), (2, 0), (2, 1), (3, 0), …: they stay the same however many primes there are.
    row = (1 + isqrt(1 + 8 * index)) // 2
    p, q = primes[row], primes[index - row * (row - 1) // 2]
    d = pow(_EXPONENT, -1, lcm(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=d % (p - 1),
        dmq1=d % (q - 1),
        iqmp=pow(q, -1, p),
        public_numbers=rsa.RSAPublicNumbers(_EXPONENT, p * q),
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def node_name(index: int) -> str:
    """The name of a node, by its number."""
    return f"node-{index:05}"
