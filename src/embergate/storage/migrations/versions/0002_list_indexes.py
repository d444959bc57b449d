"""list indexes: for the order of redemptions, and for counting the audit entries that are for everybody"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLE = "audit_entries"
REDEMPTIONS = "credit_redemptions"


def upgrade() -> None:
    """Change the schema."""
    # Not as a batch, which may build the table anew: its triggers would be lost.
    for old in ("principal_timestamp_id", "timestamp_id"):
        op.drop_index(f"ix_{TABLE}_account_id_{old}", table_name=TABLE)
    columns = ["timestamp", "id", "is_admin_action"]
    op.create_index(f"ix_{TABLE}_account_id_timestamp", TABLE, ["account_id", *columns])
    op.create_index(f"ix_{TABLE}_account_id_principal_timestamp", TABLE, ["account_id", "principal", *columns])
    op.create_index(f"ix_{REDEMPTIONS}_account_id_create_time_id", REDEMPTIONS, ["account_id", "create_time", "id"])
