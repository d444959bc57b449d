"""The official openai client, unmodified, synchronous and asynchronous."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import openai
import pytest

from tests.e2e.server import MODEL, Server

SENTENCE = "Model not found, inaccessible, and/or not deployed"
TEXTS = ["The food was delicious", "The waiter was kind", "Ein Satz auf Deutsch"]


@pytest.fixture(params=["/inference/v1", "/v1"])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.base}{request.param}", api_key=server.key, max_retries=0) as made:
        yield made


def test_base64_and_float_carry_the_same_vectors(client: openai.OpenAI) -> None:
    by_default = client.embeddings.create(model=MODEL, input=TEXTS)  # the client asks for base64 and decodes it
    as_floats = client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
    raw = client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="base64")
    for one, other, third in zip(by_default.data, as_floats.data, raw.data, strict=True):
        # JSON carries the shortest digits that give the same float32 back.
        assert np.array_equal(np.array(one.embedding, np.float32), np.array(other.embedding, np.float32))
        assert type(third.embedding).__name__ == "str"  # which the client's own types do not foresee
    assert [item.index for item in by_default.data] == [0, 1, 2]
    assert len(by_default.data[0].embedding) == 384
    assert by_default.model == MODEL


def test_one_text_equals_the_same_text_in_a_list(client: openai.OpenAI) -> None:
    alone = client.embeddings.create(model=MODEL, input=TEXTS[0]).data[0].embedding
    together = client.embeddings.create(model=MODEL, input=TEXTS).data[0].embedding
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_usage_counts_special_tokens(client: openai.OpenAI) -> None:
    usage = client.embeddings.create(model=MODEL, input=["hello", "hello world"]).usage
    assert usage.prompt_tokens == usage.total_tokens == 3 + 4  # [CLS] hello [SEP], [CLS] hello world [SEP]


def test_token_ids_embed_like_their_text(client: openai.OpenAI) -> None:
    text = client.embeddings.create(model=MODEL, input="hello world").data[0].embedding
    bare = client.embeddings.create(model=MODEL, input=[7592, 2088]).data[0].embedding
    several = client.embeddings.create(model=MODEL, input=[[7592, 2088], [101, 7592, 2088, 102]])
    for vector in (bare, several.data[0].embedding, several.data[1].embedding):
        np.testing.assert_allclose(vector, text, atol=1e-6)
    assert several.usage.prompt_tokens == 8


def test_models_are_listed_and_retrieved_by_any_name(client: openai.OpenAI) -> None:
    (listed,) = client.models.list().data
    assert listed.id == "accounts/fireworks/models/all-minilm-l6-v2"
    for name in (listed.id, MODEL, "fireworks/all-minilm-l6-v2"):
        assert client.models.retrieve(name).id == listed.id


def test_wrong_key_is_an_authentication_error(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.base}/inference/v1", api_key="eg_wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as caught:
        client.embeddings.create(model=MODEL, input="x")
    assert caught.value.code == "UNAUTHORIZED"


def test_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="no/such-model", input="x")
    assert (caught.value.code, caught.value.param) == ("NOT_FOUND", "model")
    assert SENTENCE in str(caught.value)


def test_dimensions_of_a_model_that_is_not_resizable_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="not resizable") as caught:
        client.embeddings.create(model=MODEL, input="x", dimensions=128)
    assert caught.value.param == "dimensions"
    assert len(client.embeddings.create(model=MODEL, input="x", dimensions=384).data[0].embedding) == 384


def test_extra_fields_and_request_id(client: openai.OpenAI) -> None:
    answer = client.embeddings.with_raw_response.create(
        model=MODEL, input="x", user="u", extra_body={"normalize": True, "perf_metrics_in_response": True}
    )
    assert answer.request_id is not None
    parsed = answer.parse()
    assert np.linalg.norm(parsed.data[0].embedding) == pytest.approx(1.0, abs=1e-5)
    assert parsed.model_extra is not None
    assert parsed.model_extra["perf_metrics"]["prompt-tokens"] == "3"


async def test_async_client(server: Server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.base}/inference/v1", api_key=server.key) as client:
        floats = await client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
        default = await client.embeddings.create(model=MODEL, input=TEXTS)
    for one, other in zip(floats.data, default.data, strict=True):
        assert np.array_equal(np.array(one.embedding, np.float32), np.array(other.embedding, np.float32))
