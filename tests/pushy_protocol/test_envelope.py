"""Headers of messages: the original's vectors, every one-bit change of them, and hostile headers."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import example, given
from hypothesis import strategies as st

from pushy_protocol.envelope import MAX_HEADER_BYTES, EnvelopeError, SessionSigner, sign_rsa, verify_rsa
from tests.pushy_protocol.vectors import load, other_key, vector_key

VECTOR = load("envelope")
BODY = VECTOR["body"].encode()
SESSION_KEY = bytes.fromhex(VECTOR["session_key"])
HMAC, RSA, WRAPPED = (VECTOR[name].encode() for name in ("hmac_sha256", "rsa2048_sha1", "rsa2048_sha1_wrapped"))

Verify = Callable[[bytes, bytes], None]


def as_hmac(header: bytes, body: bytes = BODY) -> None:
    SessionSigner(SESSION_KEY).verify(header, body)


def as_rsa(header: bytes, body: bytes = BODY) -> None:
    verify_rsa(header, body, vector_key().public_key())


both = pytest.mark.parametrize(
    ("verify", "header"),
    [
        pytest.param(as_hmac, HMAC, id="hmac_sha256"),
        pytest.param(as_rsa, RSA, id="rsa2048_sha1"),
        pytest.param(as_rsa, WRAPPED, id="rsa2048_sha1, wrapped"),
    ],
)


def one_bit_changes(text: bytes) -> list[bytes]:
    return [
        text[:place] + bytes([text[place] ^ 1 << bit]) + text[place + 1 :]
        for place in range(len(text))
        for bit in range(8)
    ]


def passing(verify: Verify, pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    def passes(header: bytes, body: bytes) -> bool:
        try:
            verify(header, body)
        except EnvelopeError:
            return False
        return True

    return [pair for pair in pairs if passes(*pair)]


@both
def test_the_vector_verifies(verify: Verify, header: bytes) -> None:
    verify(header, BODY)


def test_we_sign_as_the_original_does() -> None:
    assert SessionSigner(SESSION_KEY).sign(BODY) == HMAC
    assert sign_rsa(vector_key(), BODY) == RSA


def test_a_wrapped_hmac_verifies_too() -> None:
    as_hmac(HMAC[:60] + b"\n" + HMAC[60:] + b"\n")


@both
def test_every_one_bit_change_of_the_header_fails(verify: Verify, header: bytes) -> None:
    assert passing(verify, [(changed, BODY) for changed in one_bit_changes(header)]) == []


@both
def test_every_one_bit_change_of_the_body_fails(verify: Verify, header: bytes) -> None:
    assert passing(verify, [(header, changed) for changed in one_bit_changes(BODY)]) == []


@both
def test_every_shortening_fails(verify: Verify, header: bytes) -> None:
    assert passing(verify, [(header[:end], BODY) for end in range(len(header))]) == []


def test_another_key_fails() -> None:
    for changed in one_bit_changes(SESSION_KEY):
        with pytest.raises(EnvelopeError, match=r"^the signature is not the body's$"):
            SessionSigner(changed).verify(HMAC, BODY)
    with pytest.raises(EnvelopeError, match=r"^the signature is not the body's$"):
        verify_rsa(RSA, BODY, other_key().public_key())


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"", "form"),
        (b"Version:2.0;SigningMethod:hmac_sha256", "form"),
        (b"Version:2.0;SigningMethod:hmac_sha256;Signature", "form"),
        (b"Version:2.0;Signature:AAAA", "form"),
        (b"SigningMethod:hmac_sha256;Signature:AAAA", "form"),
        (b"SigningMethod:hmac_sha256;Version:2.0;Signature:AAAA", "form"),
        (b"version:2.0;signingmethod:hmac_sha256;signature:AAAA", "form"),
        (b"Version:2.0;SigningMethod:md5;Signature:AAAA;More:1", "form"),
        (b"Version:1.0;SigningMethod:hmac_sha256;Signature:AAAA", "Version is not 2.0"),
        (b"Version:;SigningMethod:hmac_sha256;Signature:AAAA", "Version is not 2.0"),
        (b"Version:2.0;SigningMethod:md5;Signature:AAAA", "SigningMethod is unknown"),
        (b"Version:2.0;SigningMethod:;Signature:AAAA", "SigningMethod is unknown"),
        (b"Version:2.0;SigningMethod:\xff;Signature:AAAA", "SigningMethod is unknown"),
    ],
)
def test_a_header_that_is_none_is_told_why(header: bytes, reason: str) -> None:
    for verify in (as_hmac, as_rsa):
        with pytest.raises(EnvelopeError, match=reason):
            verify(header)


@pytest.mark.parametrize(("verify", "header"), [(as_hmac, RSA), (as_rsa, HMAC)])
def test_the_method_must_be_that_of_the_channel(verify: Callable[[bytes], None], header: bytes) -> None:
    with pytest.raises(EnvelopeError, match="SigningMethod is not that of this channel"):
        verify(header)


@both
def test_the_header_has_a_limit(verify: Verify, header: bytes) -> None:
    assert MAX_HEADER_BYTES == 2048
    room = b"\n" * (MAX_HEADER_BYTES - len(header))
    verify(header + room, BODY)
    with pytest.raises(EnvelopeError, match="the header has 2049 bytes, at most 2048"):
        verify(header + room + b"\n", BODY)


def test_a_signature_of_something_else_under_the_right_key_fails() -> None:
    # PKCS#1 with a DigestInfo, as rsa2048_sha1 does not have.
    signature = b64encode(vector_key().sign(BODY, padding.PKCS1v15(), hashes.SHA256()))
    with pytest.raises(EnvelopeError, match=r"^the signature is not the body's$"):
        as_rsa(RSA[: RSA.index(b"Signature:") + 10] + signature)


@pytest.mark.parametrize("signature", [b"A", b"=", b"\xff\xfe", b"A" * 1000, b"AAAA", b"AA==BB==", b" "])
def test_what_is_no_signature_fails(signature: bytes) -> None:
    for verify, header in ((as_hmac, HMAC), (as_rsa, RSA)):
        with pytest.raises(EnvelopeError, match=r"^the signature is not the body's$"):
            verify(header[: header.index(b"Signature:") + 10] + signature)


@given(key=st.binary(min_size=32, max_size=32), body=st.binary())
def test_an_hmac_verifies_and_is_of_the_body(key: bytes, body: bytes) -> None:
    signer = SessionSigner(key)
    header = signer.sign(body)
    assert b64decode(header.rpartition(b":")[2]) == hmac.digest(key, body, "sha256")
    signer.verify(header, body)
    with pytest.raises(EnvelopeError):
        signer.verify(header, body + b" ")


@given(body=st.binary())
def test_an_rsa_signature_verifies_and_is_of_the_body(body: bytes) -> None:
    header = sign_rsa(vector_key(), body)
    verify_rsa(header, body, vector_key().public_key())
    with pytest.raises(EnvelopeError):
        verify_rsa(header, body + b" ", vector_key().public_key())


PARTS = st.sampled_from([b"Version:", b"2.0", b";", b"SigningMethod:", b"hmac_sha256", b"rsa2048_sha1", b"Signature:"])


@given(
    header=st.one_of(
        st.binary(max_size=3000),
        st.lists(st.one_of(PARTS, st.binary(max_size=9))).map(b"".join),
        st.binary().map(lambda tail: HMAC[: HMAC.index(b"Signature:") + 10] + tail),
        st.binary().map(lambda tail: RSA[: RSA.index(b"Signature:") + 10] + b64encode(tail)),
    )
)
@example(b"Version:2.0;SigningMethod:hmac_sha256;Signature:" + b"\n" * 2000)
def test_arbitrary_headers_only_raise_envelope_errors(header: bytes) -> None:
    for verify in (as_hmac, as_rsa):
        with pytest.raises(EnvelopeError):
            verify(header)
