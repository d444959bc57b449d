"""One server for the tests that do not care which."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("data"), self_check="false") as started:
        yield started.ready()


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client
