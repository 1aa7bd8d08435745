"""``docs/settings.md`` names every setting there is, what it may be and what it is by default.

After a change: ``make docs`` brings the rows up to date; what a new setting of the agent is for is written by hand.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect

from pushy_agent import config as agent
from pushy_agent import whitelist
from pushy_cli import context
from pushyd import config as server
from pushyd import identity_settings as identity

PAGE = Path(__file__).parents[2] / "docs/settings.md"
_DEFAULTS = {"server_name": "the machine's full name", "node_name": "the machine's full name"}
"""Of those that have none in the class, because they depend on the machine."""


def tables() -> dict[str, list[list[str]]]:
    """The cells of the tables on the page, by the heading above them."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| `"):
            cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.setdefault(heading, []).append(cells)
    return found


def rows(kind: type[msgspec.Struct]) -> Iterator[tuple[str, str, str]]:
    """What the page has to say of each field: its name, what it may be, and its default."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        if not isinstance(field.type, inspect.StructType):
            yield f"`{field.name}`", allowed(field.type), default(field)


def allowed(kind: inspect.Type) -> str:
    match kind:
        case inspect.UnionType(types):
            return " or ".join(allowed(one) for one in types if not isinstance(one, inspect.NoneType))
        case inspect.LiteralType(values):
            return ", ".join(f"`{value}`" for value in values)
        case inspect.ListType():
            return "list of strings"
        case inspect.BoolType():
            return "`true` or `false`"
        case inspect.StrType():
            return "string"
        case inspect.DictType():
            return "table"
        case inspect.IntType() | inspect.FloatType():
            name = "integer" if isinstance(kind, inspect.IntType) else "number"
            limits = {"from": kind.ge, "above": kind.gt, "to": kind.le, "below": kind.lt}
            return " ".join(
                [
                    name,
                    *(
                        f"{word} {limit:g}" if isinstance(limit, float) else f"{word} {limit}"
                        for word, limit in limits.items()
                        if limit is not None
                    ),
                ]
            )
    raise AssertionError(kind)


def default(field: inspect.Field) -> str:
    if field.name in _DEFAULTS:
        return _DEFAULTS[field.name]
    value = (
        field.default_factory()
        if field.default is msgspec.NODEFAULT and callable(field.default_factory)
        else field.default
    )
    if value is msgspec.NODEFAULT:
        return "required"
    return "none" if value is None or value in ([], {}) else f"`{json.dumps(value)}`"


STRUCTS: dict[str, tuple[type[msgspec.Struct], Mapping[str, str]]] = {
    "pushyd": (server.Settings, server.HELP),
    "pushyd: the table `identity`": (identity.IdentitySettings, identity.IDENTITY_HELP),
    "pushy-agent": (agent._Settings, {}),
    "pushy-agent: an entry of the whitelist": (whitelist._Table, {}),
}
"""The settings below each heading, and what the program itself says that they are for."""


@pytest.mark.parametrize("heading", STRUCTS)
def test_every_setting_is_there(heading: str) -> None:
    kind, told = STRUCTS[heading]
    assert [tuple(cells[:3]) for cells in tables()[heading]] == list(rows(kind)), "make docs brings the rows up to date"
    meanings = {cells[0].strip("`"): cells[3] for cells in tables()[heading]}
    assert [name for name, meaning in meanings.items() if meaning in {"", "?"}] == []
    assert {name: meanings[name] for name in told} == dict(told)


def test_every_setting_of_the_command_line_is_there() -> None:
    said = [
        (
            ", ".join(f"`{key}`" for key in keys),
            f"`{variable}`" if variable else "none",
            f"`--{name.replace('_', '-')}`"
            if name in {"server_url", "client_name", "client_key", "ca_file"}
            else "none",
        )
        for name, (variable, keys) in context._SETTINGS.items()
    ]
    assert [tuple(cells[:3]) for cells in tables()["pushy"]] == said


def test_every_table_is_held_here() -> None:
    assert sorted(tables()) == sorted([*STRUCTS, "pushy"])


def updated(page: str) -> str:
    """The page with the rows that there should be; where nobody has said what a setting is for, there is a `?`."""
    made, heading = [], ""
    for line in page.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not (line.startswith("| `") and heading in STRUCTS):
            made.append(line)
        if line.startswith("|---") and heading in STRUCTS:
            kind, told = STRUCTS[heading]
            before = {cells[0]: cells[3] for cells in tables()[heading]}
            for row in rows(kind):
                meaning = told.get(row[0].strip("`")) or before.get(row[0], "?")
                made.append("| " + " | ".join([*row, meaning.replace("|", r"\|")]) + " |")
    return "\n".join([*made, ""])


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
