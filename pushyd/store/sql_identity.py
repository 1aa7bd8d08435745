"""Of the store in a database, the part about identity and node objects: which function reads, and which one writes.

The functions are in :mod:`identity`, :mod:`directory` and :mod:`chef_nodes`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from pushyd.store import chef_nodes, directory, identity
from pushyd.store.interface import EMPTY, Found, Organization, StoredGroup, StoredNode, StoredPrincipal

T = TypeVar("T")
P = ParamSpec("P")


class SqlIdentity(ABC):
    """An `IdentityStore` and a `NodeObjectStore`; see :mod:`pushyd.store.interface` for what the methods do."""

    @abstractmethod
    async def _read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns, in a thread that reads."""

    @abstractmethod
    async def _write(self, work: Callable[Concatenate[Connection, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do `work` in the thread that writes; it is committed when this returns."""

    async def _change(self, work: Callable[Concatenate[Connection, P], None], *args: P.args, **kwargs: P.kwargs) -> int:
        """Write something that makes a new generation of identity; which one."""
        made = 0

        def change(connection: Connection) -> None:
            nonlocal made
            work(connection, *args, **kwargs)
            made = directory.next_generation(connection)

        await self._write(change)
        return made

    async def identity_generation(self) -> int:
        return await self._read(directory.read_generation)

    async def organizations(self) -> Sequence[Organization]:
        return await self._read(identity.read_organizations)

    async def organization(self, name: str) -> Organization | None:
        return await self._read(identity.read_organization, name)

    async def create_organization(self, name: str, guid: str, full_name: str = "") -> int:
        return await self._change(identity.create_organization, name, guid, full_name)

    async def found_organization(
        self, name: str, *, guid: str, full_name: str, admin: str, validator: str, validator_key: str
    ) -> int:
        return await self._change(
            directory.found_organization,
            name,
            guid=guid,
            full_name=full_name,
            admin=admin,
            validator=validator,
            validator_key=validator_key,
        )

    async def rename_organization(self, name: str, full_name: str) -> int:
        return await self._change(directory.rename_organization, name, full_name)

    async def identify_organization(self, name: str, guid: str) -> int:
        return await self._change(directory.identify_organization, name, guid)

    async def delete_organization(self, name: str) -> int:
        return await self._change(directory.delete_organization, name)

    async def principals(self, organization: str, name: str) -> Sequence[StoredPrincipal]:
        return await self._read(identity.read_principals, organization, name)

    async def keys(self, organization: str | None, name: str) -> Mapping[str, str] | None:
        return await self._read(directory.read_keys, organization, name)

    async def put_key(self, organization: str | None, name: str, key: str, public_key: str) -> int:
        return await self._change(directory.put_key, organization, name, key, public_key)

    async def users(self, organization: str | None = None) -> Sequence[str]:
        return await self._read(directory.read_users, organization)

    async def profile(self, user: str) -> Mapping[str, str] | None:
        return await self._read(directory.read_profile, user)

    async def create_user(
        self,
        name: str,
        public_key: str | None,
        organizations: Sequence[str] = (),
        profile: Mapping[str, str] = EMPTY,
    ) -> int:
        return await self._change(identity.create_user, name, public_key, tuple(organizations), profile)

    async def change_user(self, name: str, new_name: str, profile: Mapping[str, str]) -> int:
        return await self._change(directory.change_user, name, new_name, profile)

    async def delete_user(self, name: str) -> int:
        return await self._change(directory.delete_user, name)

    async def associate(self, organization: str, user: str) -> int:
        return await self._change(directory.associate, organization, user)

    async def dissociate(self, organization: str, user: str) -> int:
        return await self._change(directory.dissociate, organization, user)

    async def clients(self, organization: str) -> Sequence[str]:
        return await self._read(directory.read_clients, organization)

    async def create_client(self, organization: str, name: str, public_key: str | None) -> int:
        return await self._change(identity.create_client, organization, name, public_key)

    async def rename_client(self, organization: str, name: str, new_name: str) -> int:
        return await self._change(directory.rename_client, organization, name, new_name)

    async def delete_client(self, organization: str, name: str) -> int:
        return await self._change(directory.delete_client, organization, name)

    async def groups(self, organization: str) -> Mapping[str, StoredGroup]:
        return await self._read(identity.read_groups, organization)

    async def create_group(self, organization: str, name: str) -> int:
        return await self._change(identity.create_group, organization, name)

    async def set_group(self, organization: str, group: StoredGroup) -> int:
        return await self._change(directory.set_group, organization, group)

    async def delete_group(self, organization: str, name: str) -> int:
        return await self._change(directory.delete_group, organization, name)

    async def add_to_group(self, organization: str, group: str, kind: str, member: str) -> int:
        return await self._change(identity.add_to_group, organization, group, kind, member)

    async def remove_from_group(self, organization: str, group: str, kind: str, member: str) -> int:
        return await self._change(directory.remove_from_group, organization, group, kind, member)

    async def node_names(self, organization: str) -> Sequence[str]:
        return await self._read(chef_nodes.read_node_names, organization)

    async def node_object(self, organization: str, name: str) -> bytes | None:
        return await self._read(chef_nodes.read_node_object, organization, name)

    async def create_node_object(self, organization: str, node: StoredNode) -> None:
        await self._write(chef_nodes.create_node_object, organization, node)

    async def change_node_object(
        self, organization: str, name: str, change: Callable[[bytes | None], bytes | None]
    ) -> None:
        await self._write(chef_nodes.change_node_object, organization, name, change)

    async def delete_node_object(self, organization: str, name: str) -> None:
        await self._write(chef_nodes.delete_node_object, organization, name)

    async def find_node_objects(
        self,
        organization: str,
        matches: Callable[[StoredNode], bool],
        show: Callable[[StoredNode], bytes],
        *,
        start: int,
        rows: int,
        max_bytes: int,
    ) -> Found:
        return await self._read(
            chef_nodes.find_node_objects, organization, matches, show, start=start, rows=rows, max_bytes=max_bytes
        )
