"""Where models are imported from: what of it a caller may name, and how it is read.

Whom this server talks to is never a caller's choice: Amazon, Azure and the Hub by their own hosts, others only if the operator
has named them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.message import require_fields
from embergate.aip.names import check_id
from embergate.gateway.models.imports.schemas import (
    AwsS3ModelSource,
    AzureBlobModelSource,
    HuggingFaceModelSource,
    ImportModelBody,
)

DEFAULT_REGION: Final = "us-east-1"
BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
REGION: Final = re.compile(r"[a-z]{2}[a-z0-9-]{1,28}[0-9]")
STORAGE_ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}")
CONTAINER: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")
ACCESS_KEY_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
PATH: Final = re.compile(r"[^\x00-\x1f\x7f\\]{0,1000}")
REPO: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
REVISION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,127}")
SOURCES: Final = ("aws_s3_source", "azure_blob_source", "hugging_face_source")


@dataclass(frozen=True, slots=True)
class ImportRules:
    """What the operator allows: the origins of stores besides Amazon's, and where the Hub is, empty for nowhere."""

    endpoints: frozenset[str] = frozenset()
    hub_url: str = ""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file where it is imported from; `version` pins its content, `sha256` is its digest where that is known."""

    name: str
    size: int
    version: str | None = None
    sha256: str | None = None


class Source(Protocol):
    """Somewhere that a model's files are.

    Raises: FailedPreconditionError if it cannot be read, whenever it is tried; UnavailableError if it may be later.
    """

    async def list(self) -> list[SourceFile]:
        """Return all there is, whatever it is called."""
        ...

    def read(self, file: SourceFile) -> AsyncGenerator[bytes, None]:
        """Yield a file's bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """A source as the job's payload has it: `kind` is a URL's scheme, `secret_id` a secret of the account or empty."""

    kind: str
    location: str
    path: str = ""
    account: str = ""
    region: str = ""
    endpoint: str = ""
    access_key_id: str = ""
    secret_id: str = ""

    @property
    def url(self) -> str:
        """What people know it by."""
        parts = [part for part in (self.account, self.location, self.path) if part]
        return f"{self.kind}://{'/'.join(parts)}" if self.kind != "hf" else f"hf://{self.location}@{self.path}"

    def payload(self) -> dict[str, Any]:
        """Write it."""
        return asdict(self)


def place_in(body: ImportModelBody, account_id: str, rules: ImportRules) -> Place:
    """Return the one source that a body names. Raises: InvalidArgumentError."""
    given = [name for name in SOURCES if getattr(body, name) is not None]
    if len(given) != 1:
        raise InvalidArgumentError(
            "name exactly one of awsS3Source, azureBlobSource and huggingFaceSource", field="awsS3Source"
        )
    if body.aws_s3_source is not None:
        return _s3(body.aws_s3_source, account_id, rules)
    if body.azure_blob_source is not None:
        return _azure(body.azure_blob_source, account_id)
    assert body.hugging_face_source is not None, "one of three is given. This is a bug."
    return _hub(body.hugging_face_source, account_id, rules)


def _s3(source: AwsS3ModelSource, account_id: str, rules: ImportRules) -> Place:
    prefix = "awsS3Source."
    require_fields(source, prefix)
    if source.role_arn:
        raise InvalidArgumentError(
            "roleArn is not offered: this server has no identity at Amazon; give accessKeyId and accessSecret",
            field=f"{prefix}roleArn",
        )
    if bool(source.access_key_id) != bool(source.access_secret):
        raise InvalidArgumentError("accessKeyId and accessSecret go together", field=f"{prefix}accessSecret")
    region = source.region or DEFAULT_REGION
    return Place(
        kind="s3",
        location=_fitting(source.s3_bucket, BUCKET, f"{prefix}s3Bucket"),
        path=_folder(source.s3_path, f"{prefix}s3Path"),
        region=_fitting(region, REGION, f"{prefix}region"),
        endpoint=_allowed(source.endpoint, rules, f"{prefix}endpoint") if source.endpoint else "",
        access_key_id=_fitting(source.access_key_id, ACCESS_KEY_ID, f"{prefix}accessKeyId")
        if source.access_key_id
        else "",
        secret_id=_secret_id(source.access_secret, account_id, f"{prefix}accessSecret"),
    )


def _azure(source: AzureBlobModelSource, account_id: str) -> Place:
    prefix = "azureBlobSource."
    require_fields(source, prefix)
    if source.client_id or source.tenant_id:
        raise InvalidArgumentError(
            "clientId and tenantId are not offered: this server has no identity at Azure; give sasTokenSecret",
            field=f"{prefix}clientId",
        )
    return Place(
        kind="az",
        account=_fitting(source.storage_account, STORAGE_ACCOUNT, f"{prefix}storageAccount"),
        location=_fitting(source.container, CONTAINER, f"{prefix}container"),
        path=_folder(source.path, f"{prefix}path"),
        secret_id=_secret_id(source.sas_token_secret, account_id, f"{prefix}sasTokenSecret"),
    )


def _hub(source: HuggingFaceModelSource, account_id: str, rules: ImportRules) -> Place:
    prefix = "huggingFaceSource."
    require_fields(source, prefix)
    if not rules.hub_url:
        raise InvalidArgumentError("huggingFaceSource: this server never asks the Hub", field="huggingFaceSource")
    revision = _fitting(source.revision or "main", REVISION, f"{prefix}revision")
    repo = _fitting(source.repo, REPO, f"{prefix}repo")
    if ".." in repo or ".." in revision:
        raise InvalidArgumentError(f"{prefix}repo: two dots in a row are in no name of the Hub", field=f"{prefix}repo")
    return Place(
        kind="hf",
        location=repo,
        path=revision,
        secret_id=_secret_id(source.token_secret, account_id, f"{prefix}tokenSecret"),
    )


def _fitting(text: str, pattern: re.Pattern[str], field: str) -> str:
    if pattern.fullmatch(text) is None:
        raise InvalidArgumentError(f"{field}: {text[:100]!r} is none", field=field)
    return text


def _folder(text: str, field: str) -> str:
    """Return a path without slashes around it, which nothing in it leads out of."""
    path = text.strip("/")
    if PATH.fullmatch(path) is None or any(segment in {"", ".", ".."} for segment in path.split("/")[1:]):
        raise InvalidArgumentError(f"{field}: {text[:100]!r} is no folder of a bucket", field=field)
    if path.split("/")[0] in {".", ".."}:
        raise InvalidArgumentError(f"{field}: {text[:100]!r} is no folder of a bucket", field=field)
    return path


def _allowed(endpoint: str, rules: ImportRules, field: str) -> str:
    plain = endpoint.rstrip("/").lower()
    if plain not in rules.endpoints:
        raise InvalidArgumentError(
            f"{field}: {endpoint[:100]!r} is none of the stores that whoever runs this server allows in "
            "EMBERGATE_IMPORT_ENDPOINTS",
            field=field,
        )
    return plain


def _secret_id(name: str, account_id: str, field: str) -> str:
    """Return the id in a secret's name. What is no name may be the secret itself, and is never told back."""
    if not name:
        return ""
    prefix = f"accounts/{account_id}/secrets/"
    try:
        if name.startswith(prefix):
            return check_id(name.removeprefix(prefix), field)
    except InvalidArgumentError:
        pass
    raise InvalidArgumentError(
        f"{field} must be the name of a secret, {prefix}...: keep the credential with POST /v1/accounts/{account_id}/secrets, "
        "and name it here",
        field=field,
    )
