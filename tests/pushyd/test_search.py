"""Search queries: what each form of them means, how they are refused, and that none of them takes long."""

import re
import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushyd.search import MAX_DEPTH, MAX_LENGTH, MAX_TERMS, InvalidQuery, compile_query

NODE = {
    "name": ["web1"],
    "role": ["web", "base"],
    "roles": ["web", "base"],
    "recipes": ["apache2", "apache2::ssl"],
    "run_list": ["role[web]", "recipe[apache2::ssl]"],
    "platform": ["centos"],
    "platform_version": ["7.10"],
    "kernel_release": ["6.1.0-amd64"],
    "memory_total": ["8192"],
    "description": ["a web server"],
    "odd": ["a*b", "back\\slash", 'quo"te', "é"],
}


def matches(query: str, fields: Mapping[str, list[str]] = NODE) -> bool:
    compiled = compile_query(query)
    wanted = {name: values for name, values in fields.items() if compiled.wants(name)}
    result = compiled.matches(wanted)
    assert result == compiled.matches(fields), "what it does not want has no say"
    return result


@pytest.mark.parametrize(
    "query",
    [
        "*:*",
        "name:web1",
        "name:web*",
        "name:*eb*",
        "name:?eb1",
        "name:w??1",
        "name:*",
        "web1",
        "w*1",
        "*:centos",
        "plat*:centos",
        "role:web AND NOT platform:debian",
        "role:web AND role:base",
        "role:nothing OR role:base",
        "role:nothing role:base",
        "name:web1 -role:nothing",
        "+name:web1 role:nothing",
        "-role:nothing",
        "NOT role:nothing",
        "NOT (role:nothing OR platform:debian)",
        "(role:nothing OR role:web) AND platform:centos",
        "role:nothing OR role:web AND platform:centos",
        "role:(nothing OR web)",
        "role:(+web +base)",
        "kernel_release:6*",
        "name:[web0 TO web2]",
        "name:{web0 TO web2}",
        "name:[web1 TO *]",
        "name:[* TO web1]",
        "memory_total:[1024 TO 16384]",
        "memory_total:{1024 TO 8192]",
        "memory_total:>8191.5",
        "memory_total:<=8192",
        "kernel_release:[5 TO 7]",
        'description:"a web server"',
        'description:"a web*"',
        "description:a\\ web\\ server",
        "run_list:role\\[web\\]",
        'run_list:"recipe[apache2::ssl]"',
        "recipes:apache2\\:\\:ssl",
        "odd:a\\*b",
        'odd:"back\\\\slash"',
        'odd:quo\\"te',
        "odd:é",
        "name:web1^3",
        "name:***1***",
    ],
)
def test_what_it_finds(query: str) -> None:
    assert matches(query)


@pytest.mark.parametrize(
    "query",
    [
        "name:web",
        "name:WEB1",
        "name:eb1",
        "name:web1?",
        "webserver",
        "nothing:*",
        "nothing:web1",
        "role:web AND platform:debian",
        "role:web AND NOT platform:centos",
        "role:nothing role:other",
        "name:web1 -role:web",
        "name:web1 +role:nothing",
        "-role:web",
        "name:{web1 TO web2}",
        "name:[web2 TO *]",
        "memory_total:[10 TO 20]",
        "memory_total:{8192 TO 9000]",
        "memory_total:>8192",
        "description:web",
        "odd:a\\*c",
        "odd:a?",
        "od:a*",
    ],
)
def test_what_it_does_not_find(query: str) -> None:
    assert not matches(query)


@pytest.mark.parametrize(
    ("query", "position", "why"),
    [
        ("", 0, "unexpected end"),
        ("name:", 5, "unexpected end"),
        ("name:[a TO", 10, "unexpected end"),
        ("(name:a", 7, "unexpected end"),
        ("name:a)", 6, r"unexpected '\)'"),
        ("name:a AND", 10, "unexpected end"),
        ("role[web]", 8, r"unexpected '\]'"),
        ("recipes:a::b", 10, "unexpected ':'"),
        ('name:"a', 5, "illegal character"),
        ("a:b:c", 2, "a field within a field"),
        ("name:a && role:b", 7, "expected AND instead of '&&'"),
        ("name:a || role:b", 7, r"expected OR instead of '\|\|'"),
        ("name:a !role", 7, "expected NOT instead of '!'"),
        ("name:a~", 5, "fuzzy"),
        ('name:"a b"~2', 5, "proximity"),
        ("name:/a.*/", 5, "regular expressions"),
        ("(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1), MAX_DEPTH + 1, f"at most {MAX_DEPTH} levels"),
        ("NOT " * 1000 + "a", None, f"at most {MAX_DEPTH} levels"),
        ("a " * (MAX_TERMS + 1), 2 * MAX_TERMS, f"at most {MAX_TERMS} terms"),
    ],
)
def test_what_is_refused_and_where(query: str, position: int | None, why: str) -> None:
    with pytest.raises(InvalidQuery, match=why) as caught:
        compile_query(query)
    assert str(caught.value).startswith(f"invalid search query: '{query}': at position ")
    if position is not None:
        assert f"': at position {position}: " in str(caught.value)


def test_a_query_that_is_too_long() -> None:
    compile_query("a" * MAX_LENGTH)
    with pytest.raises(InvalidQuery, match="at most 4096 characters, got 4097"):
        compile_query("a" * (MAX_LENGTH + 1))


def test_as_many_terms_as_may_be() -> None:
    assert matches(" OR ".join(["role:x"] * (MAX_TERMS - 1) + ["role:web"]))


@pytest.mark.parametrize(
    "value",
    ["*a" * 2000 + "b", "*?a" * 1300 + "*b", "*" + "?" * 4000 + "b*", "*" * 4000 + "b", "?*" * 2000 + "b", "a*" * 2000],
)
def test_no_wildcards_take_long(value: str) -> None:
    query = compile_query(f"x:{value}")
    began = time.process_time()
    for text in ("a" * 4096, "ab" * 2048, "b" + "a" * 4095):
        query.matches({"x": [text]})
    assert time.process_time() - began < 1


def test_which_fields_it_looks_at() -> None:
    def looks(query: str) -> tuple[set[str], int]:
        compiled = compile_query(query)
        return set(compiled.names), len(compiled.patterns)

    assert looks("name:web* OR role:(db OR web)") == ({"name", "role"}, 0)
    assert looks("*:*") == (set(), 0)
    assert looks("web* plat*:x *:y k\\*:z") == ({"k*"}, 3)


@given(st.text(max_size=60) | st.text('ab:*?\\()[]{}"+-!&|~^/ TO<>=.0', max_size=30))
def test_whatever_is_asked_is_answered_or_refused(query: str) -> None:
    try:
        compiled = compile_query(query)
    except InvalidQuery:
        return
    assert compiled.matches(NODE) in (True, False)


@given(st.lists(st.sampled_from(["a", "b", "*", "?"]), min_size=1, max_size=8), st.text("ab", max_size=8))
def test_wildcards_mean_what_they_mean_elsewhere(pieces: list[str], text: str) -> None:
    pattern = "".join({"*": ".*", "?": "."}.get(piece, piece) for piece in pieces)
    assert matches(f"x:{''.join(pieces)}", {"x": [text]}) == bool(re.fullmatch(pattern, text))


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12))
def test_every_text_can_be_quoted(text: str) -> None:
    quoted = "".join(f"\\{character}" if character in '\\"*?' else character for character in text)
    assert matches(f'x:"{quoted}"', {"x": [text]})
    assert not matches(f'x:"{quoted}"', {"x": [text + "."]})


@given(st.integers(-999, 999), st.integers(-999, 999), st.integers(-999, 999))
def test_numbers_are_compared_as_such(value: int, low: int, high: int) -> None:
    fields = {"x": [str(value)]}
    assert matches(f'x:["{low}" TO "{high}"]', fields) == (low <= value <= high)
    assert matches(f'x:{{"{low}" TO "{high}"}}', fields) == (low < value < high)


QUERIES = st.recursive(
    st.sampled_from(["role:web", "role:nothing", "name:w*"]),
    lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR", "AND NOT"]), inner).map(
        lambda parts: f"({' '.join(parts)})"
    ),
    max_leaves=10,
)


@given(QUERIES)
def test_operators_mean_what_they_mean_in_logic(query: str) -> None:
    logic = query.replace("role:web", "True").replace("role:nothing", "False").replace("name:w*", "True").lower()
    expected = eval(logic.replace("true", "True").replace("false", "False"))  # of the words above only
    assert matches(query) is expected
