"""Of the composition, the part that differs with who keeps the identities: our own store, or a Chef Server.

A backend brings the identity itself, the routes that belong to it, and what notices that somebody has gone.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from twisted.internet.threads import deferToThread

from pushy_protocol.https import SignedClient, make_client
from pushy_protocol.keys import KeyFormatError, make_rsa_key, parse_private_key
from pushy_protocol.tls import NoCertificates, Policy
from pushyd.chef_changes import ChefChanges
from pushyd.domain.node import NodeRef
from pushyd.identity.cache import Lifetimes
from pushyd.identity.chef_http import ChefHttp
from pushyd.identity.chef_server import ChefServer
from pushyd.identity.interface import Caller, Identity
from pushyd.identity.local import LocalIdentity
from pushyd.identity_settings import IdentitySettings, chef_access
from pushyd.outside_changes import OutsideChanges
from pushyd.sessions import EXTENSIONS, Sessions
from pushyd.store.interface import NodeObjectStore, Store
from pushyd.web import chef_proxy
from pushyd.web import identity as identity_routes
from pushyd.web.app import Api


class BackendError(Exception):
    """What the settings name cannot be used; the text is for the operator."""


class Backend(Protocol):
    """Who keeps the identities, with all that belongs to it."""

    @property
    def identity(self) -> Identity:
        """Who and what there is."""

    @property
    def node_objects(self) -> NodeObjectStore | None:
        """Where node objects are kept; None where they are not ours."""

    def add_routes(self, api: Api, host: str) -> None:
        """Serve what belongs to it.

        :param host: HOST:PORT of this server, for callers that name none
        """

    def admitted(self, node: NodeRef, caller: Caller) -> None:
        """A node's session was begun or renewed by a caller."""

    def start(self) -> None:
        """Begin to notice who has gone."""

    def stop(self) -> None:
        """Notice it no more."""


def offered_extensions(settings: IdentitySettings) -> Collection[str]:
    """What of protocol 3.0 is offered to agents. Node objects on a Chef Server are written by its own clients."""
    return EXTENSIONS if settings.backend == "local" else [name for name in EXTENSIONS if name != "facts"]


def make_backend(
    settings: IdentitySettings,
    *,
    store: Store,
    sessions: Sessions,
    reactor: Any,
    now: Callable[[], float],
    config_lifetime: float,
) -> Backend:
    """The backend that the settings want.

    :param now: seconds since the epoch
    :param config_lifetime: of a node's configuration, in seconds
    :raise BackendError: its key or its certificates cannot be used
    """
    if settings.backend == "local":
        return _Local(store=store, sessions=sessions, reactor=reactor)
    http = make_chef_http(settings, reactor=reactor, now=now)
    return _Chef(settings, http=http, store=store, sessions=sessions, reactor=reactor, config_lifetime=config_lifetime)


def make_chef_http(settings: IdentitySettings, *, reactor: Any, now: Callable[[], float]) -> ChefHttp:
    """What asks the Chef Server of the settings.

    :param now: seconds since the epoch
    :raise BackendError: the key or the certificates cannot be used
    """
    access = chef_access(settings)
    try:
        policy = Policy(trusted=_certificates(settings), verify=settings.ssl_verify_mode == "verify_peer")
    except NoCertificates as error:
        raise BackendError(f"identity.trusted_certs_dir: {error} has no certificate that can be read") from None
    timeout = settings.request_timeout
    client = make_client(reactor, policy, connections=settings.connections, connect_timeout=timeout)
    return ChefHttp(
        client=SignedClient(client, reactor, now, timeout=timeout, version=settings.authentication_protocol_version),
        url=access.url,
        user=access.client_name,
        key=_read_key(Path(access.client_key)),
        seconds=reactor.seconds,
        concurrency=settings.connections,
    )


class _Local:
    """Our own store."""

    def __init__(self, *, store: Store, sessions: Sessions, reactor: Any) -> None:
        self._directory = LocalIdentity(store, seconds=reactor.seconds)
        self._sessions = sessions
        self._changes = OutsideChanges(store=store, sessions=sessions, clock=reactor)
        self.identity: Identity = self._directory
        self.node_objects: NodeObjectStore | None = store
        self._store = store

    def add_routes(self, api: Api, host: str) -> None:
        identity_routes.add_routes(
            api,
            directory=self._directory,
            nodes=self._store,
            sessions=self._sessions,
            host=host,
            make_key=_make_rsa_key,
        )

    def admitted(self, node: NodeRef, caller: Caller) -> None:
        """Its registration says all that has to be known."""

    def start(self) -> None:
        self._changes.start()

    def stop(self) -> None:
        self._changes.stop()


class _Chef:
    """A Chef Server."""

    node_objects: NodeObjectStore | None = None

    def __init__(
        self,
        settings: IdentitySettings,
        *,
        http: ChefHttp,
        store: Store,
        sessions: Sessions,
        reactor: Any,
        config_lifetime: float,
    ) -> None:
        chef_server = ChefServer(
            http=http,
            kept=store,
            seconds=reactor.seconds,
            lifetimes=Lifetimes(
                present=settings.cache_lifetime,
                absent=settings.negative_cache_lifetime,
                stale=settings.stale_lifetime,
            ),
            size=settings.cache_size,
        )
        self.identity: Identity = chef_server
        self._http = http
        self._changes = ChefChanges(
            identity=chef_server,
            sessions=sessions,
            clock=reactor,
            seconds=settings.cache_lifetime,
            config_lifetime=config_lifetime,
        )

    def add_routes(self, api: Api, host: str) -> None:
        chef_proxy.add_routes(api, forward=self._http.forward, changed=self._changes.look_soon)

    def admitted(self, node: NodeRef, caller: Caller) -> None:
        self._changes.admitted(node, caller)

    def start(self) -> None:
        self._changes.start()

    def stop(self) -> None:
        self._changes.stop()


def _certificates(settings: IdentitySettings) -> list[Path]:
    if settings.trusted_certs_dir is None:
        return []
    directory = Path(settings.trusted_certs_dir)
    if not directory.is_dir():
        raise BackendError(f"identity.trusted_certs_dir: expected a directory, got {directory}")
    return sorted(path for path in directory.iterdir() if path.suffix in {".crt", ".pem"})


def _read_key(path: Path) -> RSAPrivateKey:
    try:
        return parse_private_key(path.read_bytes())
    except OSError as error:
        raise BackendError(f"identity.client_key: {path}: {error.strerror}") from None
    except KeyFormatError as error:
        raise BackendError(f"identity.client_key: {path}: {error}") from None


async def _make_rsa_key() -> RSAPrivateKey:
    return await deferToThread(make_rsa_key)
