"""Files and batches by the official openai client, unmodified, on a real server with a real model."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import openai
import pytest
from openai.types import Batch

from tests.e2e.server import MODEL, Server
from tests.e2e.test_operator import Operator

TEXTS: Final = ["The food was delicious", "The waiter was kind", "Ein Satz auf Deutsch"]
TOO_LONG: Final = "word " * 300
DEADLINE_S: Final = 60.0
ENDED: Final = {"completed", "failed", "expired", "cancelled"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("batches")


@pytest.fixture(scope="module")
def server(data_dir: Path) -> Iterator[Server]:
    # In f32 a text has the same vector whatever it is computed beside, to the last digits.
    with Server(data_dir, self_check="false", precision="f32") as started:
        yield started.ready()


@pytest.fixture(params=["/v1", "/inference/v1"])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.base}{request.param}", api_key=server.key, max_retries=0) as made:
        yield made


@pytest.fixture
def one_client(server: Server) -> Iterator[openai.OpenAI]:
    """Return a client for what does not depend on the prefix."""
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key=server.key, max_retries=0) as made:
        yield made


def row(custom_id: str, text: str, model: str = MODEL) -> dict[str, Any]:
    body = {"model": model, "input": text}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body}


def upload(client: openai.OpenAI, rows: Sequence[dict[str, Any]], name: str = "rows.jsonl") -> str:
    content = io.BytesIO("\n".join(map(json.dumps, rows)).encode())
    content.name = name
    return client.files.create(file=content, purpose="batch").id


def begin(client: openai.OpenAI, file_id: str, **more: Any) -> Batch:
    return client.batches.create(input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h", **more)


def finished(client: openai.OpenAI, batch_id: str) -> Batch:
    deadline = time.monotonic() + DEADLINE_S
    while (batch := client.batches.retrieve(batch_id)).status not in ENDED:
        assert time.monotonic() < deadline, batch
        time.sleep(0.02)
    return batch


def rows_of(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    assert file_id is not None
    rows = [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
    return {row["custom_id"]: row for row in rows}


def test_batch_answers_as_the_interactive_api_does(client: openai.OpenAI) -> None:
    rows = [row(f"row-{number}", text) for number, text in enumerate(TEXTS)]
    file_id = upload(client, [*rows, row("too-long", TOO_LONG)])
    file = client.files.retrieve(file_id)
    assert (file.filename, file.purpose, file.status) == ("rows.jsonl", "batch", "processed")
    made = begin(client, file_id, metadata={"team": "search"})
    assert (made.status, made.input_file_id, made.metadata) == ("validating", file_id, {"team": "search"})
    batch = finished(client, made.id)
    assert (batch.status, batch.errors, batch.model) == ("completed", None, MODEL)
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (4, 3, 1)
    answers, errors = rows_of(client, batch.output_file_id), rows_of(client, batch.error_file_id)
    expected = client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
    for number, item in enumerate(expected.data):
        answer = answers.pop(f"row-{number}")
        assert (answer["error"], answer["response"]["status_code"]) == (None, 200)
        vector = answer["response"]["body"]["data"][0]["embedding"]
        np.testing.assert_allclose(vector, item.embedding, rtol=0, atol=1e-6)
    assert batch.usage is not None
    assert batch.usage.total_tokens == expected.usage.total_tokens
    assert answers == {}
    (failed,) = errors.values()
    assert failed["custom_id"] == "too-long"
    assert "tokens long" in failed["error"]["message"]
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input=TOO_LONG)
    assert failed["response"]["body"]["error"] == refused.value.body
    for one in (batch.output_file_id, batch.error_file_id, file_id):
        assert one is not None
        assert client.files.delete(one).deleted


def test_rows_of_another_model_fail_the_batch(one_client: openai.OpenAI) -> None:
    rows = [row("a", "the fox"), row("b", "the fox", model="other/model")]
    batch = finished(one_client, begin(one_client, upload(one_client, rows)).id)
    assert (batch.status, batch.output_file_id) == ("failed", None)
    assert batch.errors is not None
    assert batch.errors.data is not None
    (problem,) = batch.errors.data
    assert (problem.line, problem.code, problem.param) == (2, "mismatched_model", "body.model")
    with pytest.raises(openai.NotFoundError, match="no model"):
        begin(one_client, upload(one_client, rows[1:]))


def test_bad_line_is_named(one_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"rows\.jsonl line 2 column 7") as refused:
        one_client.files.create(file=("rows.jsonl", b'{"a": 1}\n{"a": }\n'), purpose="batch")
    assert refused.value.param == "file"


def test_batch_is_cancelled(one_client: openai.OpenAI) -> None:
    rows = [row(str(number), f"text {number}") for number in range(20_000)]
    made = begin(one_client, upload(one_client, rows))
    assert one_client.batches.cancel(made.id).status in {"cancelling", "cancelled"}
    batch = finished(one_client, made.id)
    assert batch.status == "cancelled"
    assert batch.request_counts is not None
    num_done = batch.request_counts.completed
    assert num_done < len(rows)
    if num_done:
        assert len(rows_of(one_client, batch.output_file_id)) == num_done
    with pytest.raises(openai.BadRequestError, match="has ended already"):
        one_client.batches.cancel(made.id)


def test_pages_are_walked_to_their_end(one_client: openai.OpenAI) -> None:
    file_ids = [upload(one_client, [row("a", "the fox")]) for _ in range(3)]
    batch_ids = [begin(one_client, file_id).id for file_id in file_ids]
    files = [file.id for file in one_client.files.list(limit=2, purpose="batch")]
    assert files[:3] == file_ids[::-1]
    assert len(files) == len(set(files))
    assert [file.id for file in one_client.files.list(limit=2, order="asc", purpose="batch")] == files[::-1]
    batches = [batch.id for batch in one_client.batches.list(limit=2)]
    assert batches[:3] == batch_ids[::-1]
    assert len(batches) == len(set(batches))
    for batch_id in batch_ids:
        finished(one_client, batch_id)


def test_another_account_sees_nothing(server: Server, data_dir: Path, one_client: openai.OpenAI) -> None:
    file_id = upload(one_client, [row("a", "the fox")])
    batch = finished(one_client, begin(one_client, file_id).id)
    made = Operator.of(data_dir).json("accounts", "create", "acme", "--email", "ops@acme.example")
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key=made["apiKey"]["key"], max_retries=0) as other:
        assert batch.output_file_id is not None
        for one in (file_id, batch.output_file_id):
            for call in (other.files.retrieve, other.files.content, other.files.delete):
                with pytest.raises(openai.NotFoundError, match="resource not found"):
                    call(one)
        for ask in (other.batches.retrieve, other.batches.cancel):
            with pytest.raises(openai.NotFoundError, match="resource not found"):
                ask(batch.id)
        with pytest.raises(openai.NotFoundError, match="there is no such file"):
            begin(other, file_id)
        assert list(other.files.list()) == []
        assert list(other.batches.list()) == []
    assert len(rows_of(one_client, batch.output_file_id)) == 1
