"""The statements about node objects; run as those about jobs are."""

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import Connection, delete, insert, select

from pushyd.store.bulk import INSERTS, Insert
from pushyd.store.interface import Found, NotFound, StoredNode, TooMuch
from pushyd.store.names import read_names
from pushyd.store.schema import node_objects

_PAGE = 100


def read_node_names(connection: Connection, organization: str) -> Sequence[str]:
    """Every name, sorted."""
    return read_names(connection, node_objects.c.name, node_objects.c.organization == organization)


def read_node_object(connection: Connection, organization: str, name: str) -> bytes | None:
    """One object."""
    return connection.execute(
        select(node_objects.c.data).where(node_objects.c.organization == organization, node_objects.c.name == name)
    ).scalar()


def create_node_object(connection: Connection, organization: str, node: StoredNode) -> None:
    """Insert an object."""
    connection.execute(insert(node_objects), {"organization": organization, "name": node.name, "data": node.data})


def change_node_object(
    connection: Connection, organization: str, name: str, change: Callable[[bytes | None], bytes | None]
) -> None:
    """Insert or replace an object, by what it was."""
    data = change(read_node_object(connection, organization, name))
    if data is not None:
        connection.execute(_PUT[connection.dialect.name], {"organization": organization, "name": name, "data": data})


def _replace(insertion: Insert) -> Insert:
    return insertion.on_conflict_do_update(
        index_elements=list(node_objects.primary_key), set_={"data": insertion.excluded["data"]}
    )


_PUT = {dialect: _replace(into(node_objects)) for dialect, into in INSERTS.items()}


def delete_node_object(connection: Connection, organization: str, name: str) -> None:
    """Delete an object."""
    gone = connection.execute(
        delete(node_objects).where(node_objects.c.organization == organization, node_objects.c.name == name)
    )
    if not gone.rowcount:
        raise NotFound(f"node '{name}'")


def find_node_objects(
    connection: Connection,
    organization: str,
    matches: Callable[[StoredNode], bool],
    show: Callable[[StoredNode], bytes],
    *,
    start: int,
    rows: int,
    max_bytes: int,
) -> Found:
    """Look at all objects, some at a time, so that few are in memory."""
    total = size = 0
    shown: list[bytes] = []
    for node in _all(connection, organization):
        if not matches(node):
            continue
        if start <= total < start + rows:
            row = show(node)
            size += len(row)
            if size > max_bytes:
                raise TooMuch(f"more than {max_bytes} bytes")
            shown.append(row)
        total += 1
    return Found(total=total, rows=shown)


def _all(connection: Connection, organization: str) -> Iterator[StoredNode]:
    last: str | None = None
    while True:
        query = select(node_objects.c.name, node_objects.c.data).where(node_objects.c.organization == organization)
        if last is not None:
            query = query.where(node_objects.c.name > last)
        page = connection.execute(query.order_by(node_objects.c.name).limit(_PAGE)).all()
        for row in page:
            yield StoredNode(name=row.name, data=row.data)
        if len(page) < _PAGE:
            return
        last = page[-1].name
