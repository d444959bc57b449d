"""Input that is wrong, hostile or huge: a clear 400 or 413, and a server that goes on."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.server import KEY, MODEL, Server

BAD_INPUTS = {
    "missing": ("", "input is required"),
    "null": ('"input": null', "input is required"),
    "empty string": ('"input": ""', "empty string"),
    "empty string in a list": ('"input": ["a", ""]', "input[1] is an empty string"),
    "empty list": ('"input": []', "empty list"),
    "empty token list": ('"input": [[]]', "empty list of token ids"),
    "object": ('"input": {"text": "a"}', "an object"),
    "objects": ('"input": [{"text": "a"}]', "an object"),
    "boolean": ('"input": true', "a boolean"),
    "number": ('"input": 1.5', "a number"),
    "floats": ('"input": [1.5, 2.5]', "a number"),
    "booleans": ('"input": [true]', "a boolean"),
    "text then id": ('"input": ["a", 1]', "input[1] is an integer"),
    "id then text": ('"input": [1, "a"]', "input[1] is a string"),
    "nested too deep": ('"input": [[[1]]]', "input[0][0] is a list"),
    "id below the vocabulary": ('"input": [-1]', "token id -1"),
    "id above the vocabulary": ('"input": [[5, 30522]]', "30521"),
    "id beyond 64 bits": ('"input": [1180591620717411303424]', ""),
    "2049 inputs": ('"input": [' + ",".join(['"a"'] * 2049) + "]", "at most 2048"),
    "100,000 characters": ('"input": "' + "word " * 20_000 + '"', "limit is 256"),
    "too many ids": ('"input": [' + ",".join(["7592"] * 300) + "]", "302 tokens"),
    "lone surrogate": ('"input": "a \\ud800 b"', ""),
}


@pytest.fixture(autouse=True)
def _server_goes_on(http: httpx2.Client) -> Iterator[None]:
    """Ask something good after every test."""
    yield
    assert http.post("/v1/embeddings", json={"model": MODEL, "input": "still there?"}).status_code == 200


def post(http: httpx2.Client, content: bytes) -> httpx2.Response:
    return http.post("/inference/v1/embeddings", content=content)


@pytest.mark.parametrize(("field", "said"), BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_bad_input_is_refused_by_name(http: httpx2.Client, field: str, said: str) -> None:
    answer = post(http, f'{{"model": "{MODEL}"{"," if field else ""} {field}}}'.encode())
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "INVALID_REQUEST"
    assert said in answer.json()["error"]["message"]


BAD_BODIES = {
    "nothing": b"",
    "not JSON": b"hello",
    "cut off": b'{"model": "x", "input": "a',
    "a list": b"[1, 2]",
    "a string": b'"text"',
    "invalid UTF-8": b'{"model": "x", "input": "\xff\xfe"}',
    "deep brackets": b'{"model": "x", "input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_bad_body_is_refused(http: httpx2.Client, body: bytes) -> None:
    answer = post(http, body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "INVALID_REQUEST"


def test_odd_but_valid_texts_have_vectors(http: httpx2.Client) -> None:
    texts = ["a", "\x00", " ", "\n\t", "👩‍👩‍👧‍👦", "x" * 100_000, "\u202eabc", "ﷺ"]
    answer = http.post("/v1/embeddings", json={"model": MODEL, "input": texts})
    assert answer.status_code == 200, answer.text
    for item in answer.json()["data"]:
        assert sum(number * number for number in item["embedding"]) == pytest.approx(1.0, abs=1e-4)


def test_2048_inputs_are_accepted(http: httpx2.Client) -> None:
    body = {"model": MODEL, "input": ["a"] * 2048, "encoding_format": "base64"}
    answer = http.post("/v1/embeddings", json=body)
    assert answer.status_code == 200
    assert [item["index"] for item in answer.json()["data"]] == list(range(2048))
    assert answer.json()["usage"]["prompt_tokens"] == 3 * 2048


def test_ten_megabytes_are_read_and_judged(http: httpx2.Client) -> None:
    answer = http.post("/v1/embeddings", json={"model": MODEL, "input": "word " * 2_000_000})
    assert answer.status_code == 400
    assert "2000002 tokens" in answer.json()["error"]["message"]


def test_announced_body_over_the_limit_is_refused_unread(server: Server) -> None:
    host, port = server.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 99999999999\r\n\r\n"
        raw.sendall(head.encode())
        assert b" 413 " in raw.recv(4096)


def test_body_that_grows_over_the_limit_is_refused(http: httpx2.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * (1 << 20)

    assert http.post("/v1/embeddings", content=chunks()).status_code == 413
