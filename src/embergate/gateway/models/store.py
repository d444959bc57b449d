"""The SQL of models, and where their files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, case, select
from sqlalchemy import delete as delete_rows
from sqlalchemy import insert as insert_rows
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.engine.loading.spec import Precision
from embergate.errors import NotFoundError
from embergate.gateway.files.place import FilePlace
from embergate.gateway.models.schemas import Model, ModelPrecision, ModelState, PrecisionState
from embergate.gateway.resource_type import ListRules, ResourceType
from embergate.storage.insertion import insert_row_if_absent
from embergate.storage.tables.models import ModelFileRow, ModelRow

MODELS: Final = ResourceType(
    ModelRow,
    Model,
    pattern="accounts/{account}/models/{model}",
    columns={"status.code": ModelRow.status_code, "status.message": ModelRow.status_message},
    extra=lambda row: {
        "status": {"code": row.status_code, "message": row.status_message},
        "supports_serverless": row.state == ModelState.READY,
        **row.details,
    },
    rules=ListRules(default_order="create_time", searched=("display_name", "id")),
)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file's size in bytes; its sha256 in hex, empty until it was read; and the folder that it arrived in, if any."""

    size: int
    sha256: str = ""
    folder: str = ""

    def path(self, name: str) -> str:
        """Return where the file of this name is, below its model's folder."""
        return f"{self.folder}/{name}" if self.folder else name


async def find(db: AsyncSession, account_id: str, model_id: str, *, for_update: bool = False) -> ModelRow | None:
    """Return a model, locked against others' changes if asked, None if there is none."""
    statement = select(ModelRow).where(ModelRow.account_id == account_id, ModelRow.id == model_id)
    return (await db.execute(statement.with_for_update() if for_update else statement)).scalar_one_or_none()


async def get(db: AsyncSession, account_id: str, model_id: str, *, for_update: bool = False) -> ModelRow:
    """Return a model, locked against others' changes if asked. Raises: NotFoundError."""
    row = await find(db, account_id, model_id, for_update=for_update)
    if row is None:
        raise NotFoundError("resource not found")
    return row


async def insert(db: AsyncSession, row: ModelRow) -> bool:
    """Insert a model unless the account has one of this id; return whether it was inserted."""
    return await insert_row_if_absent(db, row)


async def delete(db: AsyncSession, row: ModelRow) -> None:
    """Delete a model and the list of its files."""
    await replace_files(db, row, {})
    await db.delete(row)


async def list_usable(db: AsyncSession, account_id: str, *, limit: int) -> Sequence[ModelRow]:
    """Return the READY models that an account may embed with: its own, then those of others that are public."""
    is_own = ModelRow.account_id == account_id
    usable = select(ModelRow).where(ModelRow.state == ModelState.READY, is_own | ModelRow.public)
    order = case((is_own, 0), else_=1), ModelRow.account_id, ModelRow.id
    return (await db.scalars(usable.order_by(*order).limit(limit))).all()


async def contents_of_all(db: AsyncSession) -> set[str]:
    """Return what the models of all accounts are made of, as `content_sha256`."""
    return set(await db.scalars(select(ModelRow.content_sha256).distinct()))


async def files_of(db: AsyncSession, row: ModelRow) -> dict[str, ModelFile]:
    """Return what is known of each file by its name, in the order of the names."""
    columns = ModelFileRow.filename, ModelFileRow.size, ModelFileRow.sha256, ModelFileRow.folder
    found = (await db.execute(select(*columns).where(_is_of(row)).order_by(ModelFileRow.filename))).all()
    return {name: ModelFile(size, sha256, folder) for name, size, sha256, folder in found}


async def replace_files(db: AsyncSession, row: ModelRow, files: Mapping[str, ModelFile]) -> None:
    """Make these files, and no others, those of a model."""
    await db.execute(delete_rows(ModelFileRow).where(_is_of(row)))
    rows = [
        {
            "account_id": row.account_id,
            "model_id": row.id,
            "filename": name,
            "size": file.size,
            "sha256": file.sha256,
            "folder": file.folder,
        }
        for name, file in files.items()
    ]
    if rows:
        await db.execute(insert_rows(ModelFileRow), rows)


def ready_precisions(row: ModelRow) -> frozenset[Precision]:
    """Return the precisions that a model was prepared in, and found to be near enough to f32 in."""
    told = [ModelPrecision(**one) for one in row.details.get("precisions", [])]
    return frozenset(Precision[one.precision.name] for one in told if one.state is PrecisionState.READY)


def note_precision(row: ModelRow, prepared: ModelPrecision) -> None:
    """Say what was measured of a model in a precision, in place of what was said of the same one before."""
    kept = [one for one in row.details.get("precisions", []) if one["precision"] != prepared.precision]
    row.details = {**row.details, "precisions": [*kept, prepared.model_dump(mode="json")]}


def place_of(row: ModelRow) -> FilePlace:
    """Return where a model's files are."""
    return place_at(row.account_id, row.uid)


def place_at(account_id: str, uid: str) -> FilePlace:
    """Return where the files of a model are, or were."""
    return FilePlace("models", account_id, uid)


def _is_of(row: ModelRow) -> ColumnElement[bool]:
    return (ModelFileRow.account_id == row.account_id) & (ModelFileRow.model_id == row.id)
