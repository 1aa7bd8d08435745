"""The OpenAPI document says of every route that it is there, and of nothing else."""

import re
from pathlib import Path

import yaml
from werkzeug.routing import Rule

from pushyd.web import openapi
from pushyd.web.app import Api
from tests.pushyd.web.serving import ApiTestCase

ROOT = Path(__file__).parents[3]
OPERATIONS = {"get", "post", "put", "delete", "patch"}
_PART = re.compile(r"<(?:[^:<>]+:)?(\w+)>")


def routes(api: Api) -> set[tuple[str, str]]:
    """Method and path, in the words of OpenAPI. HEAD goes with GET, and OPTIONS with everything."""
    rules: list[Rule] = list(api._klein.url_map.iter_rules())
    return {
        (method.lower(), _PART.sub(r"{\1}", rule.rule))
        for rule in rules
        for method in rule.methods or ()
        if method.lower() in OPERATIONS
    }


def described() -> set[tuple[str, str]]:
    return {
        (method, path) for path, item in openapi.document()["paths"].items() for method in item if method in OPERATIONS
    }


class OpenApiTests(ApiTestCase):
    async def test_every_route_is_described_and_nothing_else(self) -> None:
        assert routes(self.api) == described()

    async def test_it_is_served_to_everybody(self) -> None:
        answer = await self.get("/pushy/openapi.json", by=None)
        assert answer.status == 200
        assert answer.json == openapi.document()


def test_what_is_shipped_is_what_is_documented() -> None:
    assert yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text(encoding="utf-8")) == openapi.document()


def test_every_operation_has_a_name_of_its_own_and_an_answer_to_errors() -> None:
    operations = [
        operation
        for item in openapi.document()["paths"].values()
        for method, operation in item.items()
        if method in OPERATIONS
    ]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all("default" in operation["responses"] for operation in operations)


def test_every_part_of_a_path_is_described() -> None:
    document = openapi.document()
    for path, item in document["paths"].items():
        named = {
            document["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]["name"]
            if "$ref" in parameter
            else parameter["name"]
            for parameter in item.get("parameters", [])
        }
        assert named == set(re.findall(r"{(\w+)}", path)), path
