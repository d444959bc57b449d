"""`UploadedModels`: uploaded models as the inference plane uses them, and `ModelParts`, which both planes share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from embergate.engine.loading.catalog import ModelKind, price_class_nanousd
from embergate.engine.loading.loader import SourceOptions
from embergate.engine.loading.spec import Precision
from embergate.engine.model_pool import Content, ModelPool
from embergate.engine.registry import CATALOG_ACCOUNT, Registry, ServedModel, model_id, resource_names
from embergate.errors import EmbergateError, FailedPreconditionError, ForbiddenError, ModelNotFoundError
from embergate.gateway.fresh_cache import FreshCache
from embergate.gateway.models import store
from embergate.gateway.models.folders import ModelFolders
from embergate.gateway.models.kinds import USE_OF
from embergate.gateway.models.names import Address
from embergate.gateway.models.schemas import EmbeddingDetails, ModelState
from embergate.gateway.models.store import ModelFile
from embergate.storage.database import Database
from embergate.storage.tables.models import ModelRow
from embergate.web.own_models import NamedModel, OwnModel

TOKENS_IN_A_PRICE: Final = 1_000_000
MAX_LISTED: Final = 1_000
NOT_YOURS: Final = "this API key or session has no access to the model's account, and the model is not public"


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What serving needs to know of a model's row."""

    is_public: bool
    is_ready: bool
    kind: ModelKind
    content_sha256: str
    weights_bytes: int
    parameter_count: int
    prefix: str
    files: Mapping[str, ModelFile]
    # In which it is served besides the server's own.
    precisions: frozenset[Precision] = frozenset()

    @property
    def list_price_nanos(self) -> int:
        """What a token costs by the model's size, in nanos."""
        return price_class_nanousd(self.parameter_count) // TOKENS_IN_A_PRICE


class UploadedModels:
    """Looks models up in the database, at most once a second each."""

    def __init__(self, database: Database, pool: ModelPool, folders: ModelFolders, *, wait_s: float) -> None:
        """Know nothing yet; a caller waits for a model to be loaded for `wait_s` seconds at most."""
        self._database = database
        self._pool = pool
        self._folders = folders
        self._wait_s = wait_s
        self._found: FreshCache[Address, Uploaded | None] = FreshCache()

    async def find(self, name: str, account_id: str, absent: EmbergateError) -> NamedModel:
        """Look a model up; see `OwnModels`."""
        address, found = await self._find(name, account_id, absent)
        names = resource_names(address.account_id, address.model_id)
        return NamedModel(model_id(address.account_id, address.model_id), names, found.list_price_nanos, found.kind)

    @asynccontextmanager
    async def using(self, name: str, account_id: str, absent: EmbergateError) -> AsyncIterator[ServedModel]:
        """Keep a model loaded for as long as the context lasts; see `OwnModels`."""
        address, found = await self._find(name, account_id, absent)
        async with self._pool.using(self.content_of(found, address.precision), wait_s=self._wait_s) as (
            model,
            loaded_at,
        ):
            served = ServedModel(
                address.account_id,
                address.model_id,
                model,
                loaded_at,
                list_price_nanos=found.list_price_nanos,
                is_uploaded=True,
            )
            if address.snapshot is not None and not served.is_snapshot(address.snapshot):
                raise ModelNotFoundError(param="model")
            yield served

    async def _find(self, name: str, account_id: str, absent: EmbergateError) -> tuple[Address, Uploaded]:
        """Look up a model that the account may use. Raises: as `OwnModels.find`."""
        address = Address.parse(name)
        if address is None:
            raise absent
        key = replace(address, snapshot=None, precision=None)
        found = await self._found.get(key, partial(self._look_up, key))
        if address.account_id != account_id and (found is None or not found.is_public or not found.is_ready):
            # Whether there is such a model in a foreign account is never told, but for those of the public catalogue.
            raise absent if address.account_id == CATALOG_ACCOUNT else ForbiddenError(NOT_YOURS, param="model")
        if found is None:
            raise absent
        if not found.is_ready:
            raise FailedPreconditionError(
                f"the model {address.model_id} is UPLOADING: upload its files, then ask for :validateUpload",
                param="model",
            )
        if address.precision is not None and address.precision not in found.precisions:
            raise FailedPreconditionError(
                f"the model {address.model_id} is not prepared in {address.precision}; ask for :prepare with precision "
                f"{address.precision.name} first",
                param="model",
            )
        return address, found

    async def ready(self, account_id: str) -> Sequence[OwnModel]:
        """Return the models that an account may use; see `OwnModels`."""
        async with self._database.reading() as db:
            return [_own_model(row) for row in await store.list_usable(db, account_id, limit=MAX_LISTED)]

    def content_of(self, uploaded: Uploaded, precision: Precision | None = None) -> Content:
        """Return how the pool knows a model in a precision, or in the server's own."""
        folder = partial(self._folders.folder_of, uploaded.prefix, uploaded.files)
        return Content(uploaded.content_sha256, uploaded.weights_bytes, folder, precision)

    def forget(self) -> None:
        """Look every model up again: one of them may have changed."""
        self._found.forget()

    async def _look_up(self, address: Address) -> Uploaded | None:
        async with self._database.reading() as db:
            row = await store.find(db, address.account_id, address.model_id)
            return None if row is None else uploaded_of(row, await store.files_of(db, row))


def _own_model(row: ModelRow) -> OwnModel:
    details = EmbeddingDetails(**row.details.get("embedding_details") or {})
    return OwnModel(
        row.account_id,
        row.id,
        USE_OF[row.kind],
        resource_names(row.account_id, row.id),
        row.create_time,
        row.context_length,
        details.dimensions,
        details.normalize_default,
        details.resizable,
        tuple(sorted(precision.value for precision in store.ready_precisions(row))),
    )


def uploaded_of(row: ModelRow, files: Mapping[str, ModelFile]) -> Uploaded:
    """Return what serving needs to know of a model."""
    is_ready = row.state == ModelState.READY
    return Uploaded(
        row.public,
        is_ready,
        USE_OF[row.kind],
        row.content_sha256,
        row.weights_bytes,
        row.parameter_count,
        store.place_of(row).folder,
        files,
        store.ready_precisions(row),
    )


@dataclass(frozen=True, slots=True)
class ModelParts:
    """The models that the server was started with, and those that accounts upload."""

    registry: Registry
    pool: ModelPool
    folders: ModelFolders
    uploaded: UploadedModels
    # How the folders of uploaded models are read.
    source: SourceOptions
    # Held by whoever measures a model: two at once would slow each other down.
    measuring: asyncio.Lock = field(default_factory=asyncio.Lock)
