"""Policies over HTTP: what they are on the wire, and that the inference plane keeps to them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from embergate.clock import now
from embergate.engine.backends.fake import FakeBackend
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import FoundModel, find_model
from embergate.engine.registry import ServedModel
from embergate.engine.tokenization import TextTokenizer
from embergate.gateway.fresh_cache import TTL_S
from embergate.web.caller import Role
from tests.integration.gateway.platform import Platform, on_sqlite_only

POLICY = "/v1/accounts/mine/policySettings"
MINILM = "accounts/fireworks/models/all-minilm-l6-v2"
HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
TUNED = "accounts/mine/models/tuned"
NAMES_OF_MINILM = [
    MINILM,
    HUB_ID,
    f"fireworks/{MINILM}",
    "fireworks/all-minilm-l6-v2",
    "accounts/fireworks/deployments/all-minilm-l6-v2",
]


@pytest.fixture
async def admin(platform: Platform) -> str:
    return await platform.add_account("mine")


def serve(platform: Platform) -> list[FakeBackend]:
    """Serve two models whose networks only count."""
    found = find_model(HUB_ID)
    backends = []
    for account, slug, name in (("fireworks", "all-minilm-l6-v2", HUB_ID), ("mine", "tuned", "local/tuned")):
        backends.append(FakeBackend(found.spec.hidden_size))
        spec = dataclasses.replace(found.spec, name=name)
        named = FoundModel(dataclasses.replace(found.folder_model, spec=spec))
        model = LoadedModel(named, TextTokenizer(spec), backends[-1], ComputeOptions())
        platform.deps.registry.add(ServedModel(account, slug, model, now()))
    return backends


@pytest.fixture
def backends(platform: Platform) -> Iterator[list[FakeBackend]]:
    yield serve(platform)
    platform.deps.registry.close()


async def set_rules(platform: Platform, key: str, *rules: dict[str, Any]) -> httpx2.Response:
    return await platform.call(key, "PATCH", POLICY, json={"rules": list(rules)})


async def embed(platform: Platform, key: str, model: str) -> httpx2.Response:
    return await platform.call(key, "POST", "/inference/v1/embeddings", json={"model": model, "input": "hello"})


async def usable(platform: Platform, key: str) -> list[str]:
    """Return the models that can be embedded with; `GET /models` and the answers of embeddings agree on them."""
    answer = await platform.call(key, "GET", "/v1/models")
    listed = [model["id"] for model in answer.json()["data"]]
    for model in (MINILM, TUNED):
        status = 200 if model in listed else 403
        assert (await embed(platform, key, model)).status_code == status
        assert (await platform.call(key, "GET", f"/v1/models/{model}")).status_code == status
    return listed


async def test_account_that_never_had_a_policy_may_use_everything(
    platform: Platform, admin: str, backends: list[FakeBackend]
) -> None:
    answer = await platform.call(admin, "GET", POLICY)
    assert answer.json() == {"name": "accounts/mine/policySettings", "rules": [], "updateTime": None}
    assert await usable(platform, admin) == [MINILM, TUNED]
    # A PATCH that names no rules sets none.
    for body in ({}, {"rules": None}, {"name": "x", "updateTime": "2026-01-01T00:00:00Z"}):
        assert (await platform.call(admin, "PATCH", POLICY, json=body)).json()["updateTime"] is None
    assert await usable(platform, admin) == [MINILM, TUNED]


async def test_rules_are_answered_as_they_were_set(platform: Platform, admin: str) -> None:
    rule = {"model": HUB_ID, "allow_serverless": True, "effect": 0}
    answer = await set_rules(platform, admin, rule, {"model": TUNED, "effect": "DENY"})
    flags = {"allowServerless": False, "allowFineTuning": False, "allowDeployments": False}
    expected = [
        {"model": HUB_ID, **flags, "allowServerless": True, "effect": "UNSPECIFIED"},
        {"model": TUNED, **flags, "effect": "DENY"},
    ]
    assert (answer.status_code, answer.json()["rules"]) == (200, expected)
    assert answer.json()["updateTime"].endswith("Z")
    assert (await platform.call(admin, "GET", POLICY)).json() == answer.json()
    masked = await platform.call(admin, "GET", f"{POLICY}?readMask=rules.model")
    assert masked.json() == {"rules": [{"model": HUB_ID}, {"model": TUNED}]}


async def test_empty_rules_deny_everything_before_anything_is_computed(
    platform: Platform, admin: str, backends: list[FakeBackend]
) -> None:
    assert (await set_rules(platform, admin)).status_code == 200
    answer = await embed(platform, admin, MINILM)
    assert answer.status_code == 403
    assert answer.json()["error"] == {
        "message": f"the account's policy does not allow {MINILM}; an admin of the account can change its policySettings",
        "param": "model",
        "code": "FORBIDDEN",
        "type": "error",
    }
    assert await usable(platform, admin) == []
    assert [backend.shapes for backend in backends] == [[], []]


@on_sqlite_only
@pytest.mark.parametrize("name", NAMES_OF_MINILM)
async def test_rule_may_name_a_model_by_any_of_its_names(
    platform: Platform, admin: str, backends: list[FakeBackend], name: str
) -> None:
    assert (await set_rules(platform, admin, {"model": name, "allowServerless": True})).status_code == 200
    assert await usable(platform, admin) == [MINILM]
    for asked in (*NAMES_OF_MINILM, f"{MINILM}#all-minilm-l6-v2"):
        assert (await embed(platform, admin, asked)).status_code == 200
    assert (await embed(platform, admin, "no/such-model")).status_code == 404


@on_sqlite_only
@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([{"model": TUNED, "allowServerless": True}], [TUNED]),
        ([{"model": TUNED, "allowDeployments": True, "allowFineTuning": True}], []),
        ([{"model": TUNED, "allowServerless": True, "effect": "DENY"}], []),
        (
            [{"model": TUNED, "allowServerless": True, "effect": 1}, {"model": MINILM, "allowServerless": True}],
            [MINILM],
        ),
        # Of two rules for one model, by different names, the stricter holds.
        ([{"model": HUB_ID, "allowServerless": True}, {"model": MINILM}], []),
        ([{"model": MINILM, "effect": "DENY"}, {"model": HUB_ID, "allowServerless": True}], []),
        ([{"model": "accounts/theirs/models/tuned", "allowServerless": True}], []),
        ([{"model": TUNED.upper(), "allowServerless": True}], []),
    ],
)
async def test_rules_decide(
    platform: Platform, admin: str, backends: list[FakeBackend], rules: list[dict[str, Any]], expected: list[str]
) -> None:
    assert (await set_rules(platform, admin, *rules)).status_code == 200
    assert await usable(platform, admin) == expected


async def test_policy_is_of_one_account_and_of_everybody_in_it(
    platform: Platform, admin: str, backends: list[FakeBackend]
) -> None:
    theirs = await platform.add_account("theirs")
    user = await platform.add_user("mine", "joe", Role.INFERENCE_USER)
    operator = await platform.add_user("mine", "root", Role.ADMIN, is_operator=True)
    await set_rules(platform, admin)
    for key in (admin, user, operator):
        assert (await embed(platform, key, MINILM)).status_code == 403
    assert await usable(platform, theirs) == [MINILM, TUNED]


async def test_only_admins_set_a_policy_and_readers_see_it(platform: Platform, admin: str) -> None:
    theirs = await platform.add_account("theirs")
    by_role = {role: await platform.add_user("mine", f"u-{role.value}", role) for role in Role}
    for role, key in by_role.items():
        may_set, may_see = role is Role.ADMIN, role is not Role.INFERENCE_USER
        assert (await set_rules(platform, key)).status_code == (200 if may_set else 403)
        assert (await platform.call(key, "GET", POLICY)).status_code == (200 if may_see else 403)
    assert (await set_rules(platform, theirs)).status_code == 403
    assert (await platform.call(theirs, "GET", POLICY)).status_code == 403
    operator = await platform.add_user("theirs", "root", Role.ADMIN, is_operator=True)
    for method, body in (("GET", None), ("PATCH", {"rules": []})):
        answer = await platform.call(operator, method, "/v1/accounts/nobody/policySettings", json=body)
        assert answer.status_code == 404


@on_sqlite_only
@pytest.mark.parametrize(
    ("rules", "field", "says"),
    [
        ([{"allowServerless": True}], "rules[0].model", "required"),
        ([{"model": TUNED}, {"model": "*"}], "rules[1].model", "not a model's name"),
        ([{"model": f"{TUNED}@1234567"}], "rules[0].model", "not a model's name"),
        ([{"model": f"{TUNED}#d"}], "rules[0].model", "not a model's name"),
        ([{"model": "a//b"}], "rules[0].model", "not a model's name"),
        ([{"model": TUNED}, {"model": MINILM}, {"model": TUNED}], "rules", f"more than one for {TUNED}"),
        ([{"model": MINILM}, {"model": "fireworks/all-minilm-l6-v2"}], "rules", f"more than one for {MINILM}"),
        ([{"model": MINILM}, {"model": f"fireworks/{MINILM}"}], "rules", f"more than one for {MINILM}"),
        ([{"model": f"m{number}"} for number in range(1001)], "rules", "1000"),
        ([{"model": TUNED, "effect": "ALLOW"}], "rules.0.effect", "UNSPECIFIED"),
        ([{"model": TUNED, "allowServerless": "yes"}], "rules.0.allowServerless", "boolean"),
    ],
)
async def test_bad_rules_are_refused_and_the_old_ones_stay(
    platform: Platform, admin: str, rules: list[dict[str, Any]], field: str, says: str
) -> None:
    await set_rules(platform, admin, {"model": TUNED})
    before = (await platform.call(admin, "GET", POLICY)).json()
    answer = await set_rules(platform, admin, *rules)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert answer.json()["details"][0]["fieldViolations"][0]["field"] == field
    assert says in answer.json()["message"]
    assert (await platform.call(admin, "GET", POLICY)).json() == before


async def test_thousand_rules_are_taken(platform: Platform, admin: str) -> None:
    rules = [{"model": f"accounts/mine/models/m{number}", "allowServerless": True} for number in range(1000)]
    assert len((await set_rules(platform, admin, *rules)).json()["rules"]) == 1000


@on_sqlite_only
@pytest.mark.parametrize(
    ("mask", "status", "num_rules"),
    [("rules", 200, 0), ("*", 200, 0), ("updateTime", 200, 1), ("rules.model", 400, 1), ("nothing", 400, 1)],
)
async def test_update_mask_chooses(platform: Platform, admin: str, mask: str, status: int, num_rules: int) -> None:
    await set_rules(platform, admin, {"model": TUNED})
    answer = await platform.call(admin, "PATCH", POLICY, json={}, params={"updateMask": mask})
    assert answer.status_code == status
    assert len((await platform.call(admin, "GET", POLICY)).json()["rules"]) == num_rules


async def test_change_holds_at_once_where_it_was_made_and_within_a_second_elsewhere(
    platform: Platform, admin: str, backends: list[FakeBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("embergate.gateway.fresh_cache.monotonic_s", lambda: clock[0])
    other = Platform(platform.database)
    serve(other)
    assert await usable(other, admin) == [MINILM, TUNED]
    await set_rules(platform, admin, {"model": TUNED, "allowServerless": True})
    assert await usable(platform, admin) == [TUNED]
    clock[0] += TTL_S * 0.99
    assert await usable(other, admin) == [MINILM, TUNED]
    clock[0] += TTL_S * 0.02
    assert await usable(other, admin) == [TUNED]
    other.deps.registry.close()
    await other.close()


async def test_updates_of_one_moment_leave_one_of_their_policies(platform: Platform, admin: str) -> None:
    answers = await asyncio.gather(*(set_rules(platform, admin, {"model": f"m{number}"}) for number in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    after = (await platform.call(admin, "GET", POLICY)).json()
    assert after in [answer.json() for answer in answers]
