"""From settings to how uploaded models are loaded, how long they stay in memory, and where others may come from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from embergate.app.objects import FileOptions
from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import Precision
from embergate.engine.model_pool import ModelPool
from embergate.engine.registry import Registry
from embergate.engine.weighing import served_bytes
from embergate.errors import ConfigurationError
from embergate.gateway.models.folders import ModelFolders
from embergate.gateway.models.imports.sources import ImportRules
from embergate.gateway.models.serving import ModelParts, UploadedModels
from embergate.settings import Settings
from embergate.storage.database import Database

BYTES_PER_MB: Final = 1_000_000
# Of the time for a request, what it may wait for its model: it still has to be answered.
WAITING_PART: Final = 0.9
BASE_URL: Final = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?")


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How uploaded models are loaded and kept."""

    max_bytes: int = 4096 * BYTES_PER_MB
    idle_s: float = 1800.0
    wait_s: float = 540.0
    precision: Precision = Precision.AUTO
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    max_tokens: int = 8192

    @property
    def source(self) -> SourceOptions:
        """How the folders of uploaded models are read: nothing is fetched, and nothing in them trusted."""
        return SourceOptions(offline=True, is_foreign=True, max_tokens=self.max_tokens)


def pool_options(settings: Settings) -> PoolOptions:
    """Return how uploaded models are loaded and kept."""
    return PoolOptions(
        settings.model_memory_mb * BYTES_PER_MB,
        settings.model_idle_s,
        settings.request_timeout_s * WAITING_PART,
        Precision(settings.precision),
        ComputeOptions(settings.num_threads, settings.num_streams),
        settings.model_max_tokens,
    )


def model_parts(database: Database, files: FileOptions, options: PoolOptions) -> ModelParts:
    """Return what both planes know of models; nothing is loaded yet."""
    pool = ModelPool(
        partial(open_uploaded, options=options),
        lambda folder, precision: served_bytes(folder, precision or options.precision),
        max_bytes=options.max_bytes,
        idle_s=options.idle_s,
    )
    folders = ModelFolders(files.models_folder, files.objects)
    uploaded = UploadedModels(database, pool, folders, wait_s=options.wait_s)
    return ModelParts(Registry(), pool, folders, uploaded, options.source)


def open_uploaded(folder: Path, precision: Precision | None, options: PoolOptions) -> LoadedModel:
    """Load an uploaded model, in the server's precision if None. Blocks; raises: ModelError."""
    return LoadedModel.open(
        folder, precision=precision or options.precision, compute=options.compute, source=options.source
    )


def import_rules(settings: Settings) -> ImportRules:
    """Return where models may be imported from. Raises: ConfigurationError if a URL is none."""
    endpoints = frozenset(_base_url(text, "EMBERGATE_IMPORT_ENDPOINTS").lower() for text in settings.import_endpoints)
    hub_url = "" if settings.offline or not settings.hub_url else _base_url(settings.hub_url, "EMBERGATE_HUB_URL")
    return ImportRules(endpoints, hub_url)


def _base_url(text: str, variable: str) -> str:
    if BASE_URL.fullmatch(text) is None or (variable.endswith("ENDPOINTS") and urlsplit(text).path not in {"", "/"}):
        raise ConfigurationError(
            f"{variable}: {text[:100]!r} is no base URL: write https://host or https://host:port, with no user, path or query"
        )
    return text.rstrip("/")
