"""email keys: only ASCII letters are compared without regard to case"""

from __future__ import annotations

import string

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
USERS = sa.table("users", *(sa.column(name, sa.String()) for name in ("account_id", "id", "email", "email_key")))


def upgrade() -> None:
    """Change the keys that were folded further. No two meet: what is alike now was alike before."""
    connection = op.get_bind()
    for user in connection.execute(sa.select(USERS)).all():
        key = user.email.translate(ASCII_LOWER)
        if key != user.email_key:
            row = sa.and_(USERS.c.account_id == user.account_id, USERS.c.id == user.id)
            connection.execute(sa.update(USERS).where(row).values(email_key=key))
