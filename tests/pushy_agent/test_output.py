"""Outputs within bounds, and messages that hold what they can of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_agent.output import Capture, Captured, fit


def capture(pieces: list[bytes], limit: int) -> Captured:
    taking = Capture(limit)
    for piece in pieces:
        taking.add(piece)
    return taking.captured()


@given(pieces=st.lists(st.binary(max_size=50)), limit=st.integers(0, 100))
def test_head_and_tail_are_the_ends_of_the_whole(pieces: list[bytes], limit: int) -> None:
    whole = b"".join(pieces)
    kept = capture(pieces, limit)
    assert len(kept.head) + len(kept.tail) + kept.left_out == len(whole)
    assert len(kept.head) + len(kept.tail) == min(limit, len(whole))
    assert whole.startswith(kept.head)
    assert whole.endswith(kept.tail)


@given(whole=st.binary(max_size=200), first=st.integers(0, 100), second=st.integers(0, 100))
def test_cutting_twice_is_cutting_to_the_smaller(whole: bytes, first: int, second: int) -> None:
    twice, once = capture([whole], first).cut(second), capture([whole], min(first, second))
    assert (twice.text(), twice.left_out) == (once.text(), once.left_out)
    cut = Captured(head=whole).cut(first)
    assert (cut.left_out, len(cut.head) + len(cut.tail)) == (max(0, len(whole) - first), min(len(whole), first))


@pytest.mark.parametrize(
    ("captured", "text"),
    [
        (Captured(head=b""), ""),
        (Captured(head=b"a\n", tail=b"b\n"), "a\nb\n"),
        (Captured(head=b"a\n", tail=b"z\n", left_out=7), "a\n[... 7 bytes left out ...]\nz\n"),
        (Captured(head=b"a", tail=b"z", left_out=7), "a\n[... 7 bytes left out ...]\nz"),
        (Captured(head=b"", tail=b"z", left_out=7), "[... 7 bytes left out ...]\nz"),
        (Captured(head=b"\xff\xfe", tail=b"\xe2\x82\xac"), "��€"),
        # "€" cut in the middle, at both ends: no replacement characters, but two and one bytes more left out.
        (Captured(head=b"a\xe2\x82", tail=b"\xacz", left_out=5), "a\n[... 8 bytes left out ...]\nz"),
    ],
)
def test_text(captured: Captured, text: str) -> None:
    assert captured.text() == text


def encode(stdout: str, stderr: str) -> bytes:
    return json.dumps({"stdout": stdout, "stderr": stderr}).encode()


@given(stdout=st.binary(max_size=2000), stderr=st.binary(max_size=2000), limit=st.integers(150, 3000))
def test_a_body_fits_and_is_never_empty(stdout: bytes, stderr: bytes, limit: int) -> None:
    body = fit(encode, Captured(head=stdout), Captured(head=stderr), limit)
    assert len(body) <= limit
    decoded = json.loads(body)
    for channel, whole in (("stdout", stdout), ("stderr", stderr)):
        if whole:
            assert decoded[channel]


def test_the_longer_output_is_cut_first() -> None:
    body = json.loads(fit(encode, Captured(head=b"o" * 100_000), Captured(head=b"short"), 1000))
    assert body["stderr"] == "short"
    assert 900 < len(json.dumps(body)) <= 1000


def test_what_fits_is_left_alone() -> None:
    stdout, stderr = Captured(head=b"out"), Captured(head=b"err")
    assert fit(encode, stdout, stderr, 100) == encode("out", "err")
