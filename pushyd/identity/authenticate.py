"""Who signed a request: section 1 of the protocol from its headers to a caller."""

from collections.abc import Callable, Mapping

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from pushy_protocol.http_signing import SigningError, parse
from pushyd.identity.interface import Caller, Identity, Principal, UnknownOrganization, no_organization


class NotAssociated(Exception):
    """A principal that is known, but not of this organization; the text is for it."""


@frozen(kw_only=True)
class Signature:
    """What of a request says and proves who signed it.

    :param headers: by lower-case name
    """

    headers: Mapping[str, str]
    method: str
    path: str
    body: bytes = field(repr=False)


async def authenticate(
    identity: Identity, *, organization: str, signature: Signature, now: Callable[[], float]
) -> Caller:
    """The caller of a request about an organization.

    :param now: seconds since the epoch
    :raise SigningError: it is not known who it is
    :raise UnknownOrganization: a known user asks for an organization that is not
    :raise IdentityUnavailable: it cannot be found out
    :raise NotAssociated: a known user asks for an organization that is not its own
    """
    user, key, owners = await _owners(identity, organization, signature, now)
    if not await identity.organization_exists(organization):
        raise UnknownOrganization(no_organization(organization))
    members = [principal for principal in owners if principal.associated]
    if not members:
        raise NotAssociated(f"'{user}' is not associated with organization '{organization}'")
    return Caller(
        organization=organization,
        name=user,
        is_user=any(principal.is_user for principal in members),
        is_client=any(not principal.is_user for principal in members),
        key=key,
    )


async def authenticate_user(identity: Identity, *, signature: Signature, now: Callable[[], float]) -> Caller:
    """The caller of a request that is about no organization: a user, of whatever organization.

    What it may do to the server is a matter of the founding organization's groups, so that is its organization here.

    :param now: seconds since the epoch
    :raise SigningError: it is not known who it is, or it is a client, which outside of its organization nobody is
    """
    organization = await identity.founding_organization()
    user, key, _ = await _owners(identity, organization, signature, now, users_only=True)
    return Caller(organization=organization, name=user, is_user=True, is_client=False, key=key)


async def _owners(
    identity: Identity,
    organization: str,
    signature: Signature,
    now: Callable[[], float],
    *,
    users_only: bool = False,
) -> tuple[str, RSAPublicKey, list[Principal]]:
    """The name that signed, the key that it signed with, and everyone of that name who has that key."""
    signed = parse(signature.headers)
    signed.check_content(signature.body)
    signed.check_clock(now())
    user = signed.user
    known = [found for found in await identity.principals(organization, user) if found.is_user or not users_only]
    if not known:
        raise SigningError(
            f"Failed to authenticate as '{user}'. Ensure that your node_name and client key are correct."
        )
    # One name can be a user and a client: every key of both is tried, and the one that fits says in which role it came.
    keys = [key for principal in known for key in principal.public_keys]
    key = signed.check_signature(method=signature.method, path=signature.path, public_keys=keys)
    return user, key, [principal for principal in known if key in principal.public_keys]
