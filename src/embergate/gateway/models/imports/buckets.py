"""A folder of a bucket as a source of a model's files."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

from embergate.errors import FailedPreconditionError
from embergate.gateway.models.imports.sources import Place, SourceFile

if TYPE_CHECKING:
    from embergate.storage.objects.foreign import ForeignBucket

MAX_OBJECTS: Final = 10_000
AMAZON: Final = "https://s3.{region}.amazonaws.com"
AZURE: Final = "https://{account}.blob.core.windows.net"


class BucketSource:
    """See `Source`."""

    def __init__(self, place: Place, secret: str | None) -> None:
        """Read a place by a secret. Raises: FailedPreconditionError if this server was installed without buckets."""
        self._bucket = _bucket_of(place, secret)
        self._path = place.path

    async def list(self) -> list[SourceFile]:
        """See `Source`."""
        found = await self._bucket.list(self._path, MAX_OBJECTS)
        return [SourceFile(one.name, one.size, one.etag) for one in found]

    def read(self, file: SourceFile) -> AsyncGenerator[bytes, None]:
        """See `Source`."""
        path = f"{self._path}/{file.name}" if self._path else file.name
        return self._bucket.read(path, file.version)


def _bucket_of(place: Place, secret: str | None) -> ForeignBucket:
    try:
        from embergate.storage.objects.foreign import azure_container, s3_bucket  # an extra
    except ModuleNotFoundError:
        raise FailedPreconditionError(
            "this server was installed without the extra `cloud`, which reads buckets; upload the model instead"
        ) from None
    if place.kind == "az":
        endpoint = AZURE.format(account=place.account)
        return azure_container(place.account, place.location, endpoint=endpoint, sas_token=secret)
    access_key = (place.access_key_id, secret) if secret is not None else None
    endpoint = place.endpoint or AMAZON.format(region=place.region)
    return s3_bucket(place.location, endpoint=endpoint, region=place.region, access_key=access_key)
