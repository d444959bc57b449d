"""A database for jobs."""

from __future__ import annotations

import pytest

from embergate.storage.database import Database
from tests.integration.jobs import toy


@pytest.fixture
async def jobs(database: Database) -> Database:
    """A database of either kind with the toy's tables and two accounts."""
    await toy.create(database, "acme", "beta")
    return database
