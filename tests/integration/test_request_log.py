"""What the log says of requests, in process: whose they were, at which level, and nothing that a caller wrote."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import pytest
import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars, merge_contextvars
from structlog.testing import capture_logs

from embergate.engine.backends.fake import FakeBackend
from embergate.errors import UnavailableError
from embergate.inference.deps import InferenceLimits
from embergate.storage.database import Database
from embergate.web.request_log import level_of, logging_of, note, stack_of
from tests.integration.test_app import BODY, KEY, backend, client_of
from tests.parts import Parts, app_of, parts_over

__all__ = ["backend"]
Lines = list[MutableMapping[str, Any]]


@pytest.fixture
async def deps(sqlite_url: str) -> AsyncIterator[Parts]:
    async with parts_over(sqlite_url, KEY, InferenceLimits(timeout_s=30)) as parts:
        yield parts


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Every line that is logged, from debug up."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("debug"))
    with capture_logs(processors=[merge_contextvars]) as found:
        yield found
    structlog.configure(wrapper_class=before)


async def test_inference_call_is_one_line_with_its_ids_and_tokens(
    deps: Parts, backend: FakeBackend, lines: Lines
) -> None:
    async with client_of(app_of(deps)) as client:
        answer = await client.post("/v1/embeddings", json={**BODY, "input": ["hello", "hello world"]})
    (line,) = lines
    assert line.pop("seconds") > 0
    key_id = line.pop("key_id")
    assert key_id.startswith("key_")
    assert line == {
        "event": "request",
        "log_level": "debug",
        "request_id": answer.headers["x-request-id"],
        "account_id": "default",
        "user_id": "admin",
        "method": "POST",
        "route": "/embeddings",
        "status": 200,
        "model": "fireworks/all-minilm-l6-v2",
        "prompt_tokens": 7,
    }


async def test_control_plane_tells_its_writes(deps: Parts, lines: Lines) -> None:
    async with client_of(app_of(deps)) as client:
        await client.get("/v1/accounts/default/users")
        await client.post("/v1/accounts/default/users/admin/apiKeys", json={"apiKey": {"displayName": "new"}})
        await client.post("/v1/accounts/default/users/admin/apiKeys", json={"apiKey": {"unknown": "new"}})
    read, write, failed = lines
    assert (read["operation"], read["log_level"]) == ("ListUsers", "debug")
    assert (write["operation"], write["log_level"]) == ("CreateApiKey", "info")
    assert (failed["status"], failed["code"], failed["log_level"]) == (400, "INVALID_REQUEST", "info")
    assert {line["account_id"] for line in lines} == {"default"}


async def test_nobody_is_named_whose_key_is_not_known(deps: Parts, lines: Lines) -> None:
    async with client_of(app_of(deps), authorization="Bearer eg_key-of-somebody-else") as client:
        await client.post("/v1/embeddings", json=BODY)
        await client.get("/v1/accounts/default/users")
        await client.request("BREW", "/what/a/caller/wrote")
    for line in lines[:2]:
        assert (line["status"], line["log_level"], line["code"]) == (401, "info", "UNAUTHORIZED")
        assert not {"key_id", "account_id", "user_id"} & line.keys()
    assert (lines[2]["method"], lines[2]["route"], lines[2]["log_level"]) == ("other", "unmatched", "debug")


async def test_key_that_has_ended_is_named(deps: Parts, lines: Lines) -> None:
    path = "/v1/accounts/default/users/admin/apiKeys"
    async with client_of(app_of(deps)) as client:
        made = (await client.post(path, json={"apiKey": {}})).json()
        await client.post(f"{path}:delete", json={"keyId": made["keyId"]})
    async with client_of(app_of(deps), authorization=f"Bearer {made['key']}") as client:
        await client.post("/v1/embeddings", json=BODY)
    assert (lines[-1]["status"], lines[-1]["key_id"]) == (401, made["keyId"])
    assert made["key"] not in str(lines)


async def test_lines_of_lower_layers_carry_the_request_and_the_key(deps: Parts, lines: Lines) -> None:
    app, log = app_of(deps), structlog.get_logger()

    @app.get("/inference/deep")
    async def deep() -> None:
        note(key_id="key_1")
        await asyncio.gather(*(asyncio.to_thread(log.info, "from_a_thread") for _ in range(2)))
        raise RuntimeError("a text of the caller's")

    async with client_of(app) as client:
        answers = await asyncio.gather(*(client.get("/inference/deep") for _ in range(3)))
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert [sum(line["request_id"] == id_ for line in lines) for id_ in ids] == [4] * 3
    assert {line["key_id"] for line in lines} == {"key_1"}
    failures = [line for line in lines if line["event"] == "request_failed"]
    assert {line["error"] for line in failures} == {"RuntimeError"}
    assert "in deep" in failures[0]["stack"]
    assert {line["log_level"] for line in lines if line["event"] == "request"} == {"warning"}
    assert "a text of the caller's\"" not in str(lines).replace('raise RuntimeError("a text of the caller\'s")', "")


async def test_what_is_written_for_all_calls_names_none(
    deps: Parts, backend: FakeBackend, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise UnavailableError

    monkeypatch.setattr(Database, "write", fail)
    async with client_of(app_of(deps)) as client:
        assert (await client.post("/v1/embeddings", json=BODY)).status_code == 503
    of_writer, of_request = lines
    assert of_writer["event"] == "usage_not_written"
    assert "request_id" not in of_writer
    assert (of_request["event"], of_request["log_level"], of_request["code"]) == ("request", "warning", "UNAVAILABLE")


def test_request_knows_nothing_of_the_one_before_it() -> None:
    bind_contextvars(request_id="earlier", key_id="key_earlier")
    with logging_of("later"):
        assert get_contextvars() == {"request_id": "later"}
        note(key_id="", account_id="acme")
        assert get_contextvars() == {"request_id": "later", "account_id": "acme"}
    assert get_contextvars() == {"request_id": "earlier", "key_id": "key_earlier"}
    clear_contextvars()


@pytest.mark.parametrize(
    ("route", "status", "is_write", "level"),
    [
        ("/embeddings", 200, False, "debug"),
        ("/embeddings", 400, False, "debug"),
        ("/embeddings", 499, False, "debug"),
        ("/embeddings", 401, False, "info"),
        ("/embeddings", 403, False, "info"),
        ("/embeddings", 412, False, "info"),
        ("/embeddings", 429, False, "info"),
        ("/embeddings", 503, False, "warning"),
        ("/accounts/{account_id}", 200, True, "info"),
        ("/health/ready", 503, False, "debug"),
        ("/metrics", 200, False, "debug"),
    ],
)
def test_level(route: str, status: int, is_write: bool, level: str) -> None:
    assert level_of(route, status, is_write=is_write) == logging.getLevelNamesMapping()[level.upper()]


def test_stack_has_its_causes_and_no_messages() -> None:
    def fail(secret: str) -> None:
        try:
            int(secret)
        except ValueError as error:
            raise LookupError(secret) from error

    try:
        fail("a secret")
    except LookupError as error:
        stack = stack_of(error)
    assert stack.index("ValueError") < stack.index("LookupError")
    assert "in fail" in stack
    assert "invalid literal" not in stack
