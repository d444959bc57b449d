"""What of a request the audit trail may hold."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field, SecretStr

from embergate.aip.message import INPUT_ONLY, Message, StringMap
from embergate.gateway.audit.redaction import (
    MAX_PAYLOAD_BYTES,
    REDACTED,
    bounded,
    redact,
    redact_body,
    redact_query,
    storable,
)


class Inner(Message):
    display_name: str = ""
    code: Annotated[str, INPUT_ONLY] = ""


class Outer(Message):
    display_name: str = ""
    labels: StringMap = Field(default_factory=dict)
    api_key: Inner | None = None
    inners: list[Inner] = Field(default_factory=list)
    token: str = ""
    code: Annotated[SecretStr, INPUT_ONLY] = SecretStr("")


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ({"displayName": "a", "display_name": "b"}, {"displayName": "a", "display_name": "b"}),
        ({"code": "s3cret"}, {"code": REDACTED}),
        ({"code": {"nested": "s3cret"}}, {"code": REDACTED}),
        ({"code": ["s3cret"]}, {"code": REDACTED}),
        ({"cdoe": "s3cret"}, {"cdoe": REDACTED}),
        ({"Code": "s3cret"}, {"Code": REDACTED}),
        ({"token": "s3cret"}, {"token": REDACTED}),
        ({"apiKey": {"displayName": "a", "code": "s3cret"}}, {"apiKey": {"displayName": "a", "code": REDACTED}}),
        ({"apiKey": "s3cret"}, {"apiKey": REDACTED}),
        ({"apiKey": None}, {"apiKey": REDACTED}),
        ({"inners": [{"code": "s3cret"}, "s3cret"]}, {"inners": [{"code": REDACTED}, REDACTED]}),
        ({"labels": {"team": "a", "password": "s3cret"}}, {"labels": {"team": "a", "password": REDACTED}}),
        ("s3cret", REDACTED),
        ([{"code": "s3cret"}], [{"code": REDACTED}]),
        (None, REDACTED),
    ],
)
def test_body_is_written_down_as_far_as_its_message_knows_it(body: Any, written: Any) -> None:
    assert redact_body(body, Outer) == written


@pytest.mark.parametrize(
    "name", ["key", "value", "refreshToken", "refresh_token", "REFRESH-TOKEN", "newPassword", "idToken"]
)
def test_what_is_called_like_a_secret_is_left_out_at_any_depth(name: str) -> None:
    assert redact({"query": [{name: {"a": "s3cret"}}]}) == {"query": [{name: REDACTED}]}


def test_query_is_written_down_without_keys_and_what_a_provider_sends() -> None:
    query = {"code": "s3cret", "state": "s3cret", "api_key": "s3cret", "filter": "a\0b"}
    assert redact_query(query) == {"code": REDACTED, "state": REDACTED, "api_key": REDACTED, "filter": "a\ufffdb"}


def test_names_that_only_hold_a_secret_name_are_kept() -> None:
    assert redact({"keyId": "key_1", "keyName": "K", "pageToken": "t"}) == {
        "keyId": "key_1",
        "keyName": "K",
        "pageToken": "t",
    }


def test_what_is_nested_too_deep_is_left_out() -> None:
    value: Any = "deep"
    for _ in range(60):
        value = {"a": value}
    assert "deep" not in str(redact(value))


@pytest.mark.parametrize(
    ("value", "written"), [(-0.0, 0.0), (1e22, "1e+22"), (-1e16, "-1e+16"), (1e15, 1e15), (1e-7, 1e-7), (True, True)]
)
def test_numbers_are_written_as_any_database_gives_them_back(value: float, written: Any) -> None:
    found = redact({"n": value})["n"]
    assert (repr(found), type(found)) == (repr(written), type(written))


def test_texts_are_bounded_and_storable() -> None:
    assert storable("a\0b") == "a\ufffdb"
    assert storable("a\ud800b") == "a?b"
    assert storable("abc", 2) == "ab"


def test_large_part_of_a_payload_is_replaced_by_its_size_and_the_rest_stays() -> None:
    small = {"user_id": "ada", "body": {"displayName": "x" * 100}}
    assert bounded(small) is small
    large = {"user_id": "ada", "query": {"filter": "f"}, "body": {"displayName": "x" * MAX_PAYLOAD_BYTES}}
    assert bounded(large) == {
        "user_id": "ada",
        "query": {"filter": "f"},
        "body": {"omittedBytes": MAX_PAYLOAD_BYTES + len('{"displayName":""}')},
    }
