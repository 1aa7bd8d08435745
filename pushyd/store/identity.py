"""The statements about organizations, users, clients, groups and registrations; run as those about jobs are.

Here is what authentication and authorization need, and making the first of each. To change what is there:
:mod:`directory`.
"""

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, desc, func, insert, literal, select, true, union_all

from pushyd.store.bulk import INSERTS, Insert
from pushyd.store.interface import DEFAULT_KEY, Organization, Registration, StoredGroup, StoredPrincipal
from pushyd.store.schema import (
    associations,
    client_keys,
    clients,
    group_members,
    groups,
    organizations,
    registrations,
    user_keys,
    users,
)
from pushyd.store.text import AnyText


def read_organization(connection: Connection, name: str) -> Organization | None:
    """One organization."""
    row = connection.execute(_ORGANIZATIONS.where(organizations.c.name == name)).mappings().first()
    return None if row is None else Organization(**row)


def read_organizations(connection: Connection) -> Sequence[Organization]:
    """Every organization, the first that was made first."""
    rows = connection.execute(_ORGANIZATIONS.order_by(organizations.c.founded, organizations.c.name))
    return [Organization(**row) for row in rows.mappings()]


_ORGANIZATIONS = select(
    organizations.c.name, organizations.c.guid, func.coalesce(organizations.c.full_name, "").label("full_name")
)


def create_organization(connection: Connection, name: str, guid: str, full_name: str = "") -> None:
    """Insert an organization."""
    last = select(func.coalesce(func.max(organizations.c.founded), 0)).scalar_subquery()
    connection.execute(insert(organizations).values(name=name, guid=guid, full_name=full_name, founded=last + 1))


def read_principals(connection: Connection, organization: str, name: str) -> Sequence[StoredPrincipal]:
    """The user and the client of a name, each with its keys by their names' order."""
    keys: dict[tuple[str, bool], list[str]] = {}
    for kind, associated, public_key, _ in connection.execute(_PRINCIPALS, {"of": organization, "called": name}):
        of_one = keys.setdefault((kind, associated), [])
        if public_key is not None:
            of_one.append(public_key)
    return [
        StoredPrincipal(name=name, kind=kind, public_keys=tuple(of_one), associated=associated)
        for (kind, associated), of_one in keys.items()
    ]


# One statement, and made once: of a fleet that comes online each node asks for it.
_of, _called = bindparam("of", type_=AnyText()), bindparam("called", type_=AnyText())
_PRINCIPALS = union_all(
    select(
        literal("user").label("kind"),
        associations.c.organization.is_not(None).label("associated"),
        user_keys.c.public_key,
        user_keys.c.name.label("key"),
    )
    .select_from(users)
    .outerjoin(user_keys, user_keys.c.user_name == users.c.name)
    .outerjoin(associations, (associations.c.user_name == users.c.name) & (associations.c.organization == _of))
    .where(users.c.name == _called),
    select(literal("client"), true(), client_keys.c.public_key, client_keys.c.name)
    .select_from(clients)
    .outerjoin(
        client_keys,
        (client_keys.c.organization == clients.c.organization) & (client_keys.c.client == clients.c.name),
    )
    .where(clients.c.organization == _of, clients.c.name == _called),
).order_by(desc("kind"), "key")


def create_user(
    connection: Connection,
    name: str,
    public_key: str | None,
    in_organizations: Sequence[str],
    profile: Mapping[str, str],
) -> None:
    """Insert a user, its first key and its associations."""
    connection.execute(insert(users), {"name": name, "profile": encode_profile(profile)})
    if public_key is not None:
        connection.execute(insert(user_keys), {"user_name": name, "name": DEFAULT_KEY, "public_key": public_key})
    if in_organizations:
        connection.execute(
            insert(associations),
            [{"organization": organization, "user_name": name} for organization in in_organizations],
        )


def encode_profile(profile: Mapping[str, str]) -> str:
    """A user's profile as it is stored."""
    return json.dumps(dict(profile))


def create_client(connection: Connection, organization: str, name: str, public_key: str | None) -> None:
    """Insert a client and its first key."""
    connection.execute(insert(clients), {"organization": organization, "name": name})
    if public_key is not None:
        connection.execute(
            insert(client_keys),
            {"organization": organization, "client": name, "name": DEFAULT_KEY, "public_key": public_key},
        )


def read_groups(connection: Connection, organization: str) -> Mapping[str, StoredGroup]:
    """Every group, with its direct members."""
    members: dict[str, dict[str, set[str]]] = {}
    for row in connection.execute(
        select(groups.c.name, group_members.c.kind, group_members.c.member)
        .outerjoin(
            group_members,
            (group_members.c.organization == groups.c.organization) & (group_members.c.group_name == groups.c.name),
        )
        .where(groups.c.organization == organization)
    ):
        of_group = members.setdefault(row.name, {"user": set(), "client": set(), "group": set()})
        if row.kind is not None:
            of_group[row.kind].add(row.member)
    return {
        name: StoredGroup(
            name=name,
            users=frozenset(kinds["user"]),
            clients=frozenset(kinds["client"]),
            groups=frozenset(kinds["group"]),
        )
        for name, kinds in members.items()
    }


def create_group(connection: Connection, organization: str, name: str) -> None:
    """Insert a group."""
    connection.execute(insert(groups), {"organization": organization, "name": name})


def add_to_group(connection: Connection, organization: str, group: str, kind: str, member: str) -> None:
    """Insert a member, where it is none yet."""
    connection.execute(
        _ADD_MEMBER[connection.dialect.name],
        {"organization": organization, "group_name": group, "kind": kind, "member": member},
    )


_ADD_MEMBER = {dialect: into(group_members).on_conflict_do_nothing() for dialect, into in INSERTS.items()}


def save_registration(connection: Connection, registration: Registration) -> None:
    """Insert or replace the registration of a node."""
    connection.execute(
        _REGISTER[connection.dialect.name],
        {
            "organization": registration.organization,
            "node": registration.node,
            "curve_key": registration.curve_key,
            "session_salt": registration.session_salt,
            "protocol_version": registration.protocol_version,
        },
    )


def _replace(insertion: Insert) -> Insert:
    replaced = [column.name for column in registrations.columns if not column.primary_key]
    return insertion.on_conflict_do_update(
        index_elements=list(registrations.primary_key), set_={name: insertion.excluded[name] for name in replaced}
    )


_REGISTER = {dialect: _replace(into(registrations)) for dialect, into in INSERTS.items()}


def delete_registration(connection: Connection, organization: str, node: str) -> None:
    """Delete the registration of a node, where it has one."""
    connection.execute(
        delete(registrations).where(registrations.c.organization == organization, registrations.c.node == node)
    )


def read_registrations(connection: Connection) -> Sequence[Registration]:
    """Every registration."""
    return [Registration(**row) for row in connection.execute(select(registrations)).mappings()]
