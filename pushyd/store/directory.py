"""The statements that list and change users, clients and groups; run as those about jobs are.

Members of groups are names without a reference, for a name can be a user, a client or a group: who goes is taken out of
its groups here, so that whoever gets the name later is not in them.
"""

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Table,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.types import Text

from pushyd.store import identity
from pushyd.store.bulk import JsonItem, JsonRows, encode_rows
from pushyd.store.interface import ADMINS, NotFound, StillNeeded, StoredGroup, UnknownMember
from pushyd.store.names import read_names
from pushyd.store.schema import (
    associations,
    client_keys,
    clients,
    group_members,
    groups,
    identity_generation,
    jobs,
    organizations,
    user_keys,
    users,
)


def read_generation(connection: Connection) -> int:
    """The generation."""
    generation: int = connection.execute(select(identity_generation.c.generation)).scalar_one()
    return generation


def next_generation(connection: Connection) -> int:
    """Make the generation one greater; the new one."""
    generation: int = connection.execute(
        update(identity_generation)
        .values(generation=identity_generation.c.generation + 1)
        .returning(identity_generation.c.generation)
    ).scalar_one()
    return generation


def found_organization(
    connection: Connection, name: str, *, guid: str, full_name: str, admin: str, validator: str, validator_key: str
) -> None:
    """Insert an organization and its first principals."""
    identity.create_organization(connection, name, guid, full_name)
    associate(connection, name, admin)
    identity.create_client(connection, name, validator, validator_key)
    identity.create_group(connection, name, ADMINS)
    identity.add_to_group(connection, name, ADMINS, "user", admin)


def rename_organization(connection: Connection, name: str, full_name: str) -> None:
    """Update the full name."""
    _change_organization(connection, name, full_name=full_name)


def identify_organization(connection: Connection, name: str, guid: str) -> None:
    """Update the id."""
    _change_organization(connection, name, guid=guid)


def _change_organization(connection: Connection, name: str, **values: str) -> None:
    _required(
        connection.execute(update(organizations).where(organizations.c.name == name).values(**values)),
        f"organization '{name}'",
    )


def delete_organization(connection: Connection, name: str) -> None:
    """Delete an organization without jobs; what belongs to it goes with it."""
    if (
        connection.execute(select(true()).select_from(organizations).where(organizations.c.name == name)).first()
        is None
    ):
        raise NotFound(f"organization '{name}'")
    if connection.execute(select(true()).where(jobs.c.organization == name).limit(1)).first():
        raise StillNeeded(f"organization '{name}' has jobs")
    connection.execute(delete(organizations).where(organizations.c.name == name))


# Keys


def read_keys(connection: Connection, organization: str | None, name: str) -> Mapping[str, str] | None:
    """The keys of a client or a user, by name."""
    table, where = _principal(organization, name)
    if connection.execute(select(true()).select_from(table).where(where)).first() is None:
        return None
    keys, where = _keys(organization, name)
    rows = connection.execute(select(keys.c.name, keys.c.public_key).where(where).order_by(keys.c.name))
    return {row.name: row.public_key for row in rows}


def put_key(connection: Connection, organization: str | None, name: str, key: str, public_key: str) -> None:
    """Insert or replace a key."""
    table, where = _principal(organization, name)
    if connection.execute(select(true()).select_from(table).where(where)).first() is None:
        raise NotFound(f"'{name}'")
    keys, where = _keys(organization, name)
    changed = connection.execute(update(keys).where(where, keys.c.name == key).values(public_key=public_key))
    if not changed.rowcount:
        owner = {"user_name": name} if organization is None else {"organization": organization, "client": name}
        connection.execute(insert(keys), {**owner, "name": key, "public_key": public_key})


def _principal(organization: str | None, name: str) -> tuple[Table, ColumnElement[bool]]:
    if organization is None:
        return users, users.c.name == name
    return clients, (clients.c.organization == organization) & (clients.c.name == name)


def _keys(organization: str | None, name: str) -> tuple[Table, ColumnElement[bool]]:
    if organization is None:
        return user_keys, user_keys.c.user_name == name
    return client_keys, (client_keys.c.organization == organization) & (client_keys.c.client == name)


# Users


def read_users(connection: Connection, organization: str | None) -> Sequence[str]:
    """The names of users."""
    if organization is None:
        return read_names(connection, users.c.name, true())
    return read_names(connection, associations.c.user_name, associations.c.organization == organization)


def read_profile(connection: Connection, user: str) -> Mapping[str, str] | None:
    """The profile of a user."""
    profile = connection.execute(select(users.c.profile).where(users.c.name == user)).scalar()
    return None if profile is None else json.loads(profile)


def change_user(connection: Connection, name: str, new_name: str, profile: Mapping[str, str]) -> None:
    """Update a user; with another name it is made anew, and what refers to it is led there."""
    if new_name != name:
        connection.execute(insert(users), {"name": new_name})
        for references in (user_keys.c.user_name, associations.c.user_name):
            connection.execute(update(references.table).where(references == name).values(user_name=new_name))
        _rename_member(connection, None, "user", name, new_name)
        _required(connection.execute(delete(users).where(users.c.name == name)), f"user '{name}'")
    changed = connection.execute(
        update(users).where(users.c.name == new_name).values(profile=identity.encode_profile(profile))
    )
    _required(changed, f"user '{name}'")


def delete_user(connection: Connection, name: str) -> None:
    """Delete a user and what refers to it."""
    _required(connection.execute(delete(users).where(users.c.name == name)), f"user '{name}'")
    _forget_member(connection, None, "user", name)


def associate(connection: Connection, organization: str, user: str) -> None:
    """Insert an association."""
    connection.execute(insert(associations), {"organization": organization, "user_name": user})


def dissociate(connection: Connection, organization: str, user: str) -> None:
    """Delete an association, and the memberships that it allowed."""
    gone = connection.execute(
        delete(associations).where(associations.c.organization == organization, associations.c.user_name == user)
    )
    _required(gone, f"user '{user}'")
    _forget_member(connection, organization, "user", user)


# Clients


def read_clients(connection: Connection, organization: str) -> Sequence[str]:
    """The names of clients."""
    return read_names(connection, clients.c.name, clients.c.organization == organization)


def rename_client(connection: Connection, organization: str, name: str, new_name: str) -> None:
    """Make a client anew under another name, and lead what refers to it there."""
    connection.execute(insert(clients), {"organization": organization, "name": new_name})
    connection.execute(
        update(client_keys)
        .where(client_keys.c.organization == organization, client_keys.c.client == name)
        .values(client=new_name)
    )
    _rename_member(connection, organization, "client", name, new_name)
    _delete_client(connection, organization, name)


def delete_client(connection: Connection, organization: str, name: str) -> None:
    """Delete a client and what refers to it."""
    _delete_client(connection, organization, name)
    _forget_member(connection, organization, "client", name)
    identity.delete_registration(connection, organization, name)


def _delete_client(connection: Connection, organization: str, name: str) -> None:
    gone = connection.execute(delete(clients).where(clients.c.organization == organization, clients.c.name == name))
    _required(gone, f"client '{name}'")


# Groups


def set_group(connection: Connection, organization: str, group: StoredGroup) -> None:
    """Replace the members of a group."""
    wanted = [
        ("user", group.users, read_users(connection, organization)),
        ("client", group.clients, read_clients(connection, organization)),
        ("group", group.groups, read_names(connection, groups.c.name, groups.c.organization == organization)),
    ]
    if group.name not in wanted[-1][-1]:
        raise NotFound(f"group '{group.name}'")
    unknown = [f"{kind} '{name}'" for kind, names, known in wanted for name in sorted(names.difference(known))]
    if unknown:
        raise UnknownMember(", ".join(unknown))
    connection.execute(
        delete(group_members).where(
            group_members.c.organization == organization, group_members.c.group_name == group.name
        )
    )
    rows = [(kind, name) for kind, names, _ in wanted for name in sorted(names)]
    connection.execute(
        _INSERT_MEMBERS, {"organization": organization, "group_name": group.name, "rows": encode_rows(rows)}
    )


_rows = JsonRows(bindparam("rows", type_=Text())).table_valued("value", name="rows")
_INSERT_MEMBERS = insert(group_members).from_select(
    ["organization", "group_name", "kind", "member"],
    select(
        bindparam("organization", type_=group_members.c.organization.type),
        bindparam("group_name", type_=group_members.c.group_name.type),
        *(JsonItem(_rows.c.value, literal_column(str(index))) for index in range(2)),
    ),
)


def delete_group(connection: Connection, organization: str, name: str) -> None:
    """Delete a group, its members and its memberships."""
    gone = connection.execute(delete(groups).where(groups.c.organization == organization, groups.c.name == name))
    _required(gone, f"group '{name}'")
    _forget_member(connection, organization, "group", name)


def remove_from_group(connection: Connection, organization: str, group: str, kind: str, member: str) -> None:
    """Delete a member."""
    connection.execute(
        delete(group_members).where(_member(organization, kind, member), group_members.c.group_name == group)
    )


def _forget_member(connection: Connection, organization: str | None, kind: str, member: str) -> None:
    connection.execute(delete(group_members).where(_member(organization, kind, member)))


def _rename_member(connection: Connection, organization: str | None, kind: str, member: str, new: str) -> None:
    connection.execute(update(group_members).where(_member(organization, kind, member)).values(member=new))


def _member(organization: str | None, kind: str, member: str) -> ColumnElement[bool]:
    """The memberships of one; without an organization, in all of them."""
    of_one = (group_members.c.kind == kind) & (group_members.c.member == member)
    return of_one if organization is None else of_one & (group_members.c.organization == organization)


def _required(result: CursorResult[tuple[()]], what: str) -> None:
    if not result.rowcount:
        raise NotFound(what)
