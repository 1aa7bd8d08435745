"""Many rows in one statement, in the words of either database.

Python's sqlite3 lets go of the interpreter lock at every row that it writes or reads, and beside a busy reactor gets
it back only after a whole switch interval, 5 ms: measured, 10,000 rows by ``executemany`` took longer than 5 s, the
same rows by one statement 0.05 s. So rows travel as one JSON parameter, or one JSON result. It is less work too.

Numbers that are not integers must not go this way: SQLite's JSON rounds them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Table, Text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from pushyd.store.text import escape


class JsonRows(FunctionElement[Any]):
    """The arrays in a JSON array of arrays (:func:`encode_rows`), as rows of one column, `value`."""

    name = "json_rows"
    inherit_cache = True


class JsonItem(FunctionElement[str]):
    """Of a `value` of :class:`JsonRows`, the item at an index, as text."""

    type = Text()
    name = "json_item"
    inherit_cache = True


class JsonTexts(FunctionElement[Any]):
    """The texts in a JSON array (:func:`encode_texts`), as rows: `position` from 0, and `value`.

    Less work than :class:`JsonRows`, each of which is taken apart once for each of its items.
    """

    name = "json_texts"
    inherit_cache = True


class JsonTable(FunctionElement[str]):
    """An aggregate: the given columns of all rows as a text, a JSON array of arrays; null or empty without rows."""

    type = Text()
    name = "json_table"
    inherit_cache = True


class HexDigits(FunctionElement[str]):
    """Bytes as a text of hexadecimal digits: JSON holds no bytes."""

    type = Text()
    name = "hex_digits"
    inherit_cache = True


def encode_rows(rows: Iterable[Sequence[str | int | None]]) -> str:
    """The parameter of :class:`JsonRows`."""
    return msgspec.json.encode(
        [[escape(item) if isinstance(item, str) else item for item in row] for row in rows]
    ).decode()


def encode_texts(texts: Iterable[str]) -> str:
    """The parameter of :class:`JsonTexts`."""
    return msgspec.json.encode([escape(text) for text in texts]).decode()


Insert = sqlite.Insert | postgresql.Insert

# Both say ON CONFLICT, in the same words, but SQLAlchemy has it twice.
INSERTS: Mapping[str, Callable[[Table], Insert]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@compiles(JsonRows, "sqlite")
def _sqlite_rows(element: JsonRows, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(JsonRows, "postgresql")
def _postgresql_rows(element: JsonRows, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_elements(CAST({compiler.process(element.clauses, **options)} AS JSON))"


@compiles(JsonItem, "sqlite")
def _sqlite_item(element: JsonItem, compiler: SQLCompiler, **options: Any) -> str:
    value, index = (compiler.process(clause, **options) for clause in element.clauses)
    return f"json_extract({value}, '$[{index}]')"


@compiles(JsonItem, "postgresql")
def _postgresql_item(element: JsonItem, compiler: SQLCompiler, **options: Any) -> str:
    value, index = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({value} ->> {index})"


@compiles(JsonTexts, "sqlite")
def _sqlite_texts(element: JsonTexts, compiler: SQLCompiler, **options: Any) -> str:
    texts = f"json_each({compiler.process(element.clauses, **options)})"
    return f"(SELECT key AS position, atom AS value FROM {texts})"  # noqa: S608 - of a compiled clause


@compiles(JsonTexts, "postgresql")
def _postgresql_texts(element: JsonTexts, compiler: SQLCompiler, **options: Any) -> str:
    texts = f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS JSON))"
    numbered = f"{texts} WITH ORDINALITY AS texts (text, number)"
    return f"(SELECT number - 1 AS position, text AS value FROM {numbered})"  # noqa: S608 - of a compiled clause


@compiles(JsonTable, "sqlite")
def _sqlite_table(element: JsonTable, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_group_array(json_array({compiler.process(element.clauses, **options)}))"


@compiles(JsonTable, "postgresql")
def _postgresql_table(element: JsonTable, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST(json_agg(json_build_array({compiler.process(element.clauses, **options)})) AS TEXT)"


@compiles(HexDigits, "sqlite")
def _sqlite_digits(element: HexDigits, compiler: SQLCompiler, **options: Any) -> str:
    return f"hex({compiler.process(element.clauses, **options)})"


@compiles(HexDigits, "postgresql")
def _postgresql_digits(element: HexDigits, compiler: SQLCompiler, **options: Any) -> str:
    return f"encode({compiler.process(element.clauses, **options)}, 'hex')"
