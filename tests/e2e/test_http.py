"""Plain HTTP: headers, names, tolerated fields, error bodies, health, metrics."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.e2e.server import KEY, MODEL, Server, head_of, read_all

RESOURCE = "accounts/fireworks/models/all-minilm-l6-v2"
DEPLOYMENT = "accounts/fireworks/deployments/all-minilm-l6-v2"
NAMES = [
    MODEL,
    RESOURCE,
    "fireworks/all-minilm-l6-v2",
    f"fireworks/{RESOURCE}",
    DEPLOYMENT,
    "accounts/fireworks/routers/all-minilm-l6-v2",
    f"{RESOURCE}#{DEPLOYMENT}",
    f"{RESOURCE}#all-minilm-l6-v2",
    f"fireworks/all-minilm-l6-v2#{DEPLOYMENT}",
    f"{MODEL}@1110a24",
]
HEADERS = [
    "x-request-id",
    "x-embergate-fingerprint",
    "fireworks-prompt-tokens",
    "fireworks-cached-prompt-tokens",
    "fireworks-server-time-to-first-token",
    "fireworks-server-processing-time",
    "fireworks-tokenizer-queue-duration",
    "fireworks-tokenizer-duration",
    "fireworks-prefill-queue-duration",
    "fireworks-prefill-duration",
]


def embed(http: httpx2.Client, **body: Any) -> httpx2.Response:
    return http.post("/inference/v1/embeddings", json={"model": MODEL, "input": "hello", **body})


def error_of(response: httpx2.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error", "request_id"}
    assert set(body["error"]) == {"message", "param", "code", "type"}
    assert body["request_id"] == response.headers["x-request-id"]
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize("name", NAMES)
def test_every_form_of_a_models_name_resolves(http: httpx2.Client, name: str) -> None:
    answer = embed(http, model=name)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == name


@pytest.mark.parametrize(
    "name",
    [
        "SENTENCE-TRANSFORMERS/all-minilm-l6-v2",
        f"{MODEL}@0000000",
        f"{MODEL}@",
        f"{MODEL}#other",
        f"{MODEL}#",
        "#",
        "@",
    ],
)
def test_other_names_are_not_found(http: httpx2.Client, name: str) -> None:
    answer = embed(http, model=name)
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "NOT_FOUND"


@pytest.mark.parametrize("name", NAMES)
def test_model_is_described_with_slashes_or_escaped(http: httpx2.Client, name: str) -> None:
    for spelled in (name.replace("#", "%23"), quote(name, safe="")):
        for prefix in ("/inference/v1", "/v1"):
            assert http.get(f"{prefix}/models/{spelled}").json()["id"] == RESOURCE


def test_both_prefixes_give_the_same_answer(http: httpx2.Client) -> None:
    assert http.post("/v1/embeddings", json={"model": MODEL, "input": "hello"}).json() == embed(http).json()
    assert http.get("/v1/models").json() == http.get("/inference/v1/models").json()


def test_key_may_come_in_either_header(server: Server) -> None:
    for headers in ({"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"x-api-key": KEY}):
        assert httpx2.get(f"{server.base}/v1/models", headers=headers).status_code == 200
    # With both, the bearer token counts.
    for bearer, expected in ((KEY, 200), ("wrong", 401)):
        both = {"authorization": f"Bearer {bearer}", "x-api-key": KEY if bearer == "wrong" else "wrong"}
        assert httpx2.get(f"{server.base}/v1/models", headers=both).status_code == expected


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}, {"authorization": KEY}]
)
@pytest.mark.parametrize("path", ["/v1/models", "/inference/v1/models/x", "/v1/embeddings", "/inference/v1/embeddings"])
def test_without_a_valid_key_every_route_answers_401(server: Server, path: str, headers: dict[str, str]) -> None:
    method = "POST" if path.endswith("embeddings") else "GET"
    answer = httpx2.request(method, f"{server.base}{path}", headers=headers)
    assert answer.status_code == 401
    assert error_of(answer)["code"] == "UNAUTHORIZED"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_answer_carries_the_headers(http: httpx2.Client) -> None:
    answer = embed(http)
    for name in HEADERS:
        assert name in answer.headers
    assert answer.headers["fireworks-prompt-tokens"] == "3"
    assert float(answer.headers["fireworks-server-processing-time"]) > 0
    assert "perf_metrics" not in answer.json()


def test_null_and_tolerated_fields_are_accepted(http: httpx2.Client) -> None:
    names = [
        "encoding_format",
        "dimensions",
        "normalize",
        "user",
        "prompt_template",
        "return_logits",
        "input_type",
        "stream",
    ]
    assert embed(http, **dict.fromkeys(names)).status_code == 200
    assert embed(http, stream=False, user="u", prompt_cache_key="k", raw_output=False, fanout_size=2).status_code == 200


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("colour", 1, 'unknown field "colour"'),
        ("encoding_format", "int8", "encoding_format"),
        ("dimensions", 0, "dimensions"),
        ("dimensions", "3", "dimensions"),
        ("dimensions", 4096, "not resizable"),
        ("normalize", "yes", "normalize"),
        ("stream", True, "stream"),
        ("return_logits", [1], "return_logits is not supported"),
        ("prompt_template", "x {a}", "prompt_template is not supported"),
        ("model", 5, "model"),
        ("model", "", "model"),
        ("model", None, "model"),
    ],
)
def test_wrong_field_is_named(http: httpx2.Client, field: str, value: object, said: str) -> None:
    answer = embed(http, **{field: value})
    assert answer.status_code == 400
    error = error_of(answer)
    assert error["param"] == field
    assert said in error["message"]


def test_fingerprint_is_stable_and_a_mismatch_is_a_conflict(http: httpx2.Client) -> None:
    fingerprint = embed(http).headers["x-embergate-fingerprint"]
    assert embed(http, normalize=True).headers["x-embergate-fingerprint"] == fingerprint  # this model always normalises
    body = {"model": MODEL, "input": "hello"}
    good = http.post("/v1/embeddings", json=body, headers={"x-embergate-expect-fingerprint": fingerprint})
    assert good.status_code == 200
    bad = http.post("/v1/embeddings", json=body, headers={"x-embergate-expect-fingerprint": "0" * 16})
    assert bad.status_code == 409
    assert error_of(bad)["code"] == "FINGERPRINT_MISMATCH"
    assert embed(http, model=f"{MODEL}@{fingerprint}").status_code == 200


def test_unknown_paths_and_methods_have_our_bodies(http: httpx2.Client) -> None:
    missing = http.get("/inference/v1/nothing-here")
    assert (missing.status_code, error_of(missing)["code"]) == (404, "NOT_FOUND")
    wrong = http.put("/v1/embeddings")
    assert (wrong.status_code, error_of(wrong)["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert "POST" in wrong.headers["allow"]


@pytest.mark.parametrize("path", ["/v1/embeddings/", "/inference/v1/embeddings/"])
def test_path_that_is_nearly_right_is_not_found_and_not_redirected(http: httpx2.Client, path: str) -> None:
    answer = http.post(path, json={"model": MODEL, "input": "x"})
    assert (answer.status_code, error_of(answer)["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["//v1/embeddings", "/v1", "/v1/nothing-here"])
def test_path_of_no_plane_has_the_gateways_body(http: httpx2.Client, path: str) -> None:
    answer = http.post(path, json={"model": MODEL, "input": "x"})
    assert (answer.status_code, answer.json()["code"], answer.json()["details"]) == (404, 5, [])


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
def test_offer_to_upgrade_is_declined_and_the_body_is_read(server: Server, offer: str) -> None:
    """Java's own client offers h2c with every request."""
    body = json.dumps({"model": MODEL, "input": "x"}).encode()
    head = head_of(len(body), "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {offer}", "HTTP2-Settings: AAMAAABk")
    with server.connect() as connection:
        connection.sendall(head)  # that client sends the body in packets of its own
        connection.sendall(body)
        # A second request on the same connection, which asks for its end.
        connection.sendall(head_of(len(body), "Connection: close") + body)
        assert read_all(connection).count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/v1/models", f"/v1/models/{RESOURCE}"])
def test_head_is_get_without_a_body(http: httpx2.Client, path: str) -> None:
    head, get = http.head(path), http.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":  # they have moved on
        assert head.headers["content-length"] == str(len(get.content))
    assert http.head("/v1/embeddings").status_code == 405


def test_health_and_metrics_need_no_key(server: Server, http: httpx2.Client) -> None:
    assert httpx2.get(f"{server.base}/health/live").json() == {"status": "live"}
    assert httpx2.get(f"{server.base}/health/ready").json() == {"status": "ready"}
    embed(http)
    text = httpx2.get(f"{server.base}/metrics").text
    for name in ("requests_total", "tokens_total", "queued_tokens", "batch_fill_ratio_bucket", "stage_seconds_bucket"):
        assert f"embergate_{name}" in text
    assert 'route="/embeddings",status="200"' in text
