"""The app in process: who gets in, what it answers while loading, when it is too slow, and when something breaks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts

from embergate.app.engine import check_models, load_model, serving_lifespan
from embergate.clock import now
from embergate.engine.backends.fake import FakeBackend
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.engine import EmbedOptions, Engine
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import find_model
from embergate.engine.loading.spec import ModelSpec, PoolingMode, Precision
from embergate.engine.memory import MemoryUse
from embergate.engine.registry import Registry, ServedModel
from embergate.engine.scheduler import SchedulerLimits
from embergate.engine.tokenization import TextTokenizer, TokenizedText
from embergate.errors import ConfigurationError, EmbergateError
from embergate.gateway.edge import Operation
from embergate.gateway.files.routes import require_signature
from embergate.inference.deps import InferenceLimits
from embergate.inference.schemas import EmbeddingRequest, Inputs, parse_embedding_request
from embergate.settings import Settings
from embergate.web.caller import public, require_caller
from tests.parts import Parts, app_of, parts_over
from tests.random_models import cases_of, write_model

KEY = "eg_key-of-the-integration-tests"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
BODY = {"model": MODEL, "input": "hello"}
BAD_KEYS: list[dict[str, str]] = [
    {},
    {"authorization": "Bearer eg_key-of-somebody-else"},
    {"authorization": f"Basic {KEY}"},
    {"authorization": "Bearer "},
    {"x-api-key": KEY[:-1]},
    {"x-api-key": "a" * 5000},
]


@pytest.fixture
async def deps(sqlite_url: str) -> AsyncIterator[Parts]:
    async with parts_over(sqlite_url, KEY, InferenceLimits(timeout_s=30)) as parts:
        yield parts


@pytest.fixture
def backend(deps: Parts) -> Iterator[FakeBackend]:
    """A network whose gate holds batches back, behind MiniLM's own tokenizer; `deps` serves it."""
    found = find_model(MODEL)
    fake = FakeBackend(found.spec.hidden_size)
    model = LoadedModel(found, TextTokenizer(found.spec), fake, ComputeOptions())
    deps.registry.add(ServedModel("fireworks", "all-minilm-l6-v2", model, now()))
    deps.is_ready = True
    yield fake
    fake.gate.set()


def client_of(app: FastAPI, **headers: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app)
    headers = headers or {"authorization": f"Bearer {KEY}"}
    return httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers)


class GatedTokenizer(TextTokenizer):
    """MiniLM's tokenizer behind a gate; it counts its calls."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.gate = threading.Event()
        self.num_calls = 0

    def encode_texts(
        self, texts: Sequence[str], *, prompt: str = "", truncate: bool = False, first_index: int = 0
    ) -> list[TokenizedText]:
        self.num_calls += 1
        assert self.gate.wait(30)
        return super().encode_texts(texts, prompt=prompt, truncate=truncate, first_index=first_index)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - a thread sets no event of this loop
            await asyncio.sleep(0.001)


def guards_of(dependant: Dependant) -> set[Callable[..., Any]]:
    """Return which of the guards a route depends on, however deep: a gateway call's is its operation's edge."""
    found = {guard for guard in (public, require_caller, require_signature) if dependant.call is guard}
    if isinstance(getattr(dependant.call, "__self__", None), Operation):
        found.add(Operation.enter)
    return found.union(*(guards_of(inner) for inner in dependant.dependencies))


def routes_with(app: FastAPI, guard: Callable[..., Any]) -> list[RouteContext]:
    return [route for route in iter_route_contexts(app.routes) if guard in guards_of(route.dependant)]


async def test_every_route_declares_who_may_call_it(deps: Parts) -> None:
    app = app_of(deps)
    for route in iter_route_contexts(app.routes):
        assert len(guards_of(route.dependant)) == 1, route.path
    assert {route.path for route in routes_with(app, public)} == {"/health/live", "/health/ready", "/metrics"}
    assert {route.path for route in routes_with(app, require_signature)} == {"/files/{key:path}"}


@pytest.mark.parametrize("headers", BAD_KEYS)
async def test_every_guarded_route_refuses_a_caller_without_a_valid_key(deps: Parts, headers: dict[str, str]) -> None:
    app = app_of(deps)
    guarded = routes_with(app, require_caller)
    assert len(guarded) == 8
    async with client_of(app, accept="*/*", **headers) as client:
        for route in guarded:
            for method in route.methods or ():
                answer = await client.request(method, f"{route.path}", json=BODY, params={"api_key": KEY})
                assert answer.status_code == 401, route.path
                assert answer.json()["error"]["code"] == "UNAUTHORIZED"
                assert KEY not in answer.text


async def test_while_models_load_the_answer_is_to_come_back(deps: Parts) -> None:
    async with client_of(app_of(deps)) as client:
        for answer in (await client.post("/v1/embeddings", json=BODY), await client.get("/v1/models/any")):
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "DEPLOYMENT_SCALING_UP"
            assert answer.headers["retry-after"] == "1"
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503
        deps.is_ready = True
        assert (await client.post("/v1/embeddings", json=BODY)).status_code == 404
        assert (await client.get("/health/ready")).status_code == 200


async def test_unforeseen_error_is_a_500_that_tells_nothing(deps: Parts) -> None:
    app = app_of(deps)

    @app.get("/inference/broken")
    async def broken() -> None:
        raise RuntimeError("a secret of the inside")

    async with client_of(app) as client:
        answer = await client.get("/inference/broken")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "INTERNAL"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text


async def test_network_that_breaks_is_a_500_for_its_requests_only(deps: Parts, backend: FakeBackend) -> None:
    async with client_of(app_of(deps)) as client:
        backend.hidden_size = 1 << 60  # more than any memory holds
        broken = await client.post("/v1/embeddings", json=BODY)
        backend.hidden_size = 384
        good = await client.post("/v1/embeddings", json=BODY)
    assert (broken.status_code, good.status_code) == (500, 200)
    assert broken.json()["error"]["message"] == "Something went wrong inside the server."


async def test_body_that_never_ends_is_a_408(deps: Parts) -> None:
    deps.limits = InferenceLimits(timeout_s=0.05)
    never = asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        yield b'{"model": '
        await never.wait()

    async with client_of(app_of(deps)) as client:
        answer = await client.post("/v1/embeddings", content=drip())
    assert answer.status_code == 408
    assert answer.json()["error"]["code"] == "TIMEOUT"
    assert answer.headers["connection"] == "close"


async def test_request_that_takes_too_long_is_a_408_and_leaves_the_queue(deps: Parts, backend: FakeBackend) -> None:
    runner = deps.engine.runner
    async with client_of(app_of(deps)) as client:
        backend.gate.clear()
        held = asyncio.create_task(client.post("/v1/embeddings", json=BODY))
        await until(lambda: runner.num_in_flight == 1)
        deps.limits = InferenceLimits(timeout_s=0.05)
        answer = await client.post("/v1/embeddings", json=BODY)
        assert answer.status_code == 408
        assert answer.json()["error"]["code"] == "TIMEOUT"
        await until(lambda: runner.num_in_flight == 1 and deps.engine.runner.queued_tokens == 0)
        backend.gate.set()
        assert (await held).status_code == 200
    assert runner.num_in_flight == 0


async def test_metrics_count_requests_tokens_and_what_waits(deps: Parts, backend: FakeBackend) -> None:
    async with client_of(app_of(deps)) as client:
        await client.post("/v1/embeddings", json={**BODY, "input": ["hello", "hello world"]})
        await client.post("/v1/embeddings", json={**BODY, "input": ""})
        page = (await client.get("/metrics")).text
    name = 'model="fireworks/all-minilm-l6-v2"'
    for line in (
        f"embergate_tokens_total{{{name}}} 7.0",
        f"embergate_inputs_total{{{name}}} 2.0",
        'embergate_requests_total{route="/embeddings",status="200"} 1.0',
        'embergate_requests_total{route="/embeddings",status="400"} 1.0',
        "embergate_queued_tokens 0.0",
        "embergate_requests_in_flight 0.0",
    ):
        assert line in page


async def test_models_memory_is_published_on_the_model_and_as_a_metric(deps: Parts, backend: FakeBackend) -> None:
    served = deps.registry.get(MODEL)
    deps.registry = Registry()
    deps.registry.add(replace(served, memory=MemoryUse(100, 250, None, 400)))
    async with client_of(app_of(deps)) as client:
        model = (await client.get("/v1/models/fireworks/all-minilm-l6-v2")).json()
        page = (await client.get("/metrics")).text
    assert model["memory"] == {
        "weights_bytes": 100,
        "resident_bytes": 250,
        "anonymous_bytes": None,
        "peak_bytes": 400,
    }
    labels = 'kind="{}",model="fireworks/all-minilm-l6-v2"'
    assert f"embergate_model_memory_bytes{{{labels.format('peak')}}} 400.0" in page
    assert "anonymous" not in page.split("# TYPE embergate_model_memory_bytes")[1]


class BrokenRegistry(Registry):
    """Fails as nothing should."""

    def add(self, served: ServedModel) -> None:
        raise RuntimeError(f"{served.slug} does not fit on the shelf")


async def test_model_that_fails_in_a_way_nobody_foresaw_stops_the_server(deps: Parts) -> None:
    failed: asyncio.Queue[EmbergateError] = asyncio.Queue()
    deps.registry = BrokenRegistry()
    lifespan = serving_lifespan(deps, deps.gateway, Settings(models=(MODEL,), self_check=False), failed.put_nowait)
    async with lifespan(app_of(deps)):
        failure = await asyncio.wait_for(failed.get(), 30)
    assert failure.message.startswith(f"{MODEL} cannot be loaded: RuntimeError")
    assert not deps.is_ready


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (MODEL, MODEL),
        (MODEL, "fireworks/all-minilm-l6-v2"),
        ("accounts/fireworks/models/all-minilm-l6-v2", f"{MODEL}@1110a24"),
        ("org/My_Model", "other/my-model@main"),
    ],
)
def test_model_named_twice_is_found_before_any_is_loaded(one: str, other: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_models(Settings(models=(one, "BAAI/bge-m3", other)))
    assert f"EMBERGATE_MODELS: {one!r} and {other!r} would both be served as accounts/" in caught.value.message


def test_two_folders_called_alike_are_found_before_any_is_loaded(tmp_path: Path) -> None:
    folders = [str(tmp_path / parent / "model") for parent in "ab"]
    for folder in folders:
        Path(folder).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"accounts/default/models/model; .*rename one"):
        check_models(Settings(models=tuple(folders)))


def test_model_is_loaded_in_its_own_precision_and_pooling(tmp_path: Path) -> None:
    write_model(cases_of("bert")[0], tmp_path / "bare", 0)
    (tmp_path / "bare" / "modules.json").unlink()
    settings = Settings(models=(f"{tmp_path}/bare:bf16:cls", MODEL), precision="f32")
    own, default = (load_model(asked, settings) for asked in settings.models)
    assert own.model.backend.precision is Precision.BF16
    assert own.model.spec.pooling.modes == (PoolingMode.CLS,)
    assert own.self_check is not None
    assert own.self_check.min_cosine is not None  # the f32 that it is compared with has the same pooling
    assert default.model.backend.precision is Precision.F32
    for served in (own, default):
        served.model.close()


def test_models_that_differ_may_be_served_together() -> None:
    check_models(Settings(models=(MODEL, "BAAI/bge-m3", "org/name")))


async def test_short_request_is_tokenised_between_the_parts_of_a_long_one(deps: Parts, backend: FakeBackend) -> None:
    deps.engine.close()
    deps.engine = Engine(tokenizer_threads=1)
    texts = [*(["word " * 200] * 2047), "word " * 300]  # refused, but only for its last text
    async with client_of(app_of(deps)) as client:
        long = asyncio.create_task(client.post("/v1/embeddings", json={**BODY, "input": texts}))
        await asyncio.sleep(0)
        short = asyncio.create_task(client.post("/v1/embeddings", json=BODY))
        done, _ = await asyncio.wait({long, short}, return_when=asyncio.FIRST_COMPLETED)
        assert done == {short}
        assert short.result().status_code == 200
        assert (await long).json()["error"]["param"] == "input[2047]"


async def test_giant_text_is_judged_by_its_tokens_not_by_its_characters(deps: Parts, backend: FakeBackend) -> None:
    fragments = "x " * 100 + "y" * (1 << 16) + " " + "z" * (1 << 16)  # two words too long for WordPiece: 102 tokens
    async with client_of(app_of(deps)) as client:
        good = await client.post("/v1/embeddings", json={**BODY, "input": ["a", fragments]})
        assert good.json()["usage"]["prompt_tokens"] == 3 + 104
        bad = await client.post("/v1/embeddings", json={**BODY, "input": ["a", "word " * 200_000]})
        assert bad.json()["error"]["param"] == "input[1]"
        assert "more than" in bad.json()["error"]["message"]
        later = await client.post("/v1/embeddings", json={**BODY, "input": "y" * (1 << 16) + " word" * 200_000})
        assert later.status_code == 400


async def test_text_that_waits_for_a_tokenizer_has_its_place_in_the_queue(deps: Parts, backend: FakeBackend) -> None:
    deps.engine.close()
    deps.engine = Engine(SchedulerLimits(max_queued_tokens=100))
    (served,) = deps.registry.list()
    served.model.tokenizer = tokenizer = GatedTokenizer(served.model.spec)
    async with client_of(app_of(deps)) as client:
        waiting = asyncio.create_task(client.post("/v1/embeddings", json={**BODY, "input": "word " * 60}))
        await until(lambda: tokenizer.num_calls == 1)
        assert "embergate_queued_tokens 75.0" in (await client.get("/metrics")).text
        refused = await client.post("/v1/embeddings", json={**BODY, "input": "word " * 30})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "OVERLOADED")
        assert tokenizer.num_calls == 1
        tokenizer.gate.set()
        assert (await waiting).status_code == 200
        assert deps.engine.runner.queued_tokens == 0
        assert (await client.post("/v1/embeddings", json={**BODY, "input": "word " * 30})).status_code == 200


async def test_caller_who_leaves_the_tokenizer_leaves_the_queue(deps: Parts, backend: FakeBackend) -> None:
    (served,) = deps.registry.list()
    served.model.tokenizer = tokenizer = GatedTokenizer(served.model.spec)
    leaving = asyncio.create_task(deps.engine.embed(served.model, ["word " * 60], EmbedOptions()))
    await until(lambda: tokenizer.num_calls == 1)
    leaving.cancel()
    await asyncio.wait({leaving})
    assert deps.engine.runner.queued_tokens == 0
    tokenizer.gate.set()


@pytest.mark.parametrize("text", ["w", " ", "\u0301"])
async def test_endless_text_is_refused_before_it_is_tokenised(deps: Parts, backend: FakeBackend, text: str) -> None:
    (served,) = deps.registry.list()
    del served.model.tokenizer._tokenizer  # whoever asks for it is answered with a 500
    async with client_of(app_of(deps)) as client:
        bad = await client.post("/v1/embeddings", json={**BODY, "input": [text * 300_000]})
    assert bad.status_code == 400
    assert bad.json()["error"]["param"] == "input[0]"
    assert "300000 characters" in bad.json()["error"]["message"]


async def test_too_many_ids_are_counted_before_they_are_looked_at(deps: Parts, backend: FakeBackend) -> None:
    async with client_of(app_of(deps)) as client:
        bad = await client.post("/v1/embeddings", json={**BODY, "input": [[7592], [-1] * 300]})
    assert bad.json()["error"]["param"] == "input[1]"
    assert "302 tokens" in bad.json()["error"]["message"]


async def test_large_body_is_parsed_beside_the_event_loop(
    deps: Parts, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def parse(body: bytes, *, max_inputs: int) -> tuple[EmbeddingRequest, Inputs]:
        threads.append(threading.current_thread())
        return parse_embedding_request(body, max_inputs=max_inputs)

    monkeypatch.setattr("embergate.inference.embeddings.parse_embedding_request", parse)
    async with client_of(app_of(deps)) as client:
        for body in (BODY, {**BODY, "input": ["word " * 100] * 200}):
            assert (await client.post("/v1/embeddings", json=body)).status_code == 200
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


async def test_metrics_name_no_account(deps: Parts, backend: FakeBackend) -> None:
    (served,) = deps.registry.list()
    deps.registry = Registry()
    deps.registry.add(ServedModel("acme-corp", "own-model", served.model, now()))
    async with client_of(app_of(deps)) as client:
        body = {**BODY, "model": "accounts/acme-corp/models/own-model"}
        assert (await client.post("/v1/embeddings", json=body)).status_code == 200
        page = (await client.get("/metrics")).text
    assert 'embergate_inputs_total{model="own-model"} 1.0' in page
    assert "acme" not in page
