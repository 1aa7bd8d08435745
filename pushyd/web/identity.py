"""Who and what there is, in Chef's own API, so that Chef's tools manage it: all routes of it."""

from collections.abc import Awaitable, Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from pushyd.identity.interface import Directory
from pushyd.sessions import Sessions
from pushyd.store.interface import NodeObjectStore
from pushyd.web import chef_nodes, clients, groups, keys, organizations, principals, search, users
from pushyd.web.app import Api
from pushyd.web.chef import VERSIONS, Chef
from pushyd.web.errors import Response, json_response


def add_routes(
    api: Api,
    *,
    directory: Directory,
    nodes: NodeObjectStore,
    sessions: Sessions,
    host: str,
    make_key: Callable[[], Awaitable[RSAPrivateKey]],
) -> None:
    """:param host: HOST:PORT of this server, for callers that name none; `make_key` must not block"""
    chef = Chef(api, directory, host=host, make_key=make_key)
    organizations.add_routes(chef)
    users.add_routes(chef)
    clients.add_routes(chef, sessions=sessions)
    keys.add_routes(chef, sessions=sessions)
    groups.add_routes(chef)
    principals.add_routes(chef)
    chef_nodes.add_routes(chef, nodes=nodes)
    search.add_routes(chef, nodes=nodes)
    api.open_route("GET", "/server_api_version", _versions)


def _versions() -> Response:
    return json_response({"min_api_version": VERSIONS[0], "max_api_version": VERSIONS[-1]})
