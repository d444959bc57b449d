"""A Hub that answers strangely: nothing is read without end, followed in circles or taken for what it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from embergate.errors import FailedPreconditionError, UnavailableError
from embergate.gateway.models.imports.hub import MAX_LIST_BYTES, HubSource
from embergate.gateway.models.imports.sources import Place, SourceFile
from tests.integration.gateway.importing import COMMIT, Hub, serving

PLACE = Place("hf", "org/model", "main")
FILE = SourceFile("model.safetensors", 4, COMMIT)


class StrangeHub(Hub):
    """Answers what it is told to."""

    def __init__(self) -> None:
        super().__init__({})
        self.told: tuple[int, dict[str, str], bytes] = (200, {}, b"")

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, str], bytes]:
        self.seen.append((path, authorization))
        return self.told


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[StrangeHub, str]]:
    hub = StrangeHub()
    with serving(hub) as url:
        yield hub, url


@pytest.fixture
def hub(served: tuple[StrangeHub, str]) -> StrangeHub:
    served[0].seen.clear()
    return served[0]


@pytest.fixture
def source(served: tuple[StrangeHub, str]) -> HubSource:
    return HubSource(PLACE, "token", hub_url=served[1])


async def read(source: HubSource) -> bytes:
    async with aclosing(source.read(FILE)) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>", "does not speak as the Hub does"),
        (b"[]", "does not speak as the Hub does"),
        (b'{"sha": "main", "siblings": []}', "does not speak as the Hub does"),
        (b'{"sha": 5, "siblings": []}', "does not speak as the Hub does"),
        (json.dumps({"sha": COMMIT, "siblings": [{"rfilename": "config.json"}]}).encode(), "does not speak as"),
        (json.dumps({"sha": COMMIT, "siblings": [{"rfilename": 5, "size": 1}]}).encode(), "does not speak as"),
        (b" " * (MAX_LIST_BYTES + 1), "more files than any model"),
    ],
    ids=["html", "list", "no commit", "number", "no size", "no name", "too large"],
)
async def test_list_that_is_none_is_refused(hub: StrangeHub, source: HubSource, content: bytes, said: str) -> None:
    hub.told = 200, {}, content
    with pytest.raises(FailedPreconditionError, match=said):
        await source.list()


async def test_redirects_in_a_circle_end(hub: StrangeHub, source: HubSource) -> None:
    hub.told = 302, {"location": "/around"}, b""
    with pytest.raises(FailedPreconditionError, match="does not speak as the Hub does"):
        await read(source)
    assert len(hub.seen) == 5


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:1/",
        "file:///etc/passwd",
        "http://cdn.hf.co/x",  # without TLS
        "https://cdn.hf.co:8443/x",
        "https://huggingface.co.evil.example/x",
        "https://evilhf.co/x",
        "//[::1]/x",
    ],
)
async def test_redirect_to_anywhere_else_is_not_followed(hub: StrangeHub, source: HubSource, location: str) -> None:
    hub.told = 302, {"location": location}, b""
    with pytest.raises(FailedPreconditionError, match=r"the Hub sends us to .* which EMBERGATE_IMPORT_ENDPOINTS"):
        await read(source)
    assert len(hub.seen) == 1


async def test_compressed_answer_is_refused(hub: StrangeHub, source: HubSource) -> None:
    hub.told = 200, {"content-encoding": "gzip"}, b"x"
    with pytest.raises(FailedPreconditionError):
        await read(source)


async def test_hub_that_fails_or_is_not_there_may_answer_later(hub: StrangeHub, source: HubSource) -> None:
    hub.told = 429, {}, b""
    with pytest.raises(UnavailableError, match="the Hub answers HTTP 429"):
        await source.list()
    with pytest.raises(UnavailableError, match="the Hub cannot be reached"):
        await HubSource(PLACE, None, hub_url="http://127.0.0.1:1").list()
