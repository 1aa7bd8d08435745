"""The tokens of Ruby text, as far as configuration files that only set values are made of them.

Only what is needed to find out where literals, names and statements begin and end: no expression has a meaning here.
Of anything else (heredocs, `%x`, a string without an end, …) an :attr:`Kind.OTHER` token is left, which is part of no
value. Every text has tokens; the time that takes grows with its length only.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto

from attrs import frozen

MAX_NESTING = 8
"""Strings within ``#{}`` within strings, and so on, that are followed; deeper ones have no end."""


class Kind(Enum):
    """What a token is."""

    NAME = auto()  # begins with a small letter or _, keywords too
    CONSTANT = auto()  # A or A::B
    STRING = auto()  # its parts
    SYMBOL = auto()  # :name or :"name", its parts
    LABEL = auto()  # name: before a value
    NUMBER = auto()
    REGEX = auto()  # its parts
    WORDS = auto()  # %w[] and %i[]
    OPERATOR = auto()
    NEWLINE = auto()  # also ;
    OTHER = auto()
    END = auto()


@frozen
class Code:
    """What stands in ``#{…}``."""

    source: str


Parts = tuple[str | Code, ...]


@frozen(kw_only=True)
class Token:
    """A piece of the text.

    :param text: of names and operators as it is written, of :attr:`Kind.WORDS` ``w`` or ``i``, else empty
    :param parts: of a string, symbol or regular expression; the words of :attr:`Kind.WORDS`
    :param flags: the letters behind a regular expression
    :param line: on which it begins, from 1
    :param spaced: whether there is space before it
    :param tight: whether none is after it
    """

    kind: Kind
    text: str = ""
    parts: Parts = ()
    flags: str = ""
    line: int
    spaced: bool = False
    tight: bool = False


_SPACE = re.compile(r"(?:[ \t\r\f\v]|\\\r?\n|#[^\n]*)*")
_BLOCK_COMMENT = re.compile(r"=begin\b.*?(?:^=end\b[^\n]*|\Z)", re.DOTALL | re.MULTILINE)
_END = re.compile(r"__END__[ \t]*$", re.MULTILINE)
_NAME = re.compile(r"[a-z_][A-Za-z0-9_]*(?:[?!](?!=))?")
_CONSTANT = re.compile(r"(?:::)?[A-Z][A-Za-z0-9_]*(?:::[A-Z][A-Za-z0-9_]*)*")
_LABEL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*[?!]?):(?!:)")
_SYMBOL = re.compile(r":([A-Za-z_][A-Za-z0-9_]*(?:[?!]|=(?![=>~]))?)")
_NUMBER = re.compile(
    r"0[xX][0-9A-Fa-f]+(?:_[0-9A-Fa-f]+)*|0[bB][01]+(?:_[01]+)*"
    r"|[0-9]+(?:_[0-9]+)*(?:\.[0-9]+(?:_[0-9]+)*)?(?:[eE][+-]?[0-9]+)?"
)
_HEREDOC = re.compile(r"<<[~-]?(?:([A-Za-z_][A-Za-z0-9_]*)|'([^'\n]+)'|\"([^\"\n]+)\"|`([^`\n]+)`)")
_PERCENT = re.compile(r"%([a-zA-Z]?)([^A-Za-z0-9\s])")
_OPERATOR = re.compile(
    r"\*\*=|<=>|===|=>|==|=~|!=|!~|&\.|&&=|\|\|=|&&|\|\||::|\.\.\.?|<<=?|>>=?|[-+*/|&%^<>]=|.", re.DOTALL
)
_FLAGS = re.compile("[a-z]*")
_ESCAPE = re.compile(r"u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|\n|.", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "s": " ", "r": "\r", "e": "\x1b", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}
_QUOTES = "\"'`"


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text, the last of them :attr:`Kind.END`."""
    return _Scanner(text.replace("\r\n", "\n")).run()


class _Unended(Exception):
    """A literal goes on to the end of the text."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._spaced = False
        self._before: Token | None = None
        self._heredocs: list[re.Match[str]] = []

    def run(self) -> Iterator[Token]:
        self._skip_lines()
        while True:
            self._skip_space()
            token = self._next()
            self._before = token
            yield token
            if token.kind is Kind.END:
                return
            if token.kind is Kind.NEWLINE and token.text == "\n":
                self._skip_lines()

    def _make(self, kind: Kind, end: int, text: str = "", *, parts: Parts = (), flags: str = "") -> Token:
        """A token from here to `end`, behind which it goes on."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted, self._at = self._at, end
        tight = not self._text[end : end + 1].isspace()
        line, spaced = self._line, self._spaced
        return Token(kind=kind, text=text, parts=parts, flags=flags, line=line, spaced=spaced, tight=tight)

    def _skip_space(self) -> None:
        before = self._at
        found = _SPACE.match(self._text, self._at)
        assert found is not None  # it may be empty
        self._at = found.end()
        self._spaced = self._at > before

    def _skip_lines(self) -> None:
        """At the beginning of a line: what heredocs hold, and comments of several lines."""
        for begun in self._heredocs:
            name = next(filter(None, begun.groups()))
            end = re.compile(rf"^[ \t]*{re.escape(name)}[ \t]*$", re.MULTILINE).search(self._text, self._at)
            self._at = end.end() if end else len(self._text)
        self._heredocs = []
        while found := _BLOCK_COMMENT.match(self._text, self._at):
            self._at = min(found.end() + 1, len(self._text))
        if _END.match(self._text, self._at):
            self._at = len(self._text)

    def _next(self) -> Token:
        text, at = self._text, self._at
        if at >= len(text):
            return self._make(Kind.END, at)
        if text[at] in "\n;":
            return self._make(Kind.NEWLINE, at + 1, text[at])
        try:
            if token := self._quoted():
                return token
        except _Unended:
            return self._make(Kind.OTHER, len(text))
        return self._word()

    def _word(self) -> Token:
        text, at = self._text, self._at
        # After `?` of a ternary operator a colon is its other half, but then the whole is no value anyway.
        if not self._after_dot and (found := _LABEL.match(text, at)):
            return self._make(Kind.LABEL, found.end(), found[1])
        if found := _CONSTANT.match(text, at):
            return self._make(Kind.CONSTANT, found.end(), found[0].removeprefix("::"))
        if found := _NAME.match(text, at):
            return self._make(Kind.NAME, found.end(), found[0])
        if found := _NUMBER.match(text, at):
            return self._make(Kind.NUMBER, found.end(), found[0])
        if found := _SYMBOL.match(text, at):
            return self._make(Kind.SYMBOL, found.end(), parts=(found[1],))
        found = _OPERATOR.match(text, at)
        assert found is not None  # a character at least
        return self._make(Kind.OPERATOR, found.end(), found[0])

    @property
    def _after_dot(self) -> bool:
        return self._before is not None and self._before.kind is Kind.OPERATOR and self._before.text in {".", "&.", "?"}

    def _quoted(self) -> Token | None:
        """A literal with delimiters, if one begins here."""
        text, at = self._text, self._at
        if text[at] in "\"'":
            end, parts = _string(text, at + 1, text[at], interpolated=text[at] == '"')
            return self._make(Kind.STRING, end, parts=parts)
        if text[at] == "`":
            return self._make(Kind.OTHER, _string(text, at + 1, "`", interpolated=True)[0])
        if text.startswith((':"', ":'"), at):
            end, parts = _string(text, at + 2, text[at + 1], interpolated=text[at + 1] == '"')
            return self._make(Kind.SYMBOL, end, parts=parts)
        if not self._may_begin_value():
            return None
        if text[at] == "/":
            return self._regex(at + 1, "/")
        if found := _HEREDOC.match(text, at):
            self._heredocs.append(found)
            return self._make(Kind.OTHER, found.end())
        if found := _PERCENT.match(text, at):
            return self._percent(found)
        return None

    def _percent(self, found: re.Match[str]) -> Token | None:
        kind, opening, at = found[1], found[2], found.end()
        if kind == "r":
            return self._regex(at, opening)
        if kind not in {"", "q", "Q", "w", "W", "i", "I", "s", "x"}:
            return None
        end, parts = _string(self._text, at, opening, interpolated=kind in {"", "Q", "W", "I", "x"})
        if kind in {"x", "s"}:
            return self._make(Kind.OTHER, end)
        if kind in {"", "q", "Q"}:
            return self._make(Kind.STRING, end, parts=parts)
        source = self._text[at : end - 1]
        if "\\" in source or any(isinstance(part, Code) for part in parts):
            return self._make(Kind.OTHER, end)
        return self._make(Kind.WORDS, end, kind.lower(), parts=tuple(source.split()))

    def _regex(self, at: int, opening: str) -> Token:
        end, parts = _string(self._text, at, opening, interpolated=True, raw=True)
        flags = _FLAGS.match(self._text, end)
        assert flags is not None  # it may be empty
        return self._make(Kind.REGEX, flags.end(), parts=parts, flags=flags[0])

    def _may_begin_value(self) -> bool:
        """Whether ``/``, ``%`` and ``<<`` are a literal's beginning here, and not an operator."""
        before = self._before
        if before is None or before.kind in {Kind.NEWLINE, Kind.LABEL}:
            return True
        if before.kind is Kind.OPERATOR:
            return before.text not in {")", "]", "}"}
        after = self._text[self._at + 1 : self._at + 2]
        return before.kind is Kind.NAME and self._spaced and not after.isspace() and after != "="


def _string(
    text: str, at: int, opening: str, *, interpolated: bool, raw: bool = False, depth: int = 0
) -> tuple[int, Parts]:
    """Where a string ends, behind its delimiter, and what is in it.

    :param at: behind its opening delimiter
    :param interpolated: whether ``\\n`` and ``#{}`` mean something
    :param raw: whether backslashes stay, as in a regular expression
    :raise _Unended: it does not end
    """
    closing = _CLOSING.get(opening, opening)
    stops = re.compile(f"[{re.escape(opening + closing)}\\\\#]")
    parts: list[str | Code] = []
    piece: list[str] = []
    open_inside = 0
    while found := stops.search(text, at):
        piece.append(text[at : found.start()])
        at = found.end()
        character = found[0]
        if character == "\\":
            at, said = _escaped(text, at, opening + closing, interpolated=interpolated, raw=raw)
            piece.append(said)
        elif character == closing and not open_inside:
            return at, tuple(part for part in (*parts, "".join(piece)) if part)
        elif character == "#" and closing != "#":
            if interpolated and text[at : at + 1] == "{":
                end = _code_end(text, at + 1, depth + 1)
                parts += ["".join(piece), Code(text[at + 1 : end - 1])]
                piece, at = [], end
            elif interpolated and text[at : at + 1] in {"@", "$"}:
                parts += ["".join(piece), Code(text[at : at + 1])]
                piece = []
            else:
                piece.append("#")
        else:
            open_inside += 1 if character == opening else -1
            piece.append(character)
    raise _Unended


def _escaped(text: str, at: int, delimiters: str, *, interpolated: bool, raw: bool) -> tuple[int, str]:
    """What a backslash before `at` makes of what follows it, and where that ends."""
    found = _ESCAPE.match(text, at)
    if found is None:
        raise _Unended
    if raw:
        # A delimiter is escaped for Ruby only, unless it means something in an expression too.
        said = text[at]
        if said == "\n":
            return at + 1, ""
        return at + 1, said if said in delimiters and said not in r".|()[]{}+*?^$<>" else f"\\{said}"
    if not interpolated:
        return at + 1, text[at] if text[at] in {"\\", *delimiters} else f"\\{text[at]}"
    if hexadecimal := found[1] or found[2] or found[3]:
        code = int(hexadecimal, 16)
        is_character = code <= 0x10FFFF and not 0xD800 <= code < 0xE000
        return found.end(), chr(code) if is_character else "\ufffd"
    if found[4]:
        return found.end(), chr(int(found[4], 8) & 0xFF)
    return found.end(), "" if found[0] == "\n" else _LETTERS.get(found[0], found[0])


def _code_end(text: str, at: int, depth: int) -> int:
    """Where the code in ``#{`` ends, behind its brace."""
    if depth > MAX_NESTING:
        raise _Unended
    opened = 0
    stops = re.compile(f"[{_QUOTES}{{}}]")
    while found := stops.search(text, at):
        at = found.end()
        if found[0] in _QUOTES:
            at, _ = _string(text, at, found[0], interpolated=found[0] != "'", depth=depth)
        elif found[0] == "{":
            opened += 1
        elif opened:
            opened -= 1
        else:
            return at
    raise _Unended
