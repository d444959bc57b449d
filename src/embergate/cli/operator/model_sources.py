"""Sources of imports as URLs on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embergate.errors import InvalidRequestError


def source_of(url: str, secret_name: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of an import; `given` holds the fields that are S3's alone.

    Raises: InvalidRequestError for another URL, or for fields that it has not.
    """
    scheme, _, rest = url.partition("://")
    own = {name: value for name, value in given.items() if value}
    if own and scheme != "s3":
        raise InvalidRequestError("--access-key-id, --region and --endpoint are for s3:// only")
    match scheme:
        case "s3":
            bucket, _, path = rest.partition("/")
            return {"awsS3Source": _filled(s3Bucket=bucket, s3Path=path, accessSecret=secret_name, **own)}
        case "az":
            account, _, inside = rest.partition("/")
            container, _, path = inside.partition("/")
            fields = _filled(storageAccount=account, container=container, path=path, sasTokenSecret=secret_name)
            return {"azureBlobSource": fields}
        case "hf":
            repo, _, revision = rest.partition("@")
            return {"huggingFaceSource": _filled(repo=repo, revision=revision, tokenSecret=secret_name)}
    raise InvalidRequestError(
        f"{url!r}: a source is s3://bucket/folder, az://account/container/folder or hf://organisation/name[@revision]"
    )


def _filled(**fields: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}
