"""Where a model may be imported from: what a caller names is one of a few hosts, or refused with the field."""

from __future__ import annotations

from typing import Any

import pytest

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import parse_message
from embergate.app.uploaded_models import import_rules
from embergate.errors import ConfigurationError
from embergate.gateway.models.imports.schemas import ImportModelBody
from embergate.gateway.models.imports.sources import ImportRules, Place, place_in
from embergate.settings import Settings

RULES = ImportRules(frozenset({"https://minio.example:9000"}), "https://huggingface.co")


def place_of(body: Any, rules: ImportRules = RULES) -> Place:
    return place_in(parse_message(ImportModelBody, body), "acme", rules)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "exactly one of"),
        ({"awsS3Source": {"s3Bucket": "b-b"}, "huggingFaceSource": {"repo": "org/model"}}, "exactly one of"),
        ({"awsS3Source": {}}, "awsS3Source.s3Bucket is required"),
        ({"awsS3Source": {"s3Bucket": "B/../x"}}, "awsS3Source.s3Bucket: 'B/../x' is none"),
        ({"awsS3Source": {"s3Bucket": "bucket", "region": "x@evil.example"}}, "awsS3Source.region"),
        ({"awsS3Source": {"s3Bucket": "bucket", "s3Path": "a/../../b"}}, "is no folder of a bucket"),
        ({"awsS3Source": {"s3Bucket": "bucket", "roleArn": "arn:aws:iam::1:role/x"}}, "roleArn is not offered"),
        ({"awsS3Source": {"s3Bucket": "bucket", "accessKeyId": "id"}}, "go together"),
        ({"awsS3Source": {"s3Bucket": "bucket", "endpoint": "http://169.254.169.254"}}, "EMBERGATE_IMPORT_ENDPOINTS"),
        ({"awsS3Source": {"s3Bucket": "bucket", "endpoint": "http://127.0.0.1:1"}}, "EMBERGATE_IMPORT_ENDPOINTS"),
        (
            {"azureBlobSource": {"storageAccount": "evil.example/", "container": "abc"}},
            "azureBlobSource.storageAccount",
        ),
        ({"azureBlobSource": {"storageAccount": "abc", "container": "a/b"}}, "azureBlobSource.container"),
        ({"azureBlobSource": {"storageAccount": "abc", "container": "abc", "clientId": "x"}}, "no identity at Azure"),
        ({"huggingFaceSource": {"repo": "../../api/x"}}, "huggingFaceSource.repo"),
        ({"huggingFaceSource": {"repo": "org/model/x"}}, "huggingFaceSource.repo"),
        ({"huggingFaceSource": {"repo": "org/model", "revision": "a/../.."}}, "two dots"),
    ],
)
def test_source_that_there_cannot_be_is_refused(body: Any, said: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        place_of(body)
    assert said in caught.value.message


def test_source_is_told_by_a_url_without_what_is_secret() -> None:
    secret = {"accessKeyId": "AKIA", "accessSecret": "accounts/acme/secrets/s3"}
    s3 = place_of(
        {"awsS3Source": {"s3Bucket": "bucket", "s3Path": "/a/b/", "endpoint": "https://MINIO.example:9000/", **secret}}
    )
    assert (s3.url, s3.endpoint, s3.region, s3.secret_id) == (
        "s3://bucket/a/b",
        "https://minio.example:9000",
        "us-east-1",
        "s3",
    )
    assert Place(**s3.payload()) == s3
    azure = place_of({"azureBlobSource": {"storageAccount": "store", "container": "models", "path": "a"}})
    assert azure.url == "az://store/models/a"
    assert place_of({"huggingFaceSource": {"repo": "org/model"}}).url == "hf://org/model@main"


@pytest.mark.parametrize("name", ["s3cret/value+of=40", "accounts/globex/secrets/s3", "accounts/acme/secrets/S3 VALUE"])
def test_what_is_no_name_of_an_own_secret_is_not_told_back(name: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        place_of({"huggingFaceSource": {"repo": "org/model", "tokenSecret": name}})
    assert "must be the name of a secret" in caught.value.message
    assert name not in caught.value.message


def test_server_without_a_hub_says_so() -> None:
    with pytest.raises(InvalidArgumentError, match="never asks the Hub"):
        place_of({"huggingFaceSource": {"repo": "org/model"}}, ImportRules())


def test_settings_say_where_from() -> None:
    allowed = Settings(
        import_endpoints=("https://Minio.example:9000/", "http://10.0.0.1"), hub_url="https://mirror.example/hf/"
    )
    assert import_rules(allowed) == ImportRules(
        frozenset({"https://minio.example:9000", "http://10.0.0.1"}), "https://mirror.example/hf"
    )
    assert import_rules(Settings(offline=True)).hub_url == ""


@pytest.mark.parametrize(
    "setting",
    [
        {"import_endpoints": ("minio:9000",)},
        {"import_endpoints": ("https://user@minio",)},
        {"import_endpoints": ("https://minio/path",)},
        {"hub_url": "ftp://mirror"},
        {"hub_url": "https://mirror?x=1"},
    ],
)
def test_setting_that_is_no_base_url_is_named(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"EMBERGATE_(IMPORT_ENDPOINTS|HUB_URL)"):
        import_rules(Settings(**setting))
