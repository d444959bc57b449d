"""A platform on each kind of database, with a folder for its files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embergate.app.objects import FileOptions
from embergate.storage.database import Database
from embergate.storage.objects.local import LocalObjects
from tests.integration.gateway.platform import Platform
from tests.s3_server import bucket, s3_endpoint, s3_environment

__all__ = ["bucket", "s3_endpoint", "s3_environment"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalObjects]:
    opened = LocalObjects(tmp_path / "objects")
    opened.prepare()
    yield opened
    await opened.close()


@pytest.fixture
async def platform(database: Database, store: LocalObjects, tmp_path: Path) -> AsyncIterator[Platform]:
    made = Platform(database, files=FileOptions(store, models_folder=tmp_path / "models"))
    yield made
    await made.close()
