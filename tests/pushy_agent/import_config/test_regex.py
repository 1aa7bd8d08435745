"""Expressions of Ruby, translated or refused; what a translation matches is never more than Ruby's."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushy_agent.import_config.regex import translate
from pushy_protocol.conversion import Unconvertible
from pushy_protocol.ruby_values import Regex


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("chef-client", "chef-client"),
        ("^a (b|c)$", "^a (b|c)$"),
        (r"\Aa\z", r"\Aa\Z"),
        (r"\Aa\Z", r"\Aa\Z"),
        (r"a (\w+)", r"(?a)a (\w+)"),
        (r"[\d.]+", r"(?a)[\d.]+"),
        (r"\h\H\e", r"[0-9a-fA-F][^0-9a-fA-F]\x1b"),
        (r"[\h\e]", r"[0-9a-fA-F\x1b]"),
        ("[[:alpha:]_[:digit:]]", "[a-zA-Z_0-9]"),
        ("[]a]", "[]a]"),
        ("[^]a]", "[^]a]"),
        (r"[\]]", r"[\]]"),
        ("(?<name>a)", "(?P<name>a)"),
        (r"(?<name>a)\k<name>", r"(?P<name>a)(?P=name)"),
        (r"(a)\1", r"(a)\1"),
        ("(?:a)(?=b)(?!c)(?<=d)(?<!e)(?>f)", "(?:a)(?=b)(?!c)(?<=d)(?<!e)(?>f)"),
        ("(?m:a)(?i-mx:b)", "(?s:a)(?i-sx:b)"),
        (r"\x41\u00e9", r"\x41\u00e9"),
        (r"a\.b\/c\ d", r"a\.b\/c\ d"),
        ("a++b*+c?+", "a++b*+c?+"),
        ("é", "é"),
    ],
)
def test_what_is_translated(source: str, expected: str) -> None:
    assert translate(Regex(source)).pattern == expected


@pytest.mark.parametrize(("flags", "expected"), [("i", "(?ai)a"), ("m", "(?as)a"), ("mix", "(?aisx)a"), ("o", "a")])
def test_flags(flags: str, expected: str) -> None:
    assert translate(Regex("a", flags)).pattern == expected


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (r"\p{Alpha}", r"the expression has \p"),
        (r"\R", r"the expression has \R"),
        (r"\G", r"the expression has \G"),
        (r"a\K", r"the expression has \K"),
        (r"\0", r"the expression has \0"),
        (r"[\H]", r"the expression has \H"),
        (r"[\1]", r"the expression has \1"),
        ("[a[b]]", "the expression has brackets within brackets"),
        ("[a&&b]", "the expression has brackets within brackets"),
        ("[[:^alpha:]]", "the expression has [:^alpha:]"),
        ("[^[:alpha:]]", "the expression has [:alpha:]"),
        ("(?![[:alpha:]]).", "the expression has [:alpha:]"),
        (r"(?<!\b).", r"the expression has \b and something that may not match"),
        (r"\B", r"the expression has \B"),
        ("[[:punct:]]", "the expression has [:punct:]"),
        ("[a", "the expression has a [ without a ]"),
        ("a{2}+", "the expression has }+"),
        ("a(?i)b", "the expression has (?i) in its midst"),
        ("(?<n>a)(b)", "the expression has groups with and without a name"),
        ("(?~a)", "the expression has (?~a…"),
        ("(?#a)", "the expression has (?#a…"),
        ("(a", "the expression cannot be translated: missing ), unterminated subpattern at position 0"),
        ("a)", "the expression cannot be translated: unbalanced parenthesis at position 1"),
        ("*", "the expression cannot be translated: nothing to repeat at position 0"),
        (r"\k<n>", "the expression cannot be translated: unknown group name 'n' at position 4"),
        ("a{99999999999}", "the expression cannot be translated: the repetition number is too large"),
    ],
)
def test_what_is_refused(source: str, why: str) -> None:
    with pytest.raises(Unconvertible) as raised:
        translate(Regex(source))
    assert str(raised.value) == why


def test_flags_that_are_refused() -> None:
    with pytest.raises(Unconvertible, match=r"^the expression has the flag 'n'$"):
        translate(Regex("a", "n"))
    with pytest.raises(Unconvertible, match=r"^the expression has parentheses in a comment$"):
        translate(Regex("a # (b)", "x"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("^a$", True),
        (r"\Aa\z", True),
        (r"^a\Z", True),
        (r"^a\\$", True),
        ("^(a|b)$", True),
        ("a", False),
        ("^a", False),
        ("a$", False),
        (r"^a\$", False),
        (r"^a\\z", False),
        ("^a|b$", False),
    ],
)
def test_whether_it_was_about_whole_names(source: str, expected: bool) -> None:
    assert translate(Regex(source)).is_whole is expected


def test_groups() -> None:
    translated = translate(Regex(r"a (?<one>[^)]+ (?:b)(?<two>\w+)) c"))
    assert translated.groups == (r"[^)]+ (?:b)(?<two>\w+)", r"\w+")
    assert translated.names == {"one": 1, "two": 2}


@given(text=st.text())
def test_no_expression_makes_it_fail(text: str) -> None:
    with suppress(Unconvertible):
        re.compile(translate(Regex(text)).pattern)
