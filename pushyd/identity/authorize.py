"""Who may do what: section 2 of the protocol, as rules over a caller and the groups of its organization."""

from enum import Enum

from pushyd.identity.interface import Caller, Identity
from pushyd.store.interface import ADMINS

READERS = "pushy_job_readers"
WRITERS = "pushy_job_writers"


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
    match right:
        case Right.READ:
            return await _is_member(identity, caller, READERS) is not False
        case Right.WRITE:
            is_writer = await _is_member(identity, caller, WRITERS)
            return await is_member(identity, caller, ADMINS) if is_writer is None else is_writer
        case Right.CREATE_CLIENT:
            return is_validator(caller) or await is_member(identity, caller, ADMINS)
        case Right.ADMINISTER | Right.ADMINISTER_SERVER:
            return await is_member(identity, caller, ADMINS)


def is_validator(caller: Caller) -> bool:
    """Whether the caller is the client that introduces new clients to its organization."""
    return caller.is_client and is_validator_name(caller.organization, caller.name)


def is_validator_name(organization: str, client: str) -> bool:
    """Whether a client's name is that of its organization's validator."""
    return client == validator_of(organization)


def validator_of(organization: str) -> str:
    """The name of the client that introduces new clients to an organization."""
    return f"{organization}-validator"


async def is_member(identity: Identity, caller: Caller, group: str) -> bool:
    """Whether the caller is in the group, or in one of its groups, to any depth; cycles end."""
    return await _is_member(identity, caller, group) or False


async def _is_member(identity: Identity, caller: Caller, group: str) -> bool | None:
    """The same; None where there is no such group."""
    seen: set[str] = set()
    waiting = [group]
    is_there = False
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        members = await identity.group(caller.organization, name)
        if members is None:
            continue
        is_there = is_there or name == group
        if (caller.is_user and caller.name in members.users) or (caller.is_client and caller.name in members.clients):
            return True
        waiting.extend(members.groups)
    return False if is_there else None
