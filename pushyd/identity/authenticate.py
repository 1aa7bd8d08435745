"""Who signed a request: section 1 of the protocol from its headers to a caller."""

from collections.abc import Callable, Mapping

from pushy_protocol.http_signing import SigningError, parse
from pushyd.identity.interface import Caller, Identity


class NotAssociated(Exception):
    """A principal that is known, but not of this organization; the text is for it."""


class UnknownOrganization(Exception):
    """There is no such organization; the text is for the caller."""


async def authenticate(
    identity: Identity,
    *,
    organization: str,
    headers: Mapping[str, str],
    method: str,
    path: str,
    body: bytes,
    now: Callable[[], float],
) -> Caller:
    """The caller of a request.

    :param headers: by lower-case name
    :param now: seconds since the epoch
    :raise SigningError: it is not known who it is
    :raise UnknownOrganization: a known user asks for an organization that is not
    :raise NotAssociated: a known user asks for an organization that is not its own
    """
    signed = parse(headers)
    signed.check_content(body)
    signed.check_clock(now())
    user = signed.user
    known = await identity.principals(organization, user)
    if not known:
        raise SigningError(
            f"Failed to authenticate as '{user}'. Ensure that your node_name and client key are correct."
        )
    # One name can be a user and a client: every key of both is tried, and the one that fits says in which role it came.
    keys = [key for principal in known for key in principal.public_keys]
    key = signed.check_signature(method=method, path=path, public_keys=keys)
    if not await identity.organization_exists(organization):
        raise UnknownOrganization(f"organization '{organization}' does not exist.")
    members = [principal for principal in known if principal.associated and key in principal.public_keys]
    if not members:
        raise NotAssociated(f"'{user}' is not associated with organization '{organization}'")
    return Caller(
        organization=organization,
        name=user,
        is_user=any(principal.is_user for principal in members),
        is_client=any(not principal.is_user for principal in members),
        key=key,
    )
