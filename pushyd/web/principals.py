"""``principals/NAME``: who a name is, and its public keys."""

from hashlib import sha256
from typing import Any

from pushy_protocol.keys import public_pem
from pushyd.identity.interface import Principal
from pushyd.web.app import Call
from pushyd.web.chef import Chef, api_version
from pushyd.web.errors import Response, json_response


def add_routes(chef: Chef) -> None:
    """Serve it. In version 0 it is one object: the user, where a client has the same name."""

    async def show(call: Call, name: str) -> Response:
        found = [
            _shape(call, principal, public_pem(key))
            for principal in await chef.principals(call.organization, name)
            for key in principal.public_keys
        ]
        if not found:
            return json_response({"not_found": "principal", "error": [f"Cannot find principal {name}"]}, status=404)
        return json_response(found[0] if api_version(call.request) == 0 else {"principals": found})

    chef.route("GET", "principals/<name>", show)


def _shape(call: Call, principal: Principal, public_key: str) -> dict[str, Any]:
    kind = "user" if principal.is_user else "client"
    # Chef's authorization knows everybody by such an id; here it is nothing but the name in that form.
    whole = kind if principal.is_user else f"{kind}/{call.organization}"
    return {
        "name": principal.name,
        "type": kind,
        "public_key": public_key,
        "authz_id": sha256(f"{whole}/{principal.name}".encode()).hexdigest()[:32],
        "org_member": principal.associated,
    }
