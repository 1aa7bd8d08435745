"""Lists of names, which can be those of a whole fleet: they come as one value (see :mod:`bulk`)."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, select

from pushyd.store.bulk import JsonTable
from pushyd.store.text import unescape


def read_names(connection: Connection, column: Column[str], where: ColumnElement[bool]) -> Sequence[str]:
    """What is in a column of the rows that are so, sorted."""
    table = connection.execute(select(JsonTable(column)).where(where)).scalar()
    rows = msgspec.json.decode(table, type=list[tuple[str]]) if table else []
    return sorted(unescape(name) for (name,) in rows)
