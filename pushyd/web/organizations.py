"""``organizations``: made and listed by who administers the server, seen by who belongs to them."""

from uuid import uuid4

import msgspec

from pushy_protocol import api as shapes
from pushyd.identity.authorize import Right, validator_of
from pushyd.store.interface import AlreadyExists, NotFound
from pushyd.web.app import Call
from pushyd.web.chef import Chef, Name, refusing
from pushyd.web.errors import ApiError, Response, json_response


class NewOrganization(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST organizations``."""

    name: Name
    full_name: str | None = None


class ChangedOrganization(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``PUT organizations/NAME``; the name stays."""

    name: str | None = None
    full_name: str


def add_routes(chef: Chef) -> None:
    """Serve them. Who makes an organization belongs to it, and to its `admins`."""

    async def list_organizations(call: Call) -> Response:
        found = await chef.kept.organizations()
        return json_response({one.name: chef.root_url(call, "organizations", one.name) for one in found})

    async def create(call: Call) -> Response:
        new = shapes.decode(call.body, NewOrganization)
        validator = validator_of(new.name)
        key = await chef.key(None, make=True)
        assert key is not None  # it was to be made
        with refusing(AlreadyExists, 409, "Organization already exists"):
            await chef.change(
                chef.kept.found_organization(
                    new.name,
                    guid=uuid4().hex,
                    full_name=new.full_name or new.name,
                    admin=call.caller.name,
                    validator=validator,
                    validator_key=key.public,
                )
            )
        uri = chef.root_url(call, "organizations", new.name)
        body = {"uri": uri, "clientname": validator, "private_key": key.private}
        return json_response(body, status=201, headers={"Location": uri})

    async def show(call: Call) -> Response:
        found = await chef.kept.organization(call.organization)
        if found is None:
            raise ApiError(404, f"organization '{call.organization}' does not exist.")
        return json_response({"name": found.name, "full_name": found.full_name or found.name, "guid": found.guid})

    async def change(call: Call) -> Response:
        wanted = shapes.decode(call.body, ChangedOrganization)
        if wanted.name not in (None, call.organization):
            raise shapes.InvalidRequest(f"name: expected '{call.organization}', for organizations cannot be renamed")
        with refusing(NotFound, 404, f"organization '{call.organization}' does not exist."):
            await chef.change(chef.kept.rename_organization(call.organization, wanted.full_name))
        return json_response({"uri": chef.url(call)})

    chef.root_route("GET", "organizations", list_organizations, right=Right.ADMINISTER_SERVER)
    chef.root_route("POST", "organizations", create, right=Right.ADMINISTER_SERVER)
    chef.route("GET", "", show)
    chef.route("PUT", "", change, right=Right.ADMINISTER)
