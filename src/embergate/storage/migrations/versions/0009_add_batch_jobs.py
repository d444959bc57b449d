"""Batch jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from embergate.storage import rows

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "batch_inference_jobs",
        sa.Column("account_id", rows.text(63), nullable=False),
        sa.Column("id", rows.text(63), nullable=False),
        sa.Column("run_id", rows.text(40), nullable=False),
        sa.Column("display_name", rows.text(64), nullable=False),
        sa.Column("create_time", rows.UtcDateTime(), nullable=False),
        sa.Column("update_time", rows.UtcDateTime(), nullable=False),
        sa.Column("created_by", rows.text(320), nullable=False),
        sa.Column("state", rows.text(40), nullable=False),
        sa.Column("status_code", rows.text(32), nullable=False),
        sa.Column("status_message", rows.text(), nullable=False),
        sa.Column("model", rows.text(512), nullable=False),
        sa.Column("input_dataset_id", rows.text(256), nullable=False),
        sa.Column("output_dataset_id", rows.text(256), nullable=False),
        sa.Column("parameters", rows.Json(), nullable=False),
        sa.Column("precision", rows.text(40), nullable=False),
        sa.Column("continued_from_job_name", rows.text(256), nullable=False),
        sa.Column("is_prepared", sa.Boolean(), nullable=False),
        sa.Column("num_requests", sa.BigInteger(), nullable=False),
        sa.Column("num_succeeded", sa.BigInteger(), nullable=False),
        sa.Column("num_failed", sa.BigInteger(), nullable=False),
        sa.Column("num_tokens", sa.BigInteger(), nullable=False),
        sa.Column("needed_nanos", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_batch_inference_jobs_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_batch_inference_jobs")),
        sa.UniqueConstraint("run_id", name=op.f("uq_batch_inference_jobs_run_id")),
    )
    with op.batch_alter_table("batch_inference_jobs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_batch_inference_jobs_account_id_create_time_id", ["account_id", "create_time", "id"], unique=False
        )
        batch_op.create_index("ix_batch_inference_jobs_state", ["state"], unique=False)
