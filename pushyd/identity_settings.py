"""The settings of table ``[identity]``: who is known is in pushyd's own store, or on a Chef Server.

Nothing is read here but the settings; whether the key in one of them is a key, its user finds out.
"""

from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from attrs import frozen
from msgspec import Meta

Duration = Annotated[float, Meta(ge=0, le=86_400)]
Timeout = Annotated[float, Meta(ge=0.1, le=600)]
Text = Annotated[str, Meta(min_length=1)]


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting, by the names that Chef's own programs have for it. See :data:`IDENTITY_HELP`. Times in seconds."""

    backend: Literal["local", "chef"] = "local"
    chef_server_url: Text | None = None
    client_name: Text | None = None
    client_key: Text | None = None
    ssl_verify_mode: Literal["verify_peer", "verify_none"] = "verify_peer"
    trusted_certs_dir: Text | None = None
    authentication_protocol_version: Literal["1.0", "1.1", "1.3"] = "1.3"
    request_timeout: Timeout = 10.0
    connections: Annotated[int, Meta(ge=1, le=256)] = 16
    cache_lifetime: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    negative_cache_lifetime: Annotated[float, Meta(ge=0, le=3600)] = 10.0
    stale_lifetime: Duration = 900.0
    cache_size: Annotated[int, Meta(ge=100, le=1_000_000)] = 20_000


IDENTITY_HELP: Mapping[str, str] = {
    "backend": "where users, clients and groups are: local (in pushyd's own store) or chef (on a Chef Server)",
    "chef_server_url": "the Chef Server: https://HOST[:PORT]; what follows of an organization is left out",
    "client_name": "the user of the Chef Server as whom pushyd reads it",
    "client_key": "the file with the private key of that user",
    "ssl_verify_mode": "verify_peer checks the Chef Server's certificate, verify_none believes whoever answers",
    "trusted_certs_dir": "a directory of certificates (*.crt, *.pem) that are trusted besides the system's",
    "authentication_protocol_version": "version of the signatures: 1.3, and for a Chef Server that is older 1.1 or 1.0",
    "request_timeout": "seconds that a request to the Chef Server may take",
    "connections": "how many requests the Chef Server gets at a time, and connections that are kept open",
    "cache_lifetime": "seconds that an answer is held; a client or user that is deleted is believed for so long",
    "negative_cache_lifetime": "seconds for which somebody who is not there is not asked for again",
    "stale_lifetime": "seconds beyond that for which an answer is held while the Chef Server cannot be asked",
    "cache_size": "how many principals are held",
}


@frozen(kw_only=True)
class ChefAccess:
    """What is needed to ask a Chef Server: its URL, without a path, and who asks with which key."""

    url: str
    client_name: str
    client_key: str


class WrongSetting(ValueError):
    """A setting that cannot be taken: its name, and what was expected."""


def chef_access(settings: IdentitySettings) -> ChefAccess:
    """What the settings say of the Chef Server.

    :raise WrongSetting: something is missing, or the URL is none
    """
    for name in ("chef_server_url", "client_name", "client_key"):
        if getattr(settings, name) is None:
            raise WrongSetting(f'identity.{name}: expected a value, as identity.backend is "chef"')
    assert settings.chef_server_url is not None
    assert settings.client_name is not None
    assert settings.client_key is not None
    return ChefAccess(
        url=_origin(settings.chef_server_url), client_name=settings.client_name, client_key=settings.client_key
    )


def _origin(url: str) -> str:
    """A Chef Server's URL without a path. Workstations have an organization in theirs; here it may be any."""
    wrong = WrongSetting(f"identity.chef_server_url: expected https://HOST[:PORT], got {url!r}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    path = parts.path.rstrip("/")
    is_organization = path.startswith("/organizations/") and path.count("/") == 2
    if (
        parts.scheme not in {"https", "http"}
        or not parts.hostname
        or port == 0
        or parts.username is not None
        or parts.query
        or parts.fragment
        or (path and not is_organization)
        or not url.isascii()
        or not url.isprintable()
    ):
        raise wrong
    return f"{parts.scheme}://{parts.netloc}"
