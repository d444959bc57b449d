"""The migration of the keys that addresses are compared by."""

from __future__ import annotations

from alembic import command
from sqlalchemy import Connection, text

from embergate.storage import migrate
from embergate.storage.database import Database
from embergate.storage.migrate import HISTORY
from embergate.storage.rows import Base

ADDRESSES = {
    "ada": ("Ada@Acme.example", "ada@acme.example"),
    "max": ("Max@Straße.example", "max@straße.example"),
    "zoe": ("ZOË@acme.example", "zoË@acme.example"),
}


async def test_keys_of_before_are_made_anew(database: Database) -> None:
    def to_the_version_before(connection: Connection) -> None:
        Base.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
        command.upgrade(HISTORY.config(connection), "0002")
        moment = "'2026-01-01T00:00:00.000000Z'"
        connection.execute(
            text(
                "INSERT INTO accounts (id, display_name, email, account_type, state, suspend_state, create_time, update_time)"
                f" VALUES ('acme', '', '', '', '', '', {moment}, {moment})"
            )
        )
        for user_id, (email, _) in ADDRESSES.items():
            connection.execute(
                text(
                    "INSERT INTO users (account_id, id, display_name, email, email_key, service_account, role, is_operator,"
                    f" state, create_time, update_time) VALUES ('acme', :id, '', :email, :key, false, '', false, '', {moment},"
                    f" {moment})"
                ),
                {"id": user_id, "email": email, "key": email.casefold()},
            )

    async with database.migrating() as connection:
        await connection.run_sync(to_the_version_before)
    await migrate.upgrade(database)
    async with database.reading() as db:
        found = {row.id: row.email_key for row in await db.execute(text("SELECT id, email_key FROM users"))}
    assert found == {user_id: key for user_id, (_, key) in ADDRESSES.items()}
