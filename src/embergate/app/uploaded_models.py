"""From settings to how uploaded models are loaded, and how long they stay in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from embergate.app.objects import FileOptions
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import Precision
from embergate.engine.model_pool import ModelPool
from embergate.engine.registry import Registry
from embergate.gateway.models.folders import ModelFolders
from embergate.gateway.models.serving import ModelParts, UploadedModels
from embergate.settings import Settings
from embergate.storage.database import Database

BYTES_PER_MB: Final = 1_000_000
# Of the time for a request, what it may wait for its model: it still has to be answered.
WAITING_PART: Final = 0.9


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How uploaded models are loaded and kept."""

    max_bytes: int = 4096 * BYTES_PER_MB
    idle_s: float = 1800.0
    wait_s: float = 540.0
    precision: Precision = Precision.AUTO
    compute: ComputeOptions = field(default_factory=ComputeOptions)


def pool_options(settings: Settings) -> PoolOptions:
    """Return how uploaded models are loaded and kept."""
    return PoolOptions(
        settings.model_memory_mb * BYTES_PER_MB,
        settings.model_idle_s,
        settings.request_timeout_s * WAITING_PART,
        Precision(settings.precision),
        ComputeOptions(settings.num_threads, settings.num_streams),
    )


def model_parts(database: Database, files: FileOptions, options: PoolOptions) -> ModelParts:
    """Return what both planes know of models; nothing is loaded yet."""
    pool = ModelPool(partial(open_uploaded, options=options), max_bytes=options.max_bytes, idle_s=options.idle_s)
    folders = ModelFolders(files.models_folder, files.objects)
    uploaded = UploadedModels(database, pool, folders, wait_s=options.wait_s)
    return ModelParts(Registry(), pool, folders, uploaded)


def open_uploaded(folder: Path, precision: Precision | None, options: PoolOptions) -> LoadedModel:
    """Load an uploaded model, in the server's precision if None. Blocks; raises: ModelError."""
    return LoadedModel.open(
        folder, precision=precision or options.precision, compute=options.compute, source=SourceOptions(offline=True)
    )
