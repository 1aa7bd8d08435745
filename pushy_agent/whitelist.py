"""What a node runs when it is asked for a name: the only way from the network to a command line.

An entry's command is split into words once, when it is read. What a regular expression caught of the requested name
is put into the words after that, so that a request can change what a word says, never how many words there are, and
no shell sees any of it. A regular expression must match the whole name. Pure: nothing is looked up or started here.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from attrs import frozen

_GROUP = re.compile(r"\\(?:\\|([0-9]))")
# NUL can be part of no argument, so it cannot stand in a command for anything else.
_PLACE = re.compile("\0([0-9])\0")

DEFAULT = {"chef-client": "chef-client"}
"""The whitelist of a node that has none."""


class WhitelistError(ValueError):
    """An entry that is none; the text names it and what was expected."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry in its long form."""

    command: str
    match: Literal["exact", "re"] = "exact"


@frozen(kw_only=True)
class Entry:
    """One name, or with a `pattern` all names that it matches, and the words of the command, as they stand in TOML."""

    name: str
    words: tuple[str, ...]
    pattern: re.Pattern[str] | None = None


@frozen(kw_only=True)
class Match:
    """An entry that allows a name, and the arguments that the name makes of its command."""

    entry: Entry
    argv: tuple[str, ...]


@frozen
class Whitelist:
    """All that a node may be asked for; names that are spelled out come before regular expressions."""

    _exact: Mapping[str, Entry]
    _patterns: tuple[Entry, ...] = ()

    @classmethod
    def parse(cls, table: Mapping[str, object]) -> "Whitelist":
        """The whitelist of a TOML table; its keys are names, its values commands or tables.

        :raise WhitelistError: one of them is neither, or its command cannot be split.
        """
        entries = [_entry(name, value) for name, value in table.items()]
        return cls(
            {entry.name: entry for entry in entries if entry.pattern is None},
            tuple(entry for entry in entries if entry.pattern is not None),
        )

    def look_up(self, name: str) -> Match | None:
        """What `name` runs, or None where nothing allows it."""
        if "\0" in name:  # no argument can hold it
            return None
        if entry := self._exact.get(name):
            return Match(entry=entry, argv=entry.words)
        for entry in self._patterns:
            assert entry.pattern is not None
            if found := entry.pattern.fullmatch(name):
                return Match(entry=entry, argv=tuple(_substitute(word, found) for word in entry.words))
        return None


def _entry(name: str, value: object) -> Entry:
    try:
        # Either shape by its own: msgspec says better what was expected where it has no choice.
        table = _Table(command=value) if isinstance(value, str) else msgspec.convert(value, _Table)
    except msgspec.ValidationError as error:
        raise WhitelistError(f"{name!r}: {_said(error)}") from None
    if table.match == "exact":
        return Entry(name=name, words=_split(name, table.command))
    try:
        pattern = re.compile(name)
    except re.error as error:
        raise WhitelistError(f"{name!r}: expected a regular expression: {error}") from None
    # Groups are hidden from shlex, to which a backslash means something.
    hidden = _GROUP.sub(lambda group: f"\0{group[1]}\0" if group[1] else group[0], table.command)
    words = _split(name, hidden)
    wanted = max((int(number) for word in words for number in _PLACE.findall(word)), default=0)
    if wanted > pattern.groups:
        raise WhitelistError(f"{name!r}: the command uses \\{wanted}, but the expression has {pattern.groups} group(s)")
    return Entry(name=name, words=words, pattern=pattern)


def _said(error: msgspec.ValidationError) -> str:
    text, _, at = str(error).partition(" - at `$.")
    text = text.replace("`", "'")
    return f"{at.rstrip('`')}: {text[:1].lower()}{text[1:]}" if at else f"{text[:1].lower()}{text[1:]}"


def _split(name: str, command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise WhitelistError(f"{name!r}: expected a command with balanced quotes: {error}") from None
    if not words:
        raise WhitelistError(f"{name!r}: expected a command, got an empty one")
    return words


def _substitute(word: str, found: re.Match[str]) -> str:
    def text(place: re.Match[str]) -> str:
        caught: Any = found[int(place[1])]
        return caught or ""  # a group that took no part

    return _PLACE.sub(text, word)
