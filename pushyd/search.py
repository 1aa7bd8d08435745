"""Search queries: Lucene's syntax, as Chef's search has it, compiled to a test over what is known of a node. Pure.

``field:value`` holds where one of the field's values is the whole of `value`, in which ``*`` and ``?`` are wildcards;
a field's name may have them too. A value alone looks in every field. There are phrases, groups, AND, OR and NOT, + and
-, and ranges (``[a TO b]``, ``{a TO b}``, ``>=a``; by number where all that is compared are numbers, else by text).
Terms that stand side by side are alternatives. Case counts. A boost (``^2``) says nothing here, for results come in the
order of names; fuzzy terms, proximity and regular expressions are refused.

What a node's fields are is said in :mod:`pushyd.node_object`. The cost of a query is bounded by its length, its depth
and its count of terms, and no wildcard makes a test go back more than once per character.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import field, frozen
from luqum import tree
from luqum.exceptions import ParseError
from luqum.thread import parse

MAX_LENGTH = 4096
MAX_DEPTH = 32
MAX_TERMS = 256

Fields = Mapping[str, Sequence[str]]
"""The values of each field, in no order."""

_Test = Callable[[Fields], bool]
_Matcher = Callable[[str], bool]
_POSITION = re.compile(r"at position (\d+)")
_UNSUPPORTED = {
    tree.Fuzzy: "fuzzy terms are not supported",
    tree.Proximity: "proximity is not supported",
    tree.Regex: "regular expressions are not supported",
}
_OPERATORS = {"&&": "AND", "||": "OR", "!": "NOT"}


class InvalidQuery(ValueError):
    """A query that is refused; the text says why and where."""


@frozen(kw_only=True)
class Query:
    """A compiled query.

    :param names: the fields that it looks at
    :param patterns: those whose names it gives with wildcards
    """

    names: frozenset[str]
    patterns: tuple[_Matcher, ...] = field(repr=False)
    matches: _Test = field(repr=False)

    def wants(self, name: str) -> bool:
        """Whether the query looks at a field; the others need not be there."""
        return name in self.names or any(matches(name) for matches in self.patterns)


def compile_query(text: str) -> Query:
    """The query that `text` says.

    :raise InvalidQuery: it says none, or is too large
    """
    if len(text) > MAX_LENGTH:
        raise InvalidQuery(f"invalid search query: expected at most {MAX_LENGTH} characters, got {len(text)}")
    try:
        parsed = parse(text)
    except ParseError as error:
        found = _POSITION.search(str(error))
        raise _invalid(text, int(found[1]) if found else len(text), _reason(str(error))) from None
    compiler = _Compiler(text)
    test = compiler.compile(parsed, None, 0)
    return Query(names=frozenset(compiler.names), patterns=tuple(compiler.patterns), matches=test)


def _invalid(text: str, position: int, why: str) -> InvalidQuery:
    return InvalidQuery(f"invalid search query: '{text}': at position {position}: {why}")


def _reason(said: str) -> str:
    """Luqum's words without the place and the repetition."""
    if "unexpected end" in said:
        return "unexpected end; is there a value after each ':', and a ')' for each '('?"
    said = said.removeprefix("Syntax error in input : ")
    return " ".join(said.partition(" at position")[0].split()).replace("Illegal", "illegal")


class _Compiler:
    """One query on its way; gathers which fields it looks at."""

    def __init__(self, text: str) -> None:
        self.names: set[str] = set()
        self.patterns: list[_Matcher] = []
        self._text = text
        self._terms = 0

    def compile(self, node: Any, name: str | None, depth: int) -> _Test:
        """The test of a part of the query, within the field `name`, if any."""
        if depth > MAX_DEPTH:
            raise self._refuse(node, f"expected at most {MAX_DEPTH} levels")
        inner = partial(self.compile, name=name, depth=depth + 1)
        match node:
            case tree.SearchField():
                if name is not None:
                    raise self._refuse(node, "a field within a field; is a '\\' missing before ':'?")
                return self.compile(node.expr, node.name, depth + 1)
            case tree.Group() | tree.FieldGroup() | tree.Boost() | tree.Plus():
                return inner(node.children[0])
            case tree.Not() | tree.Prohibit():
                return _negation(inner(node.children[0]))
            case tree.AndOperation():
                return _all([inner(child) for child in node.children])
            case tree.OrOperation():
                return _any([inner(child) for child in node.children])
            case tree.BoolOperation() | tree.UnknownOperation():
                return self._side_by_side(node, inner)
            case tree.Word() | tree.Phrase() | tree.Range() | tree.From() | tree.To():
                return self._term(node, name)
            case _:
                raise self._refuse(node, _UNSUPPORTED.get(type(node), "not understood"))

    def _side_by_side(self, node: Any, inner: Callable[[Any], _Test]) -> _Test:
        """All that are required, none that is prohibited, and, where none is required, one of the others."""
        required: list[_Test] = []
        others: list[_Test] = []
        for child in node.children:
            is_required = isinstance(child, tree.Plus | tree.Prohibit | tree.Not)
            (required if is_required else others).append(inner(child))
        if any(isinstance(child, tree.Plus) for child in node.children) or not others:
            return _all(required)
        return _all([*required, _any(others)])

    def _term(self, node: Any, name: str | None) -> _Test:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise self._refuse(node, f"expected at most {MAX_TERMS} terms")
        value = self._matcher(node)
        if name is not None and (literal := _literal(name)) is not None:
            self.names.add(literal)
            return lambda fields: any(value(text) for text in fields.get(literal, ()))
        if name == "*" and isinstance(node, tree.Word) and node.value == "*":
            return lambda _: True
        named = _glob("*" if name is None else name)
        self.patterns.append(named)
        return lambda fields: any(
            value(text) for field_name, texts in fields.items() if named(field_name) for text in texts
        )

    def _matcher(self, node: Any) -> _Matcher:
        match node:
            case tree.Range():
                return _between(
                    _bound(node.low), _bound(node.high), with_low=node.include_low, with_high=node.include_high
                )
            case tree.From():
                return _between(_bound(node.a), None, with_low=node.include, with_high=True)
            case tree.To():
                return _between(None, _bound(node.a), with_low=True, with_high=node.include)
            case tree.Phrase():
                return _glob(node.value[1:-1])
            case _:
                for symbol, word in _OPERATORS.items():
                    if node.value.startswith(symbol):
                        raise self._refuse(node, f"expected {word} instead of '{symbol}'")
                return _glob(node.value)

    def _refuse(self, node: Any, why: str) -> InvalidQuery:
        return _invalid(self._text, node.pos or 0, why)


def _negation(test: _Test) -> _Test:
    return lambda fields: not test(fields)


def _all(tests: Sequence[_Test]) -> _Test:
    return lambda fields: all(test(fields) for test in tests)


def _any(tests: Sequence[_Test]) -> _Test:
    return lambda fields: any(test(fields) for test in tests)


def _characters(text: str) -> Iterator[tuple[str, bool]]:
    """Each character of a term, and whether it is a wildcard; a backslash makes what follows a plain character."""
    plain = False
    for character in text:
        if character == "\\" and not plain:
            plain = True
            continue
        yield character, not plain and character in "*?"
        plain = False


def _literal(text: str) -> str | None:
    """What a term says, or None where it has wildcards."""
    characters = list(_characters(text))
    return None if any(wild for _, wild in characters) else "".join(character for character, _ in characters)


def _glob(text: str) -> _Matcher:
    """Whether a text is, as a whole, what a term with wildcards says.

    Between two ``*`` the first place that fits is as good as any, so none is tried twice: hence the atomic groups.
    """
    if (literal := _literal(text)) is not None:
        return literal.__eq__
    if not text.strip("*"):
        return lambda _: True
    pieces = [""]
    for character, wild in _characters(text):
        if wild and character == "*":
            pieces.append("")
        else:
            pieces[-1] += "." if wild else re.escape(character)
    first, *middle, last = pieces if len(pieces) > 1 else [pieces[0], None]
    if last is None:
        return _full(first or "")
    found = "".join(f"(?>.*?{piece})" for piece in middle if piece)
    return _full(f"{first}{found}.*{last}")


def _full(pattern: str) -> _Matcher:
    compiled = re.compile(pattern, re.DOTALL)
    return lambda text: compiled.fullmatch(text) is not None


def _bound(node: Any) -> str | None:
    """An end of a range; None for ``*``, which is no end."""
    if isinstance(node, tree.Phrase):
        return "".join(character for character, _ in _characters(node.value[1:-1]))
    return None if node.value == "*" else "".join(character for character, _ in _characters(node.value))


def _between(low: str | None, high: str | None, *, with_low: bool, with_high: bool) -> _Matcher:
    ends = [_number(end) for end in (low, high) if end is not None]
    by_number = None not in ends

    def matches(text: str) -> bool:
        number = _number(text) if by_number else None
        if number is not None:
            return _within(number, _number(low or ""), _number(high or ""), with_low=with_low, with_high=with_high)
        return _within(text, low, high, with_low=with_low, with_high=with_high)

    return matches


def _within(value: Any, low: Any, high: Any, *, with_low: bool, with_high: bool) -> bool:
    above = low is None or low < value or (with_low and low == value)
    below = high is None or value < high or (with_high and value == high)
    return above and below


_NUMBER = re.compile(r"[-+]?[0-9]{1,300}(\.[0-9]{1,300})?")


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None
