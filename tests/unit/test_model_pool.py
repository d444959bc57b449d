"""The pool of uploaded models: one load for all who ask, a bound on memory, and nothing taken from under a user."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from embergate.engine.backends.fake import FakeBackend
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.spec import Precision
from embergate.engine.model_pool import Content, ModelPool
from embergate.errors import FailedPreconditionError, ModelError, ModelLoadingError
from tests.loaded import fake_model


class Loader:
    """Loads the same random model's files again and again, behind a fake network without weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.num_loads = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.error: ModelError | None = None
        # What a model takes, if that is not what its files have.
        self.served_bytes = 0

    def weigh(self, _folder: Path, _precision: Precision | None) -> int:
        return self.served_bytes

    def open(self, folder: Path, _precision: Precision | None) -> LoadedModel:
        self.num_loads += 1
        assert self.may_go_on.wait(10)
        if self.error is not None:
            raise self.error
        backend = FakeBackend()
        backend.weights_bytes = 40
        return fake_model(folder, backend)

    def content(self, sha256: str, num_bytes: int = 40, precision: Precision | None = None) -> Content:
        async def folder() -> Path:
            return self.folder

        return Content(sha256, num_bytes, folder, precision)


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path / "published")


def pool_of(loader: Loader, clock: Callable[[], float] | None = None) -> ModelPool:
    """Return a pool with room for two models."""
    if clock is None:
        return ModelPool(loader.open, loader.weigh, max_bytes=100, idle_s=60)
    return ModelPool(loader.open, loader.weigh, max_bytes=100, idle_s=60, clock=clock)


async def use(pool: ModelPool, content: Content) -> LoadedModel:
    async with pool.using(content) as (model, _):
        return model


def loaded(pool: ModelPool, *names: str) -> list[str]:
    return [name for name in names if pool.find(name) is not None]


async def test_many_callers_wait_for_one_load(loader: Loader) -> None:
    pool = pool_of(loader)
    models = await asyncio.gather(*(use(pool, loader.content("a")) for _ in range(5)))
    assert len({id(model) for model in models}) == loader.num_loads == 1


async def test_what_was_used_longest_ago_makes_room(loader: Loader) -> None:
    clock = iter(range(100))
    pool = pool_of(loader, lambda: float(next(clock)))
    for name in ("a", "b", "a", "c"):
        await use(pool, loader.content(name))
    assert loaded(pool, "a", "b", "c") == ["a", "c"]
    assert pool.num_bytes == 80
    await use(pool, loader.content("b"))
    assert (loaded(pool, "a", "b", "c"), loader.num_loads) == (["b", "c"], 4)


async def test_model_in_use_stays_and_others_are_told_to_wait(loader: Loader) -> None:
    pool = pool_of(loader)
    async with AsyncExitStack() as stack:
        for name in ("a", "b"):
            await stack.enter_async_context(pool.using(loader.content(name)))
        with pytest.raises(ModelLoadingError, match="other models use all of the memory") as caught:
            await use(pool, loader.content("c"))
        assert (caught.value.http_status, caught.value.code) == (503, "DEPLOYMENT_SCALING_UP")
        pool.forget("a")
        assert pool.evict_idle() == 0
        assert loaded(pool, "a", "b", "c") == ["a", "b"]
    await use(pool, loader.content("c"))
    assert "c" in loaded(pool, "a", "b", "c")


async def test_model_larger_than_all_the_room_names_the_setting(loader: Loader) -> None:
    with pytest.raises(FailedPreconditionError, match="EMBERGATE_MODEL_MEMORY_MB"):
        await use(pool_of(loader), loader.content("a", 101))
    assert loader.num_loads == 0


async def test_model_that_is_larger_in_memory_than_in_its_files_is_weighed_before_it_is_loaded(loader: Loader) -> None:
    pool = pool_of(loader)
    await use(pool, loader.content("a"))
    loader.served_bytes = 80
    async with pool.using(loader.content("b")):
        assert loaded(pool, "a", "b") == ["b"]  # the other one had to go
    loader.served_bytes = 101
    with pytest.raises(FailedPreconditionError, match="take 101 bytes"):
        await use(pool, loader.content("c"))
    assert loader.num_loads == 2
    assert loaded(pool, "b", "c") == ["b"]
    loader.served_bytes = 80
    async with pool.using(loader.content("b")):
        with pytest.raises(ModelLoadingError, match="other models use all of the memory"):
            await use(pool, loader.content("c", 20))
    assert loader.num_loads == 2


async def test_nobody_waits_longer_than_told_and_the_load_goes_on(loader: Loader) -> None:
    pool = pool_of(loader)
    loader.may_go_on.clear()
    with pytest.raises(ModelLoadingError, match="still being loaded"):
        async with pool.using(loader.content("a"), wait_s=0.01):
            pass
    pooled = pool.find("a")
    assert pooled is not None
    assert not pooled.is_idle
    loader.may_go_on.set()
    await use(pool, loader.content("a"))
    assert loader.num_loads == 1


async def test_caller_who_leaves_does_not_stop_the_load_of_the_others(loader: Loader) -> None:
    pool = pool_of(loader)
    loader.may_go_on.clear()
    first, second = (asyncio.create_task(use(pool, loader.content("a"))) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait({first})
    loader.may_go_on.set()
    assert first.cancelled()
    assert isinstance(await second, LoadedModel)
    assert loader.num_loads == 1


async def test_load_that_fails_is_told_and_tried_again_by_the_next(loader: Loader) -> None:
    pool = pool_of(loader)
    loader.error = ModelError("the weights do not fit")
    for _ in range(2):
        with pytest.raises(ModelError, match="the weights do not fit"):
            await use(pool, loader.content("a"))
    assert (loader.num_loads, pool.num_bytes) == (2, 0)
    loader.error = None
    await use(pool, loader.content("a"))


async def test_what_nobody_uses_for_long_is_unloaded(loader: Loader) -> None:
    moment = [0.0]
    pool = pool_of(loader, lambda: moment[0])
    await use(pool, loader.content("a"))
    moment[0] = 59.0
    assert pool.evict_idle() == 0
    await use(pool, loader.content("b"))
    moment[0] = 60.0
    assert pool.evict_idle() == 1
    assert loaded(pool, "a", "b") == ["b"]


async def test_each_precision_is_a_model_of_its_own_and_all_are_forgotten_together(loader: Loader) -> None:
    pool = pool_of(loader)
    plain = await use(pool, loader.content("a"))
    small = await use(pool, loader.content("a", precision=Precision.INT8))
    assert plain is not small
    assert (pool.num_bytes, loader.num_loads) == (80, 2)
    pool.forget("a")
    assert (pool.num_bytes, pool.find("a")) == (0, None)
