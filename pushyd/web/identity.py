"""``clients``: new identities, in Chef's own words, so that Chef's tools can ask for them."""

from collections.abc import Awaitable, Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from pushy_protocol import api as shapes
from pushy_protocol.keys import KeyFormatError, parse_public_key, private_pem, public_pem
from pushyd.identity.authorize import Right
from pushyd.identity.interface import AlreadyExists
from pushyd.web.app import Api, Call
from pushyd.web.errors import ApiError, Response, json_response
from pushyd.web.requests import base_url


def add_routes(api: Api, *, host: str, make_key: Callable[[], Awaitable[RSAPrivateKey]]) -> None:
    """:param host: HOST:PORT of this server, for callers that name none; `make_key` must not block"""

    async def create_client(call: Call) -> Response:
        new = shapes.decode(call.body, shapes.NewClient)
        made = None if new.public_key else await make_key()
        public = public_pem(made.public_key()) if made else _checked(new.public_key or "")
        try:
            await api.identity.create_client(call.organization, new.name, public)
        except AlreadyExists:
            raise ApiError(409, f"Client '{new.name}' already exists") from None
        uri = f"{base_url(call.request, host)}/organizations/{call.organization}/clients/{new.name}"
        private = private_pem(made).decode() if made else None
        return json_response(shapes.ClientCreated(uri=uri, private_key=private), status=201, headers={"Location": uri})

    api.route("POST", "clients", create_client, right=Right.CREATE_CLIENT)


def _checked(pem: str) -> str:
    try:
        return public_pem(parse_public_key(pem.encode()))
    except KeyFormatError as error:
        raise shapes.InvalidRequest(f"public_key: {error}") from None
