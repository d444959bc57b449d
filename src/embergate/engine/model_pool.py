"""`ModelPool`: models that are loaded when they are asked for, and unloaded when others need the room or nobody asks.

What is in it is known by its content and its precision alone: two models of equal files are one here. A model in use is
never unloaded.
All of it happens on one event loop; only the loading itself is done in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from embergate.clock import monotonic_s, now
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.spec import Precision
from embergate.errors import FailedPreconditionError, ModelLoadingError

# In a precision, or in the server's own.
OpenModel = Callable[[Path, Precision | None], LoadedModel]
# How many bytes a model's weights will take.
Weigh = Callable[[Path, Precision | None], int]
Key = tuple[str, Precision | None]


@dataclass(frozen=True, slots=True)
class Content:
    """What a model is made of: the sha256 that stands for all of its files, what they weigh, and how to get at them.

    `precision` None is the server's own.
    """

    sha256: str
    num_bytes: int
    folder: Callable[[], Awaitable[Path]]
    precision: Precision | None = None

    @property
    def key(self) -> Key:
        """What tells it from every other one."""
        return self.sha256, self.precision


@dataclass(slots=True)
class PooledModel:
    """A model, or one that is being loaded."""

    loading: asyncio.Task[LoadedModel]
    num_bytes: int
    num_users: int = 0
    last_used_s: float = 0.0
    loaded_at: datetime = field(default_factory=now)

    @property
    def is_idle(self) -> bool:
        """Whether it is loaded and nobody uses it."""
        return self.loading.done() and not self.num_users


class ModelPool:
    """Loaded models under a bound on what their weights take together."""

    def __init__(
        self,
        open_model: OpenModel,
        weigh: Weigh,
        *,
        max_bytes: int,
        idle_s: float,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        """Load nothing yet. `open_model` and `weigh` block; a model that nobody used for `idle_s` seconds may be unloaded."""
        self._open_model = open_model
        self._weigh = weigh
        self._max_bytes = max_bytes
        self._idle_s = idle_s
        self._clock = clock
        self._models: dict[Key, PooledModel] = {}

    @property
    def num_bytes(self) -> int:
        """What the weights of all its models take."""
        return sum(model.num_bytes for model in self._models.values())

    def find(self, sha256: str) -> PooledModel | None:
        """Return the model of this content, in whichever precision; one that is being loaded if no other is there."""
        found = [model for key, model in self._models.items() if key[0] == sha256]
        return next((model for model in found if model.loading.done()), found[0] if found else None)

    @asynccontextmanager
    async def using(
        self, content: Content, *, wait_s: float | None = None
    ) -> AsyncIterator[tuple[LoadedModel, datetime]]:
        """Load a model where it is not loaded, and keep it for as long as the context lasts; also return since when it is.

        Raises: ModelError as the loader does; ModelLoadingError if it takes longer than `wait_s` seconds, or others use all the
            room; FailedPreconditionError if it is larger than all of it.
        """
        pooled = self._models.get(content.key) or self._start(content)
        pooled.num_users += 1
        try:
            await asyncio.wait({pooled.loading}, timeout=wait_s)
            if not pooled.loading.done():
                raise ModelLoadingError("the model is still being loaded; try again after the time in retry-after")
            yield pooled.loading.result(), pooled.loaded_at
        finally:
            pooled.num_users -= 1
            pooled.last_used_s = self._clock()
            self._trim()

    def evict_idle(self) -> int:
        """Unload what nobody has used for too long; return how many."""
        before_s = self._clock() - self._idle_s
        idle = [key for key, model in self._models.items() if model.is_idle and model.last_used_s <= before_s]
        for key in idle:
            del self._models[key]
        return len(idle)

    def forget(self, sha256: str) -> None:
        """Unload a model that is not needed any more, in every precision that nobody uses."""
        for key in [key for key, model in self._models.items() if key[0] == sha256 and model.is_idle]:
            del self._models[key]

    async def close(self) -> None:
        """Wait for what is being loaded, and let go of every model."""
        loading = {model.loading for model in self._models.values()}
        self._models.clear()
        if loading:
            await asyncio.wait(loading)

    def _start(self, content: Content) -> PooledModel:
        self._make_room(content.num_bytes)
        pooled = PooledModel(asyncio.create_task(self._load(content)), content.num_bytes)
        pooled.loading.add_done_callback(_retrieve)
        self._models[content.key] = pooled
        return pooled

    async def _load(self, content: Content) -> LoadedModel:
        try:
            folder = await content.folder()
            self._take_room(content, await asyncio.to_thread(self._weigh, folder, content.precision))
            model = await asyncio.to_thread(self._open_model, folder, content.precision)
        except BaseException:
            self._models.pop(content.key, None)
            raise
        pooled = self._models.get(content.key)
        if pooled is not None:  # what the weights take as they are served, which files do not tell
            pooled.num_bytes, pooled.loaded_at = model.weights_bytes, now()
        return model

    def _take_room(self, content: Content, num_bytes: int) -> None:
        """Hold as much as a model will take, in place of what its files have; see `using`."""
        pooled = self._models.get(content.key)
        if pooled is not None:
            held, pooled.num_bytes = pooled.num_bytes, 0
            try:
                self._make_room(max(held, num_bytes))
            finally:
                pooled.num_bytes = max(held, num_bytes)

    def _make_room(self, num_bytes: int) -> None:
        if num_bytes > self._max_bytes:
            raise FailedPreconditionError(
                f"the model's weights take {num_bytes} bytes, and all uploaded models together may take "
                f"{self._max_bytes}; whoever runs this server can raise EMBERGATE_MODEL_MEMORY_MB",
                param="model",
            )
        self._trim(num_bytes)
        if self.num_bytes + num_bytes > self._max_bytes:
            raise ModelLoadingError("other models use all of the memory; try again after the time in retry-after")

    def _trim(self, num_bytes: int = 0) -> None:
        """Unload what was used longest ago until `num_bytes` more fit, or all that is left is in use."""
        # NOTE: let go of, not closed: a batch of a caller who has left may still be running on it.
        for key, model in sorted(self._models.items(), key=lambda pair: pair[1].last_used_s):
            if self.num_bytes + num_bytes <= self._max_bytes:
                return
            if model.is_idle:
                del self._models[key]


def _retrieve(loading: asyncio.Task[LoadedModel]) -> None:
    """Take note of an error that no caller has waited for."""
    if not loading.cancelled():
        loading.exception()
