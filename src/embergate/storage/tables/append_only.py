"""Tables whose rows are there for good: the database itself refuses to change or remove one.

It guards against mistakes, ours and an operator's, not against who owns the database: that one can drop the triggers.
NOTE: on SQLite a migration that builds such a table anew loses its triggers, and has to make them again.
"""

from __future__ import annotations

from typing import Final

FUNCTION: Final = "embergate_refuse_change"


def statements(dialect: str, table: str) -> list[str]:
    """Return the statements, to be run one by one, after which the rows of `table` can only be added to."""
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_refuse_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for change in ("UPDATE", "DELETE")
        ]
    return [
        f"CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only', ERRCODE = 'restrict_violation'; END $$",
        f"CREATE TRIGGER {table}_refuse_change BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {FUNCTION}()",
        f"CREATE TRIGGER {table}_refuse_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {FUNCTION}()",
    ]
