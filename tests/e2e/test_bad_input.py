"""Input that is wrong, hostile or huge: a clear 400 or 413, and a server that goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

import httpx2
import pytest

from tests.e2e.server import MODEL, Server, head_of, read_all

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
    "id beyond 64 bits": ('"input": [1180591620717411303424]', "input[0] is a number"),
    "2049 inputs": ('"input": [' + ",".join(['"a"'] * 2049) + "]", "at most 2048"),
    "100,000 characters": ('"input": "' + "word " * 20_000 + '"', "limit is 256"),
    "too many ids": ('"input": [' + ",".join(["7592"] * 300) + "]", "302 tokens"),
    "an id that is a truth value": ('"input": [1, true]', "input[1] is a boolean"),
    "null in a list": ('"input": ["a", null]', "input[1] is null"),
    "lone surrogate": ('"input": "a \\ud800 b"', "no low surrogate"),
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


# Which input, and which of its ids, the error's `param` names: as the request wrote them.
BAD_PLACES: dict[str, object] = {
    "input": "",
    "input[1]": ["a", ""],
    "input[2]": [7592, 7592, -1],
    "input[1][2]": [[7592], [7592, 7592, 30522]],
    "input[0]": ["word " * 300],
    "input[1][1]": [[1], [1, "a"]],
}


@pytest.mark.parametrize(("param", "value"), BAD_PLACES.items(), ids=BAD_PLACES.keys())
def test_bad_place_is_named_as_the_request_wrote_it(http: httpx2.Client, param: str, value: object) -> None:
    answer = http.post("/v1/embeddings", json={"model": MODEL, "input": value})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert answer.json()["error"]["message"].startswith(f"{param} is ")


@pytest.mark.parametrize("value", ["word " * 300, [7592] * 300])
def test_the_only_input_is_not_named_as_one_of_a_list(http: httpx2.Client, value: object) -> None:
    answer = http.post("/v1/embeddings", json={"model": MODEL, "input": value})
    assert answer.json()["error"]["param"] == "input"
    assert answer.json()["error"]["message"].startswith("input is 302 tokens long")


def test_long_name_of_an_unknown_field_is_cut(http: httpx2.Client) -> None:
    # Named before any value is looked at.
    answer = http.post("/v1/embeddings", json={"model": MODEL, "input": 5, "z" * 1_000_000: 1})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "z" * 200
    assert len(answer.content) < 1000


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
    assert "input is 10000000 characters long" in answer.json()["error"]["message"]
    assert "limit is 256" in answer.json()["error"]["message"]


def test_announced_body_over_the_limit_is_refused_unread(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(head_of(99_999_999_999))
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"PAYLOAD_TOO_LARGE" in answer


def test_body_that_grows_over_the_limit_is_refused(http: httpx2.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * (1 << 20)

    answer = http.post("/v1/embeddings", content=chunks())
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "PAYLOAD_TOO_LARGE"


# What each optional field must be, and everything of another type.
WRONG_TYPES: dict[str, list[object]] = {
    "encoding_format": ["hex", "Float", 1, ["float"]],
    "dimensions": [0, -1, 1.5, "384", True, [384]],
    "normalize": [1, "true", []],
    "input_type": ["passage", 1],
    "user": [1, ["u"], "u" * 513],
    "perf_metrics_in_response": [1, "yes"],
    "prompt_cache_key": [1, {}],
    "prompt_cache_isolation_key": [1, {}],
    "raw_output": [0, "no"],
    "fanout_size": ["2", 1.5],
    "stream": [True, "false"],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG_TYPES.items() for value in values]
)
def test_optional_field_of_a_wrong_type_is_named(http: httpx2.Client, field: str, value: object) -> None:
    answer = http.post("/v1/embeddings", json={"model": MODEL, "input": "x", field: value})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == field
    assert answer.json()["error"]["message"].startswith(field)


BAD_HEADS = {
    "not HTTP": b"hello\r\n\r\n",
    "two lengths": head_of(2, "Content-Length: 3"),
    "negative length": head_of(-1),
    "length of 5000 digits": head_of(0, "Content-Length: " + "9" * 5000),
    "path that is not ASCII": b"GET /v1/models/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "path of a megabyte": b"GET /" + b"a" * (1 << 20),
    "header of a megabyte": head_of(0, "X-Long: " + "a" * (1 << 20)),
    "headers without end": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-More: a\r\n" * 100_000,
}


@pytest.mark.parametrize("head", BAD_HEADS.values(), ids=BAD_HEADS.keys())
def test_bad_head_is_refused_in_our_words(server: Server, head: bytes) -> None:
    with server.connect() as connection:
        with suppress(ConnectionError):  # it hangs up as soon as it has seen enough
            connection.sendall(head)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "INVALID_REQUEST"


def test_repeated_and_long_headers_are_harmless(server: Server) -> None:
    body = json.dumps({"model": MODEL, "input": "x"}).encode()
    lines = [
        "Connection: close",
        "Content-Type: a/b",
        "Content-Type: c/d",
        "X-Api-Key: another",
        "X-Long: " + "a" * 30_000,
    ]
    with server.connect() as connection:
        connection.sendall(head_of(len(body), *lines) + body)
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
