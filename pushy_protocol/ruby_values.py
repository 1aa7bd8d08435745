"""What Chef's configuration files (``client.rb``, ``knife.rb``, ``push-jobs-client.rb``, …) set, without running Ruby.

Read are statements that set a plain value: ``name "value"``, ``name({ … })``, ``a["b"] = 1``,
``Chef::Config[:a] = nil`` and, because files are full of them, ``directory = File.dirname(__FILE__)`` with
``"#{directory}/client.pem"``. Whatever else there is (conditions, blocks, calls, …) is skipped as a whole and told,
with its lines: what it would have done is not known. What a name means is not known here either.
"""

import posixpath
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import TypeAlias

from attrs import field, frozen

from pushy_protocol.ruby_tokens import Code, Kind, Parts, Token, tokens

MAX_DEPTH = 32
"""Brackets within one another, and ``#{}``, that are followed."""

MAX_LENGTH = 65_536
"""Characters of a string that is put together of others."""


@frozen
class Symbol:
    """``:name``."""

    name: str


@frozen
class Constant:
    """One of those that settings have for values, ``STDOUT`` or ``OpenSSL::SSL::VERIFY_PEER``."""

    name: str


@frozen
class Regex:
    """``/source/flags``."""

    source: str
    flags: str = ""


@frozen(kw_only=True)
class Pair:
    """An entry of a hash, and the line on which it begins."""

    key: "Value"
    value: "Value"
    line: int


@frozen
class Hash:
    """``{ … }``, as it is written: a key may be there twice."""

    pairs: tuple[Pair, ...]


Value: TypeAlias = "str | int | float | bool | Symbol | Constant | Regex | Hash | tuple[Value, ...] | None"


@frozen(kw_only=True)
class Setting:
    """One statement that sets something.

    :param path: ``("name",)``, ``("a", "b")`` of ``a["b"] = …``, or ``("ENV", "A")``; of ``Chef::Config[:name]`` and
        ``Chef::Config.name`` just ``("name",)``
    :param value: of ``name 1, 2`` a tuple
    """

    path: tuple[str, ...]
    value: Value
    line: int


@frozen(kw_only=True)
class Skipped:
    """A statement that was not understood, from its first to its last line.

    :param text: the first line
    """

    line: int
    last_line: int
    text: str

    def __str__(self) -> str:
        """The line or lines, and what stands there."""
        lines = str(self.line) if self.line == self.last_line else f"{self.line}-{self.last_line}"
        return f"{lines}: {self.text}"


@frozen(kw_only=True)
class Reading:
    """What a file sets.

    :param settings: in the order of the file; later ones replace earlier ones
    :param variables: local variables and constants that have a plain value at the end. Chef takes no notice of them:
        ``node_name = "a"`` sets no node name
    """

    settings: tuple[Setting, ...]
    variables: tuple[Setting, ...]
    skipped: tuple[Skipped, ...]

    def values(self) -> dict[str, object]:
        """The last value of every name that is set by itself, in Python's types (:func:`plain`)."""
        return {setting.path[0]: plain(setting.value) for setting in self.settings if len(setting.path) == 1}


def read_values(text: str, *, file: str | None = None, environment: Mapping[str, str] | None = None) -> Reading:
    """What a text sets. No text makes it fail.

    :param file: the absolute path of the text, for ``__FILE__``; without it, what needs it is skipped
    :param environment: for ``ENV["NAME"]``
    """
    return _Reader(text, _Surroundings(file=file, environment=environment or {})).read()


def plain(value: Value) -> object:
    """A value in Python's types: symbols, constants and the sources of expressions are strings, hashes are dicts."""
    match value:
        case Symbol(name) | Constant(name):
            return name
        case Regex(source):
            return source
        case Hash(pairs):
            return {_hashable(plain(pair.key)): plain(pair.value) for pair in pairs}
        case tuple():
            return [plain(item) for item in value]
    return value


def _hashable(key: object) -> object:
    return key if isinstance(key, str | int | float | None) else repr(key)


class _NoValue(Exception):
    """What stands here is no plain value."""


@frozen(kw_only=True)
class _Surroundings:
    """What is known while reading; `variables` changes."""

    file: str | None
    environment: Mapping[str, str] = field(repr=False)
    variables: dict[str, Setting] = field(factory=dict)


_SPACES = " \t\r\f\v"  # Ruby's; what Python strips is more
_PREFIXES = {"Chef::Config", "PushyClient::Config"}
_OPENERS = {"if", "unless", "case", "while", "until", "for", "begin", "def", "class", "module"}
_LOOPS = {"while", "until", "for"}
_WORDS = {"true": True, "false": False, "nil": None}
_CONSTANTS = {"STDOUT", "STDERR", "OpenSSL::SSL::VERIFY_NONE", "OpenSSL::SSL::VERIFY_PEER"}
_KEYWORDS = {*_OPENERS, "do", "end", "then", "else", "elsif", "when", "in", "rescue", "ensure", "and", "or", "not"} | {
    *("return", "next", "break", "redo", "retry", "yield", "super", "alias", "undef", "self", "defined?"),
    *_WORDS,
}
_ASSIGNMENTS = {"=", "||=", "&&=", "+=", "-=", "*=", "/=", "<<", "|=", "&=", "%=", "^=", "**=", "<<=", ">>="}
_OPEN, _CLOSE = {"(", "[", "{"}, {")", "]", "}"}


class _Reader:
    """The statements of a text, one after the other."""

    def __init__(self, text: str, surroundings: _Surroundings) -> None:
        self._lines = text.replace("\r\n", "\n").split("\n")
        self._tokens = list(tokens(text))
        self._at = 0
        self._known = surroundings

    def read(self) -> Reading:
        settings: list[Setting] = []
        skipped: list[Skipped] = []
        while self._now.kind is not Kind.END:
            if self._now.kind is Kind.NEWLINE:
                self._at += 1
                continue
            begin = self._at
            try:
                if setting := self._statement():
                    settings.append(setting)
            except _NoValue:
                self._at = begin
                skipped.append(self._skip())
        variables = tuple(self._known.variables.values())
        return Reading(settings=tuple(settings), variables=variables, skipped=tuple(skipped))

    def value(self, depth: int) -> Value:
        """The whole text as one value.

        :raise _NoValue: it is none
        """
        value = self._value(depth)
        if self._now.kind is not Kind.END:
            raise _NoValue
        return value

    @property
    def _now(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._now
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def _is(self, *operators: str) -> bool:
        return self._now.kind is Kind.OPERATOR and self._now.text in operators

    def _take_if(self, *operators: str) -> bool:
        found = self._is(*operators)
        self._at += found
        return found

    def _expect(self, operator: str) -> None:
        if not self._take_if(operator):
            raise _NoValue

    def _skip_newlines(self) -> None:
        while self._now.kind is Kind.NEWLINE and self._now.text == "\n":
            self._at += 1

    # Statements

    def _statement(self) -> Setting | None:
        """A setting, None for a local variable."""
        first = self._take()
        if first.kind not in {Kind.NAME, Kind.CONSTANT} or first.text in _KEYWORDS:
            raise _NoValue
        path = self._path(first)
        if self._take_if("="):
            self._skip_newlines()
            value = self._value(0)
            if path == (first.text,):
                self._end_statement()
                self._known.variables[first.text] = Setting(path=path, value=value, line=first.line)
                return None
        elif self._is("(") and not self._now.spaced:
            self._take()
            self._skip_newlines()
            value = self._arguments()
            self._skip_newlines()
            self._expect(")")
        else:
            if not self._now.spaced:
                raise _NoValue
            value = self._arguments()
        self._end_statement()
        path = path[1:] if path[0] in _PREFIXES and len(path) > 1 else path
        return Setting(path=path, value=value, line=first.line)

    def _path(self, first: Token) -> tuple[str, ...]:
        path = [first.text]
        while True:
            if self._is("[") and not self._now.spaced:
                self._take()
                key = self._value(0)
                self._expect("]")
                if not isinstance(key, str | Symbol):
                    raise _NoValue
                path.append(key if isinstance(key, str) else key.name)
            elif self._take_if("."):
                if self._now.kind is not Kind.NAME:
                    raise _NoValue
                path.append(self._take().text)
            else:
                return tuple(path)

    def _arguments(self) -> Value:
        """The value, or the values, of a setting; a hash may be without braces."""
        found: list[Value] = []
        while True:
            if self._at_pair():
                found.append(Hash(tuple(self._pairs(0))))
                break
            found.append(self._value(0))
            if not self._take_if(","):
                break
            self._skip_newlines()
        return found[0] if len(found) == 1 else tuple(found)

    def _at_pair(self) -> bool:
        """Whether a key of a hash begins here."""
        if self._now.kind is Kind.LABEL:
            return True
        begin = self._at
        try:
            self._value(0)
            return self._is("=>") or (self._is(":") and not self._now.spaced)
        except _NoValue:
            return False
        finally:
            self._at = begin

    def _end_statement(self) -> None:
        if self._now.kind not in {Kind.NEWLINE, Kind.END}:
            raise _NoValue
        if self._goes_on(None):
            raise _NoValue

    def _skip(self) -> Skipped:
        """Pass over one statement, with all blocks that it opens."""
        first = self._now
        depth, loops = 0, 0
        before: Token | None = None
        while self._now.kind is not Kind.END:
            token = self._now
            at_start = before is None or before.kind is Kind.NEWLINE or before.text in {"=", "(", "||=", "then", "else"}
            if token.kind is Kind.NEWLINE and token.text == "\n":
                loops = 0
            if token.kind is Kind.NEWLINE and depth <= 0 and not self._goes_on(before):
                break
            if token.kind is Kind.OPERATOR:
                depth += (token.text in _OPEN) - (token.text in _CLOSE)
            elif token.kind is Kind.NAME and not (before and before.text in {".", "&."}):
                self._forget(token)
                opens = token.text in _OPENERS and (at_start or token.text in {"begin", "case", "def"})
                opens_loop = opens and token.text in _LOOPS
                if token.text == "do" and loops:
                    loops -= 1
                else:
                    depth += opens or token.text == "do"
                    depth -= token.text == "end"
                loops += opens_loop
            before = token
            self._at += 1
        last_line = self._last_line() if self._now.kind is Kind.END else self._now.line
        return Skipped(line=first.line, last_line=last_line, text=self._lines[first.line - 1].strip(_SPACES))

    def _goes_on(self, before: Token | None) -> bool:
        """Whether the line ends (with `before`) in an operator, or the next one begins with a dot."""
        if before and before.kind is Kind.OPERATOR and before.text not in {*_CLOSE, "|", "?"}:
            return True
        begin = self._at
        self._skip_newlines()
        goes_on = self._is(".", "&.")
        self._at = begin
        return goes_on

    def _last_line(self) -> int:
        filled = [number for number, line in enumerate(self._lines, 1) if line.strip(_SPACES)]
        return filled[-1] if filled else 1

    def _forget(self, name: Token) -> None:
        """A variable that is set in what is skipped has no known value any more."""
        after = self._tokens[self._at + 1]
        if after.kind is Kind.OPERATOR and after.text in _ASSIGNMENTS:
            self._known.variables.pop(name.text, None)

    # Values

    def _value(self, depth: int) -> Value:
        """One value, and strings that stand side by side or are added."""
        value = self._one(depth)
        if not isinstance(value, str):
            return value
        pieces = [value]
        while self._is("+") or self._now.kind is Kind.STRING:
            if self._take_if("+"):
                self._skip_newlines()
            piece = self._one(depth)
            if not isinstance(piece, str):
                raise _NoValue
            pieces.append(piece)
        return _bounded(pieces)

    def _one(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise _NoValue
        token = self._take()
        match token.kind:
            case Kind.STRING:
                return self._text(token.parts, depth)
            case Kind.SYMBOL:
                return Symbol(self._text(token.parts, depth))
            case Kind.REGEX:
                return Regex(self._text(token.parts, depth), token.flags)
            case Kind.NUMBER:
                return _number(token.text)
            case Kind.WORDS:
                words = tuple(part for part in token.parts if isinstance(part, str))
                return words if token.text == "w" else tuple(map(Symbol, words))
            case Kind.CONSTANT:
                return self._constant(token, depth)
            case Kind.NAME:
                return self._name(token, depth)
            case Kind.OPERATOR:
                return self._operator(token, depth)
        raise _NoValue

    def _operator(self, token: Token, depth: int) -> Value:
        match token.text:
            case "-" if self._now.kind is Kind.NUMBER and not self._now.spaced:
                return -_number(self._take().text)
            case "(":
                self._skip_newlines()
                value = self._value(depth + 1)
                self._skip_newlines()
                self._expect(")")
                return value
            case "[":
                return self._items("]", depth + 1)
            case "{":
                self._skip_newlines()
                pairs = tuple(self._pairs(depth + 1)) if not self._is("}") else ()
                self._skip_newlines()
                self._expect("}")
                return Hash(pairs)
        raise _NoValue

    def _items(self, closing: str, depth: int) -> tuple[Value, ...]:
        """What stands between commas, up to and with the closing bracket."""
        found = []
        self._skip_newlines()
        while not self._take_if(closing):
            found.append(self._value(depth))
            self._skip_newlines()
            if not self._is(closing):
                self._expect(",")
                self._skip_newlines()
        return tuple(found)

    def _pairs(self, depth: int) -> Iterator[Pair]:
        """The entries of a hash; a comma may follow the last one where a brace does."""
        while True:
            line = self._now.line
            key: Value
            if self._now.kind is Kind.LABEL:
                key = Symbol(self._take().text)
            else:
                key = self._value(depth)
                if isinstance(key, str) and self._is(":") and not self._now.spaced:
                    self._take()
                    key = Symbol(key)
                else:
                    self._skip_newlines()
                    self._expect("=>")
            self._skip_newlines()
            yield Pair(key=key, value=self._value(depth), line=line)
            begin = self._at
            self._skip_newlines()
            if not self._take_if(","):
                self._at = begin
                return
            self._skip_newlines()
            if self._is("}"):
                return

    def _text(self, parts: Parts, depth: int) -> str:
        return _bounded([part if isinstance(part, str) else self._evaluated(part, depth + 1) for part in parts])

    def _evaluated(self, code: Code, depth: int) -> str:
        match _Reader(code.source, self._known).value(depth):
            case Symbol(text) | str(text):
                return text
            case int(number) if not isinstance(number, bool):
                return str(number)
        raise _NoValue

    def _name(self, token: Token, depth: int) -> Value:
        if token.text in _WORDS:
            return _WORDS[token.text]
        if token.text == "__FILE__" and self._known.file is not None:
            return self._known.file
        if token.text == "__dir__" and self._known.file is not None:
            return posixpath.dirname(self._known.file)
        return self._variable(token.text, depth)

    def _variable(self, name: str, depth: int) -> Value:
        variable = self._known.variables.get(name)
        # An array of arrays of arrays … of one variable would grow without end.
        if variable is None or (depth and isinstance(variable.value, tuple | Hash)):
            raise _NoValue
        return variable.value

    def _constant(self, token: Token, depth: int) -> Value:
        if token.text == "File" and self._take_if("."):
            return self._path_function(self._take(), depth)
        if token.text == "ENV" and self._take_if("["):
            match self._items("]", depth + 1):
                case (str(name),) if name in self._known.environment:
                    return self._known.environment[name]
            raise _NoValue
        if token.text in _CONSTANTS:
            return Constant(token.text)
        return self._variable(token.text, depth)

    def _path_function(self, name: Token, depth: int) -> str:
        """What ``File.dirname`` and its like answer, as far as no file has to be looked at."""
        self._expect("(")
        arguments = [item for item in self._items(")", depth + 1) if isinstance(item, str)]
        match name.text, arguments:
            case "dirname", [path]:
                return posixpath.dirname(path) or "."
            case "join", [path, *others]:
                return _bounded([path.rstrip("/"), *(f"/{other.strip('/')}" for other in others)])
            case "expand_path", [path] if path.startswith(("/", "~/")):
                return posixpath.normpath(path)
            case "expand_path", [path, directory] if path.startswith("/") or directory.startswith("/"):
                return posixpath.normpath(posixpath.join(directory, path))
        raise _NoValue


def _bounded(pieces: list[str]) -> str:
    if sum(map(len, pieces)) > MAX_LENGTH:
        raise _NoValue
    return "".join(pieces)


def _number(text: str) -> int | float:
    plain_text = text.replace("_", "")
    try:
        if plain_text[:2].lower() in {"0x", "0b"}:
            return int(plain_text, 0)
        if plain_text.isdigit():
            return int(plain_text, 8 if plain_text.startswith("0") else 10)
        number = float(plain_text)
    except ValueError:
        raise _NoValue from None
    if not isfinite(number):
        raise _NoValue
    return number
