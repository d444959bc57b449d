"""From the settings of files to the store and its URLs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from embergate.app.gateway import open_gateway, prepare_gateway
from embergate.app.objects import file_options, prepare_objects
from embergate.errors import ConfigurationError
from embergate.gateway.files.urls import BucketUrls, PlaneUrlSigner
from embergate.settings import Settings
from embergate.storage.objects.cloud import CloudObjects
from embergate.storage.objects.local import LocalObjects
from tests.integration.objects.samples import get, put


async def test_files_are_in_the_data_directory_by_default(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    await prepare_gateway(settings)
    gateway = open_gateway(settings)
    await put(gateway.objects, "k", b"abc")
    assert (tmp_path / "data/objects/k").read_bytes() == b"abc"
    assert isinstance(gateway.signer, PlaneUrlSigner)
    await gateway.objects.close()
    await gateway.database.close()


@pytest.mark.parametrize("form", ["{}", "file://{}"])
async def test_files_are_in_the_folder_that_is_named(tmp_path: Path, form: str) -> None:
    settings = Settings(data_dir=tmp_path / "data", objects_url=form.format(tmp_path / "elsewhere" / "files"))
    prepare_objects(settings)
    objects = file_options(settings).objects
    await put(objects, "k", b"abc")
    assert await get(objects, "k") == (tmp_path / "elsewhere/files/k").read_bytes() == b"abc"
    await objects.close()


def test_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"EMBERGATE_OBJECTS_URL.*file"):
        prepare_objects(Settings(data_dir=tmp_path, objects_url=str(tmp_path / "file" / "objects")))


@pytest.mark.parametrize("url", ["http://bucket/x", "ftp://x", "S3://bucket", "memory://x"])
def test_url_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"EMBERGATE_OBJECTS_URL.*s3://, gs://, az://"):
        file_options(Settings(objects_url=url))


def test_bucket_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "embergate.storage.objects.cloud")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigurationError, match=r"embergate\[cloud\]"):
        file_options(Settings(objects_url="s3://bucket/x"))


async def test_bucket_signs_its_own_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    gateway = open_gateway(Settings(data_dir=tmp_path, objects_url="s3://bucket/x"))
    assert isinstance(gateway.objects, CloudObjects)
    assert isinstance(gateway.signer, BucketUrls)
    await gateway.database.close()
    assert not (tmp_path / "objects").exists()


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("", ""),
        ("https://embeddings.example", "https://embeddings.example"),
        ("https://embeddings.example:8443/base/", "https://embeddings.example:8443/base"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_public_url_is_kept(url: str, kept: str) -> None:
    options = file_options(Settings(public_url=url))
    assert options.public_url == kept
    assert isinstance(options.objects, LocalObjects)


@pytest.mark.parametrize(
    "url",
    [
        "http://embeddings.example",
        "embeddings.example",
        "https://",
        "https://x?y",
        "https://x#y",
        "https://u:p@x",
        "https://x:y",
    ],
)
def test_public_url_that_serves_nobody_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="EMBERGATE_PUBLIC_URL"):
        file_options(Settings(public_url=url))
