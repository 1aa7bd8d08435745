"""``/pushy/openapi.json``: the whole API as an OpenAPI document, for everybody.

The document is `openapi.yaml` beside this module; a test sees that it has every route and no other.
"""

from importlib.resources import files
from typing import Any

import yaml

from pushyd.web.app import Api
from pushyd.web.errors import Response, json_response


def document() -> dict[str, Any]:
    """The document."""
    text = files("pushyd.web").joinpath("openapi.yaml").read_bytes()
    loaded: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    return loaded


def add_routes(api: Api) -> None:
    """Serve it."""
    response = json_response(document())

    def show() -> Response:
        return response

    api.open_route("GET", "/pushy/openapi.json", show)
