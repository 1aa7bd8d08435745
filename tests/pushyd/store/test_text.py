"""The escaping of text: nothing is lost, and what comes out can be stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushyd.store.text import escape, unescape

hostile = st.text(st.characters(exclude_categories=()) | st.sampled_from("\0\ud800\udfff\ufdd00d8f"))


@given(hostile)
def test_every_text_comes_back(text: str) -> None:
    assert unescape(escape(text)) == text


@given(hostile)
def test_what_is_stored_can_be(text: str) -> None:
    assert "\0" not in escape(text)
    escape(text).encode()  # no lone surrogate


@given(hostile, hostile)
def test_different_texts_stay_different(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


@pytest.mark.parametrize("text", ["", "plain", "%_\\'\"", "Grüße, 世界 🎉", "\x01\x1f\x7f\n", "\ufdcf\ufdd1\ufffe"])
def test_all_other_text_is_stored_as_it_is(text: str) -> None:
    assert escape(text) == text


def test_the_three_that_are_not() -> None:
    assert escape("a\0\udc80\ufdd0") == "a\ufdd00000\ufdd0dc80\ufdd0fdd0"


def test_an_escape_that_we_did_not_write_is_left_alone() -> None:
    assert unescape("\ufdd0xyz") == "\ufdd0xyz"
