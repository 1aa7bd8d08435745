"""Regular expressions of Ruby as Python's, or not at all.

The two differ in small things that decide what a whitelist allows, so only what is known to mean the same is taken
over; the rest is refused. What a pattern matches here is never more than in Ruby.
"""

import re
import warnings

from attrs import frozen

from pushy_protocol.conversion import Unconvertible
from pushy_protocol.ruby_values import Regex

# What follows a backslash and means the same, here and (the second) in brackets. With re.ASCII \w, \d and \s do.
_SAME = set("ntrfvadDwWsSb")
_SAME_IN_SET = set("ntrfvadDwWsSb")
_OTHER = {"A": r"\A", "z": r"\Z", "Z": r"\Z", "e": r"\x1b", "h": "[0-9a-fA-F]", "H": "[^0-9a-fA-F]"}
_OTHER_IN_SET = {"e": r"\x1b", "h": "0-9a-fA-F"}
# In Ruby these hold letters of all scripts, here those of ASCII: less, and so more where they are excluded.
_POSIX = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "blank": r" \t",
    "xdigit": "0-9a-fA-F",
    "word": r"\w",
}
_CODE = re.compile(r"x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}")
_GROUP = re.compile(
    r"\((?:\?(?:<(?P<name>[a-z_][A-Za-z0-9_]*)>|(?P<flags>[mix]*(?:-[mix]+)?)(?P<end>[:)])|(?P<kind>=|!|<=|<!|>)))?"
)
_POSIX_CLASS = re.compile(r"\[:(\^?)([a-z]+):\]")
_EXCLUDES = re.compile(r"\(\?<?!")
_REFERENCE = re.compile(r"k<([a-z_][A-Za-z0-9_]*)>")
_FLAGS = {"i": "i", "m": "s", "x": "x", "o": ""}


@frozen(kw_only=True)
class Translated:
    """An expression in Python's syntax.

    :param is_whole: whether it matched whole names only in Ruby too
    :param groups: the texts of its groups, in order
    :param names: the numbers of groups that have a name
    """

    pattern: str
    is_whole: bool
    groups: tuple[str, ...]
    names: dict[str, int]


def translate(expression: Regex) -> Translated:
    """An expression in Python's syntax.

    :raise Unconvertible: it has something that may mean another thing there
    """
    translation = _Translation(expression.source)
    body = translation.run()
    flags = "".join(sorted({"a", *(_flag(letter) for letter in expression.flags)}))
    needs_flags = expression.flags.strip("o") or re.search(r"\\[wWdDsSbB]", body)
    pattern = f"(?{flags}){body}" if needs_flags else body
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            groups = re.compile(pattern).groups
    except (re.error, Warning, RecursionError, OverflowError) as error:
        raise Unconvertible(f"the expression cannot be translated: {error}") from None
    if groups != len(translation.groups):
        raise Unconvertible("the expression has parentheses in a comment")
    return Translated(
        pattern=pattern, is_whole=translation.is_whole, groups=tuple(translation.groups), names=translation.names
    )


def _flag(letter: str) -> str:
    if letter not in _FLAGS:
        raise Unconvertible(f"the expression has the flag {letter!r}")
    return _FLAGS[letter]


class _Translation:
    """One walk over the text of an expression."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._made: list[str] = []
        self._open: list[int | None] = []  # the group of each bracket that is open, None where it catches nothing
        self._begins: dict[int, int] = {}
        self.groups: list[str] = []
        self.names: dict[str, int] = {}
        self._has_alternatives = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing can stand before or behind what it matches."""
        begins = self._source.startswith(("^", r"\A"))
        ends = re.search(r"(?<!\\)(?:\\\\)*(?:\$|\\[zZ])\Z", self._source)
        return begins and bool(ends) and not self._has_alternatives

    def run(self) -> str:
        """The whole of it in Python's syntax."""
        while self._at < len(self._source):
            character = self._source[self._at]
            if character == "\\":
                self._escape(_SAME, _OTHER)
            elif character == "[":
                self._set()
            elif character == "(":
                self._group()
            else:
                self._plain(character)
        if self.names and len(self.names) < len(self.groups):
            raise Unconvertible("the expression has groups with and without a name")
        return "".join(self._made)

    def _plain(self, character: str) -> None:
        if character == ")" and self._open:
            number = self._open.pop()
            if number is not None:
                self.groups[number] = self._source[self._begins[number] : self._at]
        if character == "|" and not self._open:
            self._has_alternatives = True
        if character == "}" and self._source[self._at + 1 : self._at + 2] == "+":
            raise Unconvertible("the expression has }+")
        self._made.append(character)
        self._at += 1

    def _escape(self, same: set[str], other: dict[str, str]) -> None:
        """What begins with a backslash."""
        following = self._source[self._at + 1 : self._at + 2]
        if following == "b" and other is _OTHER and _EXCLUDES.search(self._source):
            raise Unconvertible("the expression has \\b and something that may not match")
        if code := _CODE.match(self._source, self._at + 1):
            said, length = f"\\{code[0]}", len(code[0])
        elif (reference := _REFERENCE.match(self._source, self._at + 1)) and other is _OTHER:
            said, length = f"(?P={reference[1]})", len(reference[0])
        elif following in same or (following in set("123456789") and other is _OTHER):
            said, length = f"\\{following}", 1
        elif following in other:
            said, length = other[following], 1
        elif following.isascii() and following.isprintable() and not following.isalnum() and following:
            said, length = f"\\{following}", 1
        else:
            raise Unconvertible(f"the expression has \\{following}")
        self._made.append(said)
        self._at += 1 + length

    def _set(self) -> None:
        """What stands in brackets."""
        self._made.append("[")
        self._at += 1
        is_negated = self._source.startswith("^", self._at)
        if is_negated:
            self._made.append("^")
            self._at += 1
        begin = self._at
        while self._at < len(self._source):
            character = self._source[self._at]
            if character == "]" and self._at > begin:
                self._made.append("]")
                self._at += 1
                return
            if character == "\\":
                self._escape(_SAME_IN_SET, _OTHER_IN_SET)
            elif posix := _POSIX_CLASS.match(self._source, self._at):
                excludes = posix[1] or is_negated or _EXCLUDES.search(self._source)
                if excludes or posix[2] not in _POSIX:
                    raise Unconvertible(f"the expression has {posix[0]}")
                self._made.append(_POSIX[posix[2]])
                self._at = posix.end()
            elif character == "[" or self._source.startswith("&&", self._at):
                raise Unconvertible("the expression has brackets within brackets")
            else:
                self._made.append(character)
                self._at += 1
        raise Unconvertible("the expression has a [ without a ]")

    def _group(self) -> None:
        """What begins with a parenthesis."""
        found = _GROUP.match(self._source, self._at)
        assert found is not None  # the parenthesis at least
        if found.end() == self._at + 1 and self._source.startswith("?", found.end()):
            raise Unconvertible(f"the expression has {self._source[self._at : self._at + 4]}…")
        if found["flags"] is None and found["kind"] is None:
            number = len(self.groups)
            self.groups.append("")
            self._open.append(number)
            self._begins[number] = found.end()
            if found["name"]:
                self.names[found["name"]] = number + 1
            self._made.append(f"(?P<{found['name']}>" if found["name"] else "(")
        else:
            if found["end"] == ")":
                raise Unconvertible(f"the expression has {found[0]} in its midst")
            self._open.append(None)
            self._made.append(found[0].replace("m", "s"))
        self._at = found.end()
