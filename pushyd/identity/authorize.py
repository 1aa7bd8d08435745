"""Who may do what: section 2 of the protocol, as rules over a caller and the groups of its organization."""

from collections.abc import Mapping
from enum import Enum

from pushyd.identity.interface import Caller, Group, Identity

_READERS = "pushy_job_readers"
_WRITERS = "pushy_job_writers"
_ADMINS = "admins"


class Right(Enum):
    """What a request needs its caller to have."""

    READ = "read jobs and nodes"
    WRITE = "start and abort jobs"
    CREATE_CLIENT = "create clients"


async def may(identity: Identity, caller: Caller, right: Right) -> bool:
    """Whether the caller has the right in the organization that it was authenticated for."""
    groups = await identity.groups(caller.organization)
    match right:
        case Right.READ:
            return _READERS not in groups or is_member(caller, _READERS, groups)
        case Right.WRITE:
            return is_member(caller, _WRITERS if _WRITERS in groups else _ADMINS, groups)
        case Right.CREATE_CLIENT:
            return is_validator(caller) or is_member(caller, _ADMINS, groups)


def is_validator(caller: Caller) -> bool:
    """Whether the caller is the client that introduces new clients to its organization."""
    return caller.is_client and caller.name == f"{caller.organization}-validator"


def is_member(caller: Caller, group: str, groups: Mapping[str, Group]) -> bool:
    """Whether the caller is in the group, or in one of its groups, to any depth; cycles end."""
    seen: set[str] = set()
    waiting = [group]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in groups:
            continue
        seen.add(name)
        members = groups[name]
        if (caller.is_user and caller.name in members.users) or (caller.is_client and caller.name in members.clients):
            return True
        waiting.extend(members.groups)
    return False
