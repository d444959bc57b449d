"""Object stores: a directory, and a bucket of a real S3 server behind real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embergate.storage.objects.cloud import CloudObjects
from embergate.storage.objects.local import LocalObjects
from embergate.storage.objects.protocol import Objects
from tests.s3_server import bucket, s3_endpoint, s3_environment

__all__ = ["bucket", "s3_endpoint", "s3_environment"]


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalObjects]:
    """A store in a new directory."""
    store = LocalObjects(tmp_path / "objects")
    store.prepare()
    yield store
    await store.close()


@pytest.fixture
async def s3(bucket: str) -> AsyncIterator[CloudObjects]:
    """A store below a prefix of a new bucket."""
    store = CloudObjects(f"s3://{bucket}/some/prefix")
    yield store
    await store.close()


@pytest.fixture(params=["local", "s3"])
def objects(request: pytest.FixtureRequest) -> Objects:
    """A store of either kind."""
    store: Objects = request.getfixturevalue(request.param)
    return store
