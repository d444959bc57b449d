"""What a batch job's run is told when it is enqueued, and its kind."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final, Self

KIND: Final = "batch_inference"
# Rows that are not done by then are not done.
MAX_AGE: Final = timedelta(hours=24)
OUTPUT_FILE: Final = "BIJOutputSet.jsonl"
PARQUET_FILE: Final = "BIJOutputSet.parquet"
NPY_FILE: Final = "BIJOutputSet.npy"
# Which row each vector is of.
IDS_FILE: Final = "BIJOutputSet.ids.jsonl"
ERROR_FILE: Final = "error-data"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done, for whom: JSON in the run. Datasets by their ids and uids, the others by their keys."""

    job_id: str
    model: str
    extra: dict[str, Any]
    input_id: str
    input_uid: str
    output_id: str
    # Of the dataset that there will be.
    output_uid: str
    # The uids of outputs of earlier jobs that this one goes on from.
    earlier_uids: list[str]
    created_by: str
    user_id: str
    key_id: str
    output_format: str = "JSONL"
    # Whether rows are OpenAI's, which name method, url and model themselves.
    is_openai: bool = False

    @classmethod
    def of(cls, payload: Any) -> Self:
        """Read it."""
        return cls(**payload)

    def payload(self) -> dict[str, Any]:
        """Write it."""
        return asdict(self)


def parts_of(account_id: str, order: Order) -> str:
    """Return the prefix of the keys of what chunks have come to."""
    return f"batch-parts/{account_id}/{order.output_uid}"
