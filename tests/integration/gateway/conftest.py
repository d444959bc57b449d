"""A platform on each kind of database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from embergate.storage.database import Database
from tests.integration.gateway.platform import Platform


@pytest.fixture
async def platform(database: Database) -> AsyncIterator[Platform]:
    made = Platform(database)
    yield made
    made.close()
