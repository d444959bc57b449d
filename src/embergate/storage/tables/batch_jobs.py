"""Batch jobs as their accounts see them; what is done of one, and by whom, is in `jobs.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.rows import Base, Json, UtcDateTime


class BatchJobRow(Base):
    """One batch job. Whoever changes it together with its run has the run locked first."""

    __tablename__ = "batch_inference_jobs"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    # The run in `job_runs`, which is forgotten some days after it has ended.
    run_id: Mapped[str] = mapped_column(String(40), unique=True)
    display_name: Mapped[str] = mapped_column(String(64))
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    update_time: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(320))
    state: Mapped[str] = mapped_column(String(40))
    status_code: Mapped[str] = mapped_column(String(32))
    status_message: Mapped[str] = mapped_column(Text)
    # As it was named; which one it is now is asked when it is needed.
    model: Mapped[str] = mapped_column(String(512))
    input_dataset_id: Mapped[str] = mapped_column(String(256))
    output_dataset_id: Mapped[str] = mapped_column(String(256))
    # The fields of the message that were set.
    parameters: Mapped[dict[str, Any]] = mapped_column(Json)
    precision: Mapped[str] = mapped_column(String(40))
    continued_from_job_name: Mapped[str] = mapped_column(String(256))
    output_format: Mapped[str] = mapped_column(String(32))
    # How far it is: nothing is told of that before its rows were checked.
    is_prepared: Mapped[bool]
    num_requests: Mapped[int] = mapped_column(BigInteger)
    num_succeeded: Mapped[int] = mapped_column(BigInteger)
    num_failed: Mapped[int] = mapped_column(BigInteger)
    num_tokens: Mapped[int] = mapped_column(BigInteger)
    # For how long it was worked on in all, in milliseconds, and until when.
    active_ms: Mapped[int] = mapped_column(BigInteger)
    last_active_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # What its account must be able to pay before it goes on from a pause, in billionths of a dollar.
    needed_nanos: Mapped[int] = mapped_column(BigInteger)
    # When its first row could be done, when its results began to be put together, when it was told to end early.
    start_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finalize_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancel_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # What is wrong with the input, row by row, the first ones; NULL where nothing is.
    problems: Mapped[list[dict[str, Any]] | None] = mapped_column(Json)
    # What its account wrote on it.
    user_metadata: Mapped[dict[str, str] | None] = mapped_column(Json)

    __table_args__ = (
        Index("ix_batch_inference_jobs_account_id_create_time_id", "account_id", "create_time", "id"),
        Index("ix_batch_inference_jobs_state", "state"),
    )
