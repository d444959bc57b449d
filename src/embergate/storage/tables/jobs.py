"""Work that outlives the process that began it: jobs, and the chunks that each is done in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.rows import Base, Json, UtcDateTime


class JobRunRow(Base):
    """A job of any kind. Whoever changes it or one of its chunks' ends has this row locked."""

    __tablename__ = "job_runs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    payload: Mapped[Any | None] = mapped_column(Json)
    # What is told of it, and how far it is: chunks are claimed only if they are of the job's step.
    state: Mapped[str] = mapped_column(String(20))
    step: Mapped[str] = mapped_column(String(20))
    priority: Mapped[int]
    # Of the step RUN; NULL until they are planned.
    num_chunks: Mapped[int | None]
    num_done: Mapped[int]
    is_expired: Mapped[bool]
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    start_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    end_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When it stops, finished or not.
    expire_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error_code: Mapped[str | None] = mapped_column(String(40))
    error_message: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_job_runs_step_expire_time", "step", "expire_time"),)


class JobChunkRow(Base):
    """A part of a job that one process does at a time; preparing and finishing a job are chunks too."""

    __tablename__ = "job_chunks"

    job_id: Mapped[str] = mapped_column(ForeignKey("job_runs.id"), primary_key=True)
    step: Mapped[str] = mapped_column(String(20), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    account_id: Mapped[str] = mapped_column(String(63))
    state: Mapped[str] = mapped_column(String(20))
    payload: Mapped[Any | None] = mapped_column(Json)
    result: Mapped[Any | None] = mapped_column(Json)
    # The worker that has it; NULL if none has.
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    # From when on it may be claimed: after a pause, or once its lease has run out; NULL when it has ended.
    next_claim_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Grows by one with each claim: who holds an older one holds nothing.
    fence: Mapped[int]
    # Claims that count against it: not those that were given back without a fault, nor those whose worker died.
    attempt: Mapped[int]
    # Claims whose worker was not heard of again.
    num_deaths: Mapped[int] = mapped_column(server_default="0")
    # Since when it is put back again and again, for no fault of its own.
    blocked_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        # What a claim reads: of a job's open chunks the first. Ended ones are not in it, however many there are.
        Index(
            "ix_job_chunks_open",
            "job_id",
            "step",
            "number",
            sqlite_where=text("next_claim_time IS NOT NULL"),
            postgresql_where=text("next_claim_time IS NOT NULL"),
        ),
        # What is under way: a few rows.
        Index(
            "ix_job_chunks_leased",
            "account_id",
            "job_id",
            sqlite_where=text("lease_owner IS NOT NULL"),
            postgresql_where=text("lease_owner IS NOT NULL"),
        ),
    )
