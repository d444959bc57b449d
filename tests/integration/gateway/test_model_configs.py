"""ValidateModelConfig over HTTP."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.unit.test_config_check import BERT

PATH = "/v1/validateModelConfig"
pytestmark = on_sqlite_only


async def validate(platform: Platform, key: str, **body: Any) -> httpx2.Response:
    return await platform.call(key, "POST", PATH, json=body)


@pytest.mark.parametrize("names", [("configJson", "tokenizerConfigJson"), ("config_json", "tokenizer_config_json")])
async def test_configuration_that_can_be_served_is_an_empty_object(platform: Platform, names: tuple[str, str]) -> None:
    key = await platform.add_account("acme")
    answer = await validate(platform, key, **{names[0]: json.dumps(BERT), names[1]: '{"model_max_length": 512}'})
    assert (answer.status_code, answer.json()) == (200, {})


async def test_every_reason_is_in_one_error(platform: Platform) -> None:
    key = await platform.add_account("acme")
    answer = await validate(platform, key, configJson=json.dumps({**BERT, "hidden_act": "mish", "vocab_size": 0}))
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    message = answer.json()["message"]
    assert "vocab_size is 0" in message
    assert "hidden_act is 'mish'" in message
    assert answer.json()["details"][0]["fieldViolations"][0]["field"] == "configJson"


async def test_what_is_missing_is_named(platform: Platform) -> None:
    key = await platform.add_account("acme")
    answer = await validate(platform, key, tokenizerConfigJson="{}")
    assert answer.status_code == 400
    assert "configJson" in answer.json()["message"]


async def test_role_that_only_asks_for_vectors_may_not(platform: Platform) -> None:
    await platform.add_account("acme")
    key = await platform.add_user("acme", "bot", Role.INFERENCE_USER)
    assert (await validate(platform, key, configJson="{}")).status_code == 403
    assert (await platform.call(None, "POST", PATH, json={})).status_code == 401
