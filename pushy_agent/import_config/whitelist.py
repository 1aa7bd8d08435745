"""The original's whitelist as ours: names, hashes and regular expressions, entry by entry."""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import field, frozen

from pushy_agent.import_config.commands import Command, convert_command
from pushy_agent.import_config.regex import Translated, translate
from pushy_agent.whitelist import Whitelist, WhitelistError
from pushy_protocol.conversion import Finding, Unconvertible, table, text
from pushy_protocol.ruby_values import Hash, Pair, Regex, Symbol, Value

_NARROWED = "the original took it anywhere in the name; here all of the name must match"
_SPLIT = "what is caught is split into words, as before; put quotes around what shall be one word"


@frozen(kw_only=True)
class Entries:
    """The entries of a whitelist in TOML's shape, by name, and what has to be told of them."""

    table: dict[str, str | dict[str, Any]] = field(factory=dict)
    findings: list[Finding] = field(factory=list)

    def add(self, pair: Pair) -> None:
        """Convert one entry of the original."""
        name = _name(pair.key)
        try:
            key, entry, notes = _converted(pair)
            self._check_is_free(key, entry)
        except Unconvertible as problem:
            self.findings.append(Finding(line=pair.line, what=name, why=str(problem)))
            return
        self.table[key] = entry
        self.findings.extend(Finding(line=pair.line, what=name, why=note, converted=True) for note in notes)

    def _check_is_free(self, key: str, entry: str | dict[str, Any]) -> None:
        # Of two alike, the later replaces the earlier, in Ruby too.
        if key in self.table and _is_pattern(self.table[key]) != _is_pattern(entry):
            raise Unconvertible("there are a name and an expression of the same text")


def convert_entries(whitelist: Hash) -> Entries:
    """All entries of a hash."""
    entries = Entries()
    for pair in whitelist.pairs:
        entries.add(pair)
    return entries


def _name(key: Value) -> str:
    match key:
        case Regex(source, flags):
            return f"/{source}/{flags}"
        case str():
            return repr(key)
        case Symbol(name):
            return f":{name}"
    return str(key)


def _is_pattern(entry: str | dict[str, Any]) -> bool:
    return isinstance(entry, dict) and entry.get("match") == "re"


def _converted(pair: Pair) -> tuple[str, str | dict[str, Any], list[str]]:
    """An entry's name and value in TOML, and what to look at."""
    notes = []
    expression: Translated | None = None
    match pair.key:
        case Regex():
            expression = translate(pair.key)
            name = expression.pattern
            if not expression.is_whole:
                notes.append(_NARROWED)
        case str(name):
            pass
        case _:
            raise Unconvertible("it never matched: a name is a string or a regular expression")
    command, others = _parts(pair.value, expression)
    if command.is_split:
        notes.append(_SPLIT)
    entry: dict[str, Any] = {"command": command.text}
    if expression:
        entry["match"] = "re"
    if command.shell:
        entry["shell"] = True
    entry |= others
    value = command.text if len(entry) == 1 else entry
    try:
        Whitelist.parse({name: value})
    except WhitelistError as error:
        raise Unconvertible(str(error)) from None
    return name, value, notes


def _parts(value: Value, expression: Translated | None) -> tuple[Command, Mapping[str, Any]]:
    """An entry's command, and what else it says."""
    if not isinstance(value, Hash):
        return convert_command(text(value), expression), {}
    given = table(value)
    if "command_line" not in given:
        raise Unconvertible("expected a :command_line")
    others: dict[str, Any] = {}
    for key, (said, _) in given.items():
        if said is not None and key != "command_line":
            others |= dict(_part(key, said))
    return convert_command(text(given["command_line"][0]), expression), others


def _part(key: str, said: Value) -> Iterator[tuple[str, Any]]:
    match key, said:
        case "lock", bool():
            if said:
                yield key, said
        case "lock" | "user" | "dir", _:
            yield key, text(said)
        case "env", _:
            yield key, {name: text(value) for name, (value, _) in table(said).items()}
        case _:
            raise Unconvertible(f"it has {key!r}, which entries have not")
