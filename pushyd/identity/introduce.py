"""The first principals of an organization: its admin and its validator, made in the store once."""

from collections.abc import Awaitable, Callable
from uuid import uuid4

from pushyd.store import interface as store


async def introduce(
    kept: store.IdentityStore, *, organization: str, admin: str, admin_key: str, validator: str, validator_key: str
) -> bool:
    """Make an organization with its first user, in group `admins`, and its validator; False where it was there.

    The group gets its member last: where a crash left a part of it, the next start makes the rest.

    :param admin_key: PEM of the public key, as is `validator_key`
    """
    if await is_introduced(kept, organization):
        return False
    steps: list[Callable[[], Awaitable[int]]] = [
        lambda: kept.create_organization(organization, uuid4().hex),
        lambda: kept.create_user(admin, admin_key, [organization]),
        lambda: kept.associate(organization, admin),  # one who was there already, of another organization
        lambda: kept.create_client(organization, validator, validator_key),
        lambda: kept.create_group(organization, store.ADMINS),
    ]
    for make in steps:
        try:
            await make()
        except store.AlreadyExists:
            continue
    await kept.add_to_group(organization, store.ADMINS, "user", admin)
    return True


async def is_introduced(kept: store.IdentityStore, organization: str) -> bool:
    """Whether an organization is there, whole: its group `admins` has a member."""
    admins = (await kept.groups(organization)).get(store.ADMINS)
    return admins is not None and bool(admins.users or admins.clients or admins.groups)
