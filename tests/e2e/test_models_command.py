"""`embergate models` of accounts: on a running server and on the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import KEY, Server
from tests.e2e.test_operator import Operator
from tests.integration.gateway.importing import Hub, serving
from tests.integration.gateway.uploading import files_in
from tests.random_models import cases_of, write_model


@pytest.fixture(scope="module")
def hub() -> Hub:
    return Hub({"org/broken": {"config.json": b"{}"}})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: str, hub: Hub) -> Iterator[Server]:
    with serving(hub) as url:
        settings = {"self_check": "false", "models": tiny_model, "hub_url": url, "import_endpoints": hub.store}
        with Server(tmp_path_factory.mktemp("data") / "data", **settings) as started:
            yield started.ready()


@pytest.fixture
def on_server(server: Server, tmp_path: Path) -> Operator:
    operator = Operator.of(tmp_path / "other")
    operator.environment.update(EMBERGATE_SERVER=server.base, EMBERGATE_API_KEY=KEY)
    return operator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(cases_of("bert")[0], tmp_path / "published", 0)
    return tmp_path / "published"


@pytest.mark.parametrize("where", ["server", "database"])
def test_folder_goes_up_is_prepared_and_comes_down(
    on_server: Operator, tmp_path: Path, folder: Path, where: str
) -> None:
    (folder / ".gitattributes").write_text("x")
    operator, account = on_server, "default"
    if where == "database":
        operator, account = Operator.of(tmp_path / "other"), "acme"
        operator.run("accounts", "create", account, "--email", "ops@acme.example")
    done = operator.run("models", "upload", account, "mine", str(folder), "--name", "Mine", "--json")
    assert done.stderr == "left out, as no model may have such a file: .gitattributes\n"
    made = json.loads(done.stdout)
    assert (made["state"], made["displayName"], made["kind"]) == ("READY", "Mine", "EMBEDDING_MODEL")
    assert operator.json("models", "show", account, "mine")["name"] == f"accounts/{account}/models/mine"
    assert [one["state"] for one in operator.json("models", "list", account)] == ["READY"]
    assert operator.json("models", "validate", account, "mine")["state"] == "READY"
    assert operator.json("models", "prepare", account, "mine", "int8")["state"] == "READY"
    down = tmp_path / "down"
    printed = operator.run("models", "download", account, "mine", "--output", str(down)).stdout.splitlines()
    assert {Path(line) for line in printed} == {path for path in down.rglob("*") if path.is_file()}
    for path in printed:
        assert Path(path).read_bytes() == (folder / Path(path).relative_to(down)).read_bytes()
    operator.run("models", "delete", account, "mine")
    assert operator.json("models", "list", account) == []


def test_catalogue_is_listed_where_no_account_is_named(on_server: Operator) -> None:
    assert "sentence-transformers/all-MiniLM-L6-v2" in {one["id"] for one in on_server.json("models", "list")}


def test_upload_that_was_cut_off_goes_on_behind_what_came(
    on_server: Operator, server: Server, tmp_path: Path, folder: Path
) -> None:
    weights = folder / "model.safetensors"
    (folder / "notes.md").write_bytes(bytes(6 << 20))
    with server.client() as client:
        model = {"modelId": "cut", "model": {"kind": "EMBEDDING_MODEL"}}
        client.post("/v1/accounts/default/models", json=model)
        sizes = {name: str(len(content)) for name, content in files_in(folder).items()}
        answer = client.post("/v1/accounts/default/models/cut:getUploadEndpoint", json={"filenameToSize": sizes})
        url = answer.json()["filenameToSignedUrls"]["notes.md"]
        # What had come is not sent again: a part of it is told apart from what the file has now.
        part = client.put(url, content=bytes([7]) * 100, headers={"content-range": f"bytes 0-99/{6 << 20}"})
        assert part.status_code == 308
    assert on_server.json("models", "upload", "default", "cut", str(folder))["state"] == "READY"
    printed = on_server.run("models", "download", "default", "cut", "--output", str(tmp_path / "down")).stdout
    assert "notes.md" in printed
    assert (tmp_path / "down" / "notes.md").read_bytes() == bytes([7]) * 100 + bytes((6 << 20) - 100)
    assert (tmp_path / "down" / "model.safetensors").read_bytes() == weights.read_bytes()
    on_server.run("models", "delete", "default", "cut")


def test_model_is_imported_from_a_hub_or_told_why_not(on_server: Operator, hub: Hub, folder: Path) -> None:
    hub.repos = {
        **hub.repos,
        "org/model": {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()},
    }
    made = on_server.json("models", "import", "default", "imported", "hf://org/model")
    assert (made["state"], made["importedFrom"]) == ("READY", "hf://org/model@main")
    assert "config.json" in on_server.refused("models", "import", "default", "broken", "hf://org/broken@main")
    begun = on_server.json("models", "import", "default", "later", "hf://org/none", "--no-wait")
    assert begun["name"].startswith("accounts/default/operations/")
    wrong = on_server.refused("models", "import", "default", "x", "ftp://host/model", expect=2)
    assert "hf://organisation/name" in wrong
    assert "s3:// only" in on_server.refused("models", "import", "default", "x", "hf://a/b", "--region", "r", expect=2)


def test_folder_that_is_none_or_empty_is_refused(on_server: Operator, tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none", "is no folder"), (tmp_path, "there is no file in")):
        assert said in on_server.refused("models", "upload", "default", "mine", str(path), expect=2)
