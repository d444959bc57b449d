"""One server for the tests that do not care which, and a model for servers that compute nothing."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.server import Server
from tests.random_models import cases_of, write_model


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("data"), self_check="false") as started:
        yield started.ready()


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a real model of a few kilobytes, to name in `models`: it is loaded in no time."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_model(cases_of("model2vec")[0], folder, 0)
    return f"{folder}/"
