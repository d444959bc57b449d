"""Object stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embergate.storage.objects.local import LocalObjects
from embergate.storage.objects.protocol import Objects


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalObjects]:
    """A store in a new directory."""
    store = LocalObjects(tmp_path / "objects")
    store.prepare()
    yield store
    await store.close()


@pytest.fixture(params=["local"])
def objects(request: pytest.FixtureRequest) -> Objects:
    """A store of either kind."""
    store: Objects = request.getfixturevalue(request.param)
    return store
