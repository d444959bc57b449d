"""The runs of imports: what one is told, and which of an account's have not ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from embergate.errors import FailedPreconditionError
from embergate.gateway.models.imports.sources import Place
from embergate.jobs.job import Step
from embergate.storage.tables.jobs import JobRunRow
from embergate.storage.tables.models import ModelRow

KIND: Final = "model_import"
MAX_AGE: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Order:
    """Which model is to be imported, and from where: JSON in the run. Secrets are named, never held."""

    model_id: str
    model_uid: str
    place: Place

    @classmethod
    def of(cls, payload: Any) -> Self:
        """Read it."""
        return cls(payload["model_id"], payload["model_uid"], Place(**payload["place"]))

    def payload(self) -> dict[str, Any]:
        """Write it."""
        return {"model_id": self.model_id, "model_uid": self.model_uid, "place": self.place.payload()}


async def open_runs(db: AsyncSession, account_id: str) -> Sequence[JobRunRow]:
    """Return the imports of an account that have not ended, or still clean up."""
    chosen = JobRunRow.step != Step.END, JobRunRow.account_id == account_id, JobRunRow.kind == KIND
    return (await db.scalars(select(JobRunRow).where(*chosen))).all()


async def require_none(db: AsyncSession, row: ModelRow) -> None:
    """Raise FailedPreconditionError while a model is being imported, or what is left of an import is taken away."""
    for run in await open_runs(db, row.account_id):
        if Order.of(run.payload).model_uid == row.uid:
            raise FailedPreconditionError(
                f"the model {row.id} is being imported: wait for accounts/{row.account_id}/operations/{run.id}, or cancel it",
                param="name",
            )
