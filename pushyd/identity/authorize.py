"""Who may do what: section 2 of the protocol, as rules over a caller and the groups of its organization."""

from collections.abc import Mapping
from enum import Enum

from pushyd.identity.interface import Caller, Group, Identity
from pushyd.store.interface import ADMINS

_READERS = "pushy_job_readers"
_WRITERS = "pushy_job_writers"


class Right(Enum):
    """What a request needs its caller to have."""

    READ = "read jobs and nodes"
    WRITE = "start and abort jobs"
    CREATE_CLIENT = "create clients"
    ADMINISTER = "administer the organization"
    ADMINISTER_SERVER = "administer the server: its users and organizations"


async def may(identity: Identity, caller: Caller, right: Right) -> bool:
    """Whether the caller has the right in the organization that it was authenticated for.

    Who administers the organization that was made first administers the server.
    """
    if right is Right.ADMINISTER_SERVER and caller.organization != await identity.founding_organization():
        return False
    groups = await identity.groups(caller.organization)
    match right:
        case Right.READ:
            return _READERS not in groups or is_member(caller, _READERS, groups)
        case Right.WRITE:
            return is_member(caller, _WRITERS if _WRITERS in groups else ADMINS, groups)
        case Right.CREATE_CLIENT:
            return is_validator(caller) or is_member(caller, ADMINS, groups)
        case Right.ADMINISTER | Right.ADMINISTER_SERVER:
            return is_member(caller, ADMINS, groups)


def is_validator(caller: Caller) -> bool:
    """Whether the caller is the client that introduces new clients to its organization."""
    return caller.is_client and is_validator_name(caller.organization, caller.name)


def is_validator_name(organization: str, client: str) -> bool:
    """Whether a client's name is that of its organization's validator."""
    return client == validator_of(organization)


def validator_of(organization: str) -> str:
    """The name of the client that introduces new clients to an organization."""
    return f"{organization}-validator"


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
