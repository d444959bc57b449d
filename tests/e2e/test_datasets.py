"""`embergate datasets`, on a running server and on the database, and what a server keeps of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import KEY, Server
from tests.e2e.test_operator import Operator

ROWS = '{"custom_id": "a"}\n{"custom_id": "b"}\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("data") / "data", self_check="false", models=tiny_model) as started:
        yield started.ready()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROWS)
    return path


@pytest.mark.parametrize("where", ["server", "database"])
def test_dataset_goes_up_and_comes_down(
    server: Server, tmp_path: Path, rows: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = Operator.of(tmp_path / "other")
    if where == "server":
        operator.environment.update(EMBERGATE_SERVER=server.base, EMBERGATE_API_KEY=KEY)
        account = "default"
    else:
        account = "acme"
        operator.run("accounts", "create", account, "--email", "ops@acme.example")
    made = operator.json("datasets", "upload", account, "mine", str(rows), "--name", "Mine")
    assert (made["state"], made["exampleCount"], made["displayName"]) == ("READY", "2", "Mine")
    assert "accounts/" in operator.run("datasets", "list", account).stdout
    assert operator.json("datasets", "show", account, "mine")["name"] == f"accounts/{account}/datasets/mine"
    folder = tmp_path / "down"
    printed = operator.run("datasets", "download", account, "mine", "--output", str(folder)).stdout
    assert printed.strip() == str(folder / "rows.jsonl")
    assert (folder / "rows.jsonl").read_text() == ROWS
    assert [path.name for path in folder.iterdir()] == ["rows.jsonl"]
    operator.run("datasets", "delete", account, "mine")
    assert operator.json("datasets", "list", account) == []


def test_bad_row_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(ROWS + "{\n")
    operator = Operator.of(tmp_path / "other")
    assert "bad.jsonl line 3 column" in operator.refused("datasets", "upload", "acme", "mine", str(bad), expect=2)
    missing = operator.refused("datasets", "upload", "acme", "mine", str(tmp_path / "none"), expect=2)
    assert "cannot be read: No such file" in missing
