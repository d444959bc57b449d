"""A bucket of a real S3 server behind real HTTP. Fixtures, for the conftest of whoever needs one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx2
import pytest

REGION = "eu-central-1"
DEADLINE_S = 60


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an S3 server in a process of its own."""
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-c", "from moto.server import main; main()", "-p", "0"]
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "MOTO_PORT": "0"})
    try:
        yield _endpoint_in(log)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _endpoint_in(log: Path) -> str:
    deadline = time.monotonic() + DEADLINE_S
    while "http://" not in (text := log.read_text()):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    url = "http://" + text.partition("http://")[2].split()[0]
    assert httpx2.get(url).status_code == 200
    return url


@pytest.fixture
def s3_environment(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An environment in which the S3 server is Amazon's."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    return s3_endpoint


@pytest.fixture
def bucket(s3_environment: str, request: pytest.FixtureRequest) -> str:
    """The name of an empty bucket."""
    client = boto3.client("s3", endpoint_url=s3_environment)
    name = f"bucket-{time.time_ns()}"
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name
