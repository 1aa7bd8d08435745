"""The first principals of a server: made in its database once, with private keys in its state directory."""

from collections.abc import Mapping
from pathlib import Path

from pushy_protocol.keys import public_pem
from pushyd.identity.authorize import validator_of
from pushyd.identity.introduce import introduce, is_introduced
from pushyd.state_dir import StateDir
from pushyd.store.interface import IdentityStore

ADMIN = "admin"


async def make_first_principals(kept: IdentityStore, state: StateDir, organization: str) -> Mapping[str, Path]:
    """Make an organization with user `admin`, in its group `admins`, and its validator.

    :return: where the private key of each is; empty where the organization was there, and nothing was made
    :raise StateDirError: a key cannot be read or written
    :raise StoreUnavailable: they cannot be kept
    """
    if await is_introduced(kept, organization):
        return {}
    validator = validator_of(organization)
    keys = {name: state.principal_key(name) for name in (ADMIN, validator)}
    public = {name: public_pem(key.public_key()) for name, (_, key) in keys.items()}
    await introduce(
        kept,
        organization=organization,
        admin=ADMIN,
        admin_key=public[ADMIN],
        validator=validator,
        validator_key=public[validator],
    )
    return {name: path for name, (path, _) in keys.items()}
