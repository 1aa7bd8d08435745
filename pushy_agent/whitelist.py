"""What a node runs when it is asked for a name: the only way from the network to a command line.

An entry's command is split into words once, when it is read. What a regular expression caught of the requested name
is put into the words after that, so that a request can change what a word says, never how many words there are, and
no shell sees any of it as its own text. A regular expression must match the whole name. What an entry says of the
user, the directory or the environment goes before what a request says. Pure: nothing is looked up or started here.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from attrs import field, frozen

_GROUP = re.compile(r"\\(?:\\|([0-9]))")
# NUL can be part of no argument, so it cannot stand in a command for anything else.
_PLACE = re.compile("\0([0-9])\0")

DEFAULT = {"chef-client": "chef-client"}
"""The whitelist of a node that has none."""


class WhitelistError(ValueError):
    """An entry that is none; the text names it and what was expected."""


_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry in its long form."""

    command: str
    match: Literal["exact", "re"] = "exact"
    shell: bool = False
    lock: bool | _Text = False
    user: _Text | None = None
    allow_user: list[_Text] | None = None
    dir: _Text | None = None
    env: dict[_Text, str] = {}
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None
    capture_limit: Annotated[int, msgspec.Meta(ge=0)] | None = None


@frozen(kw_only=True)
class Entry:
    """One name, or with a `pattern` all names that it matches, and the words of the command, as they stand in TOML.

    :param lock: a file that is locked while the command runs; True for one that is named after the entry
    :param user: who runs it; None for whom the request asks for, or the agent's own
    :param allow_user: whom a request may ask for; None for anybody, or, where there is a `user`, for nobody else
    :param dir: where it runs; None for where the request asks for, or ``/``
    :param env: set for the command, whatever the request says
    :param timeout: seconds that it may run
    :param capture_limit: bytes kept of each of its outputs, at most; None for as many as the job asks for
    """

    name: str
    words: tuple[str, ...]
    pattern: re.Pattern[str] | None = None
    shell: bool = False
    lock: Path | bool = False
    user: str | None = None
    allow_user: frozenset[str] | None = None
    dir: str | None = None
    env: Mapping[str, str] = field(factory=dict, repr=False)
    timeout: float | None = None
    capture_limit: int | None = None

    def may_run_as(self, user: str) -> bool:
        """Whether a request may ask for this user."""
        if self.allow_user is not None:
            return user in self.allow_user or user == self.user
        return self.user in {None, user}


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
        return cls.of(_entry(name, value) for name, value in table.items())

    @classmethod
    def of(cls, entries: Iterable["Entry"]) -> "Whitelist":
        """The whitelist of entries with different names."""
        entries = tuple(entries)
        return cls(
            {entry.name: entry for entry in entries if entry.pattern is None},
            tuple(entry for entry in entries if entry.pattern is not None),
        )

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, in the order in which they are looked at."""
        return (*self._exact.values(), *self._patterns)

    def look_up(self, name: str) -> Match | None:
        """What `name` runs, or None where nothing allows it."""
        if "\0" in name:  # no argument can hold it
            return None
        if entry := self._exact.get(name):
            return Match(entry=entry, argv=_shell(entry.words, name) if entry.shell else entry.words)
        for entry in self._patterns:
            assert entry.pattern is not None
            if found := entry.pattern.fullmatch(name):
                if entry.shell:
                    # As $1, $2, …: the text of the script stays what the entry says.
                    groups = (caught or "" for caught in found.groups())
                    return Match(entry=entry, argv=_shell(entry.words, name, *groups))
                return Match(entry=entry, argv=tuple(_substitute(word, found) for word in entry.words))
        return None


def merge(tables: Sequence[tuple[Path, Mapping[str, object]]]) -> Whitelist:
    """The whitelist of several files; the default where there is none.

    :raise WhitelistError: an entry is none, or is there twice; the text names the file or both of them.
    """
    origin: dict[str, Path] = {}
    entries = []
    for path, table in tables:
        for name, value in table.items():
            if name in origin:
                raise WhitelistError(f"{name!r} is in {origin[name]} and again in {path}; expected it once")
            origin[name] = path
            try:
                entries.append(_entry(name, value))
            except WhitelistError as error:
                raise WhitelistError(f"{path}: whitelist: {error}") from None
    return Whitelist.of(entries) if tables else Whitelist.parse(DEFAULT)


def _entry(name: str, value: object) -> Entry:
    try:
        # Either shape by its own: msgspec says better what was expected where it has no choice.
        table = _Table(command=value) if isinstance(value, str) else msgspec.convert(value, _Table)
    except msgspec.ValidationError as error:
        raise WhitelistError(f"{name!r}: {_said(error)}") from None
    try:
        pattern = re.compile(name) if table.match == "re" else None
    except re.error as error:
        raise WhitelistError(f"{name!r}: expected a regular expression: {error}") from None
    _check(name, table)
    return Entry(
        name=name,
        words=_words(name, table, pattern),
        pattern=pattern,
        shell=table.shell,
        lock=Path(table.lock) if isinstance(table.lock, str) else table.lock,
        user=table.user,
        allow_user=None if table.allow_user is None else frozenset(table.allow_user),
        dir=table.dir,
        env=table.env,
        timeout=table.timeout,
        capture_limit=table.capture_limit,
    )


def _check(name: str, table: _Table) -> None:
    for key, path in (("lock", table.lock), ("dir", table.dir)):
        if isinstance(path, str) and (not path.startswith("/") or "\0" in path):
            raise WhitelistError(f"{name!r}: {key}: expected an absolute path, got {path!r}")
    for variable, value in table.env.items():
        if "=" in variable or "\0" in variable + value:
            raise WhitelistError(f"{name!r}: env: {variable!r} is no name and value of an environment variable")


def _words(name: str, table: _Table, pattern: re.Pattern[str] | None) -> tuple[str, ...]:
    if table.shell:
        if not table.command.strip() or "\0" in table.command:
            raise WhitelistError(f"{name!r}: expected a command, got an empty one")
        if pattern is not None and any(group[1] for group in _GROUP.finditer(table.command)):
            raise WhitelistError(f'{name!r}: expected "$1" and not \\1 for a group: a shell runs the command')
        return (table.command,)
    if pattern is None:
        return _split(name, table.command)
    # Groups are hidden from shlex, to which a backslash means something.
    hidden = _GROUP.sub(lambda group: f"\0{group[1]}\0" if group[1] else group[0], table.command)
    words = _split(name, hidden)
    wanted = max((int(number) for word in words for number in _PLACE.findall(word)), default=0)
    if wanted > pattern.groups:
        raise WhitelistError(f"{name!r}: the command uses \\{wanted}, but the expression has {pattern.groups} group(s)")
    return words


def _shell(words: tuple[str, ...], name: str, *groups: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", *words, name, *groups)


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
