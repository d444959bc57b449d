"""The OpenAPI document, and what the router answers by itself."""

from __future__ import annotations

import re

import pytest

from embergate.app.asgi import openapi_document
from embergate.gateway.document import operations_of
from tests.databases import on_sqlite_alone
from tests.integration.gateway.platform import Platform

# What the router says by itself, no database changes.
pytestmark = on_sqlite_alone


async def test_every_parameter_of_a_path_is_described_once(platform: Platform) -> None:
    document = openapi_document(platform.app)
    for path, item in document["paths"].items():
        for operation in item.values():
            described = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"]
            assert sorted(described) == sorted(re.findall(r"\{(\w+)\}", path)), path


async def test_every_reference_leads_somewhere(platform: Platform) -> None:
    document = openapi_document(platform.app)
    names = set(re.findall(r"'#/components/schemas/(\w+)'", str(document)))
    assert names <= document["components"]["schemas"].keys()
    assert {"UserInput", "UserUpdate", "CreateApiKeyRequestInput"} <= names


async def test_operations_have_ids_of_their_own_and_ask_for_a_credential(platform: Platform) -> None:
    document = openapi_document(platform.app)
    operations = {op["operationId"]: op for item in document["paths"].values() for op in item.values()}
    assert sum(len(item) for item in document["paths"].values()) == len(operations)
    for operation in operations_of(platform.app):
        assert ("security" in operations[f"Gateway_{operation.name}"]) == (operation.needs is not None)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/accounts", "GET"),
        ("/v1/accounts/a/users", "GET, POST"),
        ("/v1/accounts/a/users/u", "GET, PATCH"),
        ("/v1/accounts/a/users/u/apiKeys:delete", "POST"),
        ("/v1/accounts/a/users/u/apiKeys/k:rotate", "POST"),
        ("/v1/accounts/a/secrets/s", "DELETE, GET, PATCH"),
        ("/v1/embeddings", "POST"),
    ],
)
async def test_wrong_method_is_told_the_right_ones(platform: Platform, path: str, allowed: str) -> None:
    answer = await platform.call(None, "OPTIONS", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
