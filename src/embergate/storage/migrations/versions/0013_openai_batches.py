"""What OpenAI's batch objects tell of a batch job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from embergate.storage import rows

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of jobs that are there already they are unknown."""
    with op.batch_alter_table("batch_inference_jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("start_time", rows.UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("finalize_time", rows.UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("cancel_time", rows.UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("problems", rows.Json(), nullable=True))
        batch_op.add_column(sa.Column("user_metadata", rows.Json(), nullable=True))
