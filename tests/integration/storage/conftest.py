"""The sample tables."""

from __future__ import annotations

import pytest

from embergate.storage.database import Database
from tests.integration.storage.sample import create_tables


@pytest.fixture
async def jobs(database: Database) -> Database:
    """A database of either kind with the sample tables."""
    await create_tables(database)
    return database
