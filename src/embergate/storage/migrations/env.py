"""What alembic runs to migrate, on the connection that `storage.migrate` hands it, inside its transaction."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from embergate.storage import rows


def render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write our own types by our own names."""
    if kind != "type":
        return False
    if isinstance(item, (rows.UtcDateTime, rows.Duration, rows.Json)):
        return f"rows.{type(item).__name__}()"
    if rows.collation(item) == "C":
        return f"rows.text({item.length or ''})"
    return False


def migrate() -> None:
    """Run the revisions that the database lacks."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=context.config.attributes["metadata"],
        render_as_batch=True,  # SQLite changes a column only by building the table anew
        render_item=render_item,
        # Alembic believes that SQLite cannot undo a change of schema; it can.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


migrate()
