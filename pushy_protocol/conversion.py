"""What the two ``import-config`` commands share: files of the original's configuration in, TOML of ours out.

A command converts what it knows the meaning of, and tells of everything else with its line, so that nothing that was
configured is lost without a word. Only this module touches the files; what a setting becomes is up to the programs.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

import tomlkit
from attrs import frozen
from tomlkit.items import Item, KeyType, SingleKey

from pushy_protocol.ruby_values import Hash, Reading, Setting, Symbol, Value, plain, read_values

INCOMPLETE = 3
"""The exit status where something could not be converted."""

MAX_FILE_BYTES = 1_000_000


class Unconvertible(ValueError):
    """A value that has no equal in ours; the text says why."""


@frozen(kw_only=True)
class Finding:
    """Something that the operator has to know.

    :param what: what stands there, or is missing
    :param line: where, None for the file as a whole
    :param converted: whether it was converted nevertheless, and should only be looked at
    """

    what: str
    why: str
    line: int | None = None
    converted: bool = False

    def told(self, file: Path) -> str:
        """One line of text."""
        place = str(file) if self.line is None else f"{file}:{self.line}"
        return f"{place}: {'converted, but look at it' if self.converted else 'not converted'}: {self.what}: {self.why}"


@frozen(kw_only=True)
class Conversion:
    """A TOML document, and what has to be told of it."""

    toml: str
    findings: tuple[Finding, ...]

    @property
    def is_complete(self) -> bool:
        """Whether everything was converted."""
        return all(finding.converted for finding in self.findings)


def import_file(
    source: Path,
    output: Path | None,
    convert: Callable[[Reading, str], Conversion],
    *,
    out: TextIO,
    errors: TextIO,
) -> int:
    """Convert a file, and tell of it; the result is an exit status, 0 or :data:`INCOMPLETE`.

    :param output: a new file, with the permissions of the source; None for `out`
    :param convert: makes TOML of what was read from a file of that name
    :raise OSError: one of the files cannot be read or written, or `output` is there already
    :raise ValueError: the source is none that could be read
    """
    with source.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
        mode = os.fstat(file.fileno()).st_mode & 0o666
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{source}: expected at most {MAX_FILE_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{source}: expected UTF-8: {error}") from None
    done = convert(read_values(text, file=str(source.absolute())), source.name)
    if output is None:
        out.write(done.toml)
    else:
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as made:
            made.write(done.toml)
        errors.write(f"Wrote {output}.\n")
    in_order = sorted(done.findings, key=lambda finding: finding.line or 0)
    errors.writelines(f"{finding.told(source)}\n" for finding in in_order)
    return 0 if done.is_complete else INCOMPLETE


def unread(reading: Reading, names: Iterable[str]) -> Iterator[Finding]:
    """The lines of a file that set nothing, as far as can be known.

    :param names: of settings, which look set by ``name = value``, and are not
    """
    for skipped in reading.skipped:
        lines = "" if skipped.line == skipped.last_line else f" (to line {skipped.last_line})"
        yield Finding(line=skipped.line, what=f"{skipped.text}{lines}", why="no plain value is set there")
    known = frozenset(names)
    for variable in reading.variables:
        name = variable.path[0]
        if name in known:
            why = f"in Ruby this sets a local variable; the original reads '{name} VALUE'"
            yield Finding(line=variable.line, what=f"{name} = …", why=why)
        elif name.isupper():
            yield Finding(line=variable.line, what=f"{name} = …", why="a constant of Ruby, which no program reads")


def unconverted(setting: Setting, problem: Unconvertible) -> Finding:
    """What has to be told of a setting that was read and has no equal."""
    name, *keys = setting.path
    return Finding(line=setting.line, what=name + "".join(f"['{key}']" for key in keys), why=str(problem))


def text(value: Value) -> str:
    """The text of a string or symbol.

    :raise Unconvertible: it is neither
    """
    match value:
        case str() | Symbol():
            return str(plain(value))
    raise Unconvertible(f"expected a string, got {_kind(value)}")


def table(value: Value) -> dict[str, tuple[Value, int]]:
    """The values of a hash and their lines, by its keys, strings or symbols.

    :raise Unconvertible: it is none
    """
    if not isinstance(value, Hash):
        raise Unconvertible(f"expected a hash, got {_kind(value)}")
    return {text(pair.key): (pair.value, pair.line) for pair in value.pairs}


def _kind(value: Value) -> str:
    return "nil" if value is None else type(value).__name__.lower()


def key(name: str) -> SingleKey:
    """A key of TOML, which is quoted as a person would."""
    literal = _may_be_literal(name) and ("\\" in name or '"' in name)
    return SingleKey(name, KeyType.Literal if literal else None)


def item(value: object) -> Item:
    """A value of TOML, which is quoted as a person would."""
    if isinstance(value, str):
        return tomlkit.string(value, literal=_may_be_literal(value) and ("\\" in value or '"' in value))
    if isinstance(value, dict):
        inline = tomlkit.inline_table()
        for name, each in value.items():
            inline.add(key(name), item(each))
        return inline
    return tomlkit.item(value)


def _may_be_literal(text: str) -> bool:
    return "'" not in text and text.isprintable()
