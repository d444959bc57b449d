"""The OpenAPI document, and what the router answers by itself."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from embergate.app.asgi import openapi_document
from embergate.gateway.document import operations_of
from tests.integration.gateway.operating import make_code
from tests.integration.gateway.platform import Platform, on_sqlite_only

# What the router says by itself, no database changes.
pytestmark = on_sqlite_only


async def test_document_is_valid_openapi_3_1_and_its_schemas_are_json_schemas(platform: Platform) -> None:
    document = openapi_document(platform.app)
    assert document["openapi"].startswith("3.1.")
    problems = [f"{list(error.instance_path)}: {error.message}" for error in OPENAPI_31_VALIDATOR.iter_errors(document)]
    assert problems == []
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    names = {(parameter["in"], parameter["name"]) for parameter in parameters_of(document)}
    assert {where for where, _ in names} == {"header", "path", "query"}
    assert ("path", "model_id") in names  # and not as the router writes it, `model_id:path`


def parameters_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        each for item in document["paths"].values() for operation in item.values() for each in operation["parameters"]
    ]


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
        asks = operation.needs is not None or operation.takes_credential
        assert ("security" in operations[f"Gateway_{operation.name}"]) == asks


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


@pytest.mark.parametrize(
    ("method", "path", "code", "message"),
    [
        ("GET", "/v1/nothing", 5, "there is nothing at /v1/nothing"),
        ("GET", "/v1/accounts/", 5, "there is nothing at /v1/accounts/"),
        ("POST", "/v1/accounts/a/nothing", 5, "there is nothing at /v1/accounts/a/nothing"),
        ("GET", "/v1/accounts/a/users/u/nothing", 5, "there is nothing at /v1/accounts/a/users/u/nothing"),
        ("POST", "/v1/accounts/a/users/u/apiKeys:nothing", 5, "there is nothing at"),
        ("POST", "/v1/creditCodes:nothing", 5, "there is nothing at"),
        ("POST", "/v1/accounts", 12, "POST is not a method of this path"),
        ("DELETE", "/v1/accounts/a/users/u", 12, "DELETE is not a method of this path"),
        ("PUT", "/v1/accounts/a/policySettings", 12, "PUT is not a method of this path"),
        ("GET", "/v1/accounts/a/users/u/apiKeys:delete", 12, "GET is not a method of this path"),
        ("GET", "/v1/creditCodes:redeem", 12, "GET is not a method of this path"),
        ("GET", "/v1/creditCodes%3Aredeem", 12, "GET is not a method of this path"),
        ("PATCH", "/v1/auth/login", 12, "PATCH is not a method of this path"),
    ],
)
async def test_what_the_router_refuses_is_a_google_rpc_status(
    platform: Platform, method: str, path: str, code: int, message: str
) -> None:
    answer = await platform.call(None, method, path)
    assert answer.status_code == {5: 404, 12: 405}[code]
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"code": code, "message": answer.json()["message"], "details": []}
    assert answer.json()["message"].startswith(message)


@pytest.mark.parametrize("colon", [":", "%3A", "%3a"])
async def test_colon_of_a_verb_may_be_encoded(platform: Platform, colon: str) -> None:
    admin = await platform.add_account("mine")
    keys = "/v1/accounts/mine/users/admin/apiKeys"
    made = (await platform.call(admin, "POST", keys, json={"apiKey": {}})).json()
    rotated = await platform.call(admin, "POST", f"{keys}/{made['keyId']}{colon}rotate", json={})
    assert (rotated.status_code, rotated.json()["displayName"]) == (200, "default")
    body = {"keyId": made["keyId"]}
    assert (await platform.call(admin, "POST", f"{keys}{colon}delete", json=body)).status_code == 200
    assert (await platform.call(admin, "GET", f"{keys}/{made['keyId']}")).status_code == 404
    await make_code(platform)
    body = {"code": "WELCOME", "name": "accounts/mine"}
    redeemed = await platform.call(admin, "POST", f"/v1/creditCodes{colon}redeem", json=body)
    assert redeemed.json()["amount"]["units"] == "12"
