"""What batch jobs write their answers as, and how fast they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from embergate.storage import rows

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; jobs that are there write JSON Lines, and nobody knows how fast they were."""
    with op.batch_alter_table("batch_inference_jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("output_format", rows.text(32), nullable=False, server_default="JSONL"))
        batch_op.add_column(sa.Column("active_ms", sa.BigInteger(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("last_active_time", rows.UtcDateTime(), nullable=True))
