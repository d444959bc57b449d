"""Buckets of others, read on somebody's behalf: by the credentials that they gave, and never by the server's own.

NOTE: obstore reads credentials and endpoints from the environment wherever it is not told otherwise. These are the server's,
and would be sent to whom a caller names: so credentials come from a provider of ours, and the endpoint is always given.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import obstore
import structlog
from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError
from obstore.store import AzureStore, S3Store

from embergate.errors import FailedPreconditionError, UnavailableError
from embergate.storage.objects.protocol import CHUNK_BYTES

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig

CONNECT_TIMEOUT: Final = timedelta(seconds=5)
READ_TIMEOUT: Final = timedelta(seconds=60)
REQUEST_TIMEOUT: Final = timedelta(hours=6)
RETRY_FOR: Final = timedelta(seconds=20)
STATUS: Final = re.compile(r"status code: (4\d\d)")
# Of S3, for a bucket that is elsewhere.
WRONG_REGION: Final = "redirect without LOCATION"
REFUSED: Final = "the bucket refuses the credentials, or to be read without any"
log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ForeignObject:
    """An object below the prefix that was asked for; `etag` changes with its content."""

    name: str
    size: int
    etag: str | None


class ForeignBucket:
    """A bucket that is only read."""

    def __init__(self, store: S3Store | AzureStore) -> None:
        """Connect to nothing yet."""
        self._store = store

    async def list(self, prefix: str, max_objects: int) -> list[ForeignObject]:
        """Return what is below a prefix, without the empty objects that stand for folders.

        Raises: FailedPreconditionError if there are more than `max_objects`, or the bucket refuses; UnavailableError.
        """
        found: list[ForeignObject] = []
        begin = f"{prefix}/" if prefix else ""
        with _failures():
            async for batch in obstore.list(self._store, prefix or None):
                for meta in batch:
                    if not meta["path"].startswith(begin):  # what stands for the folder itself
                        continue
                    if len(found) == max_objects:
                        raise FailedPreconditionError(
                            f"more than {max_objects} objects are below the path; name the model's own folder"
                        )
                    found.append(ForeignObject(meta["path"].removeprefix(begin), meta["size"], meta["e_tag"]))
        folders = {one.name.rpartition("/")[0] for one in found}
        return [one for one in found if one.size or one.name not in folders]

    async def read(self, path: str, etag: str | None) -> AsyncGenerator[bytes, None]:
        """Yield an object's bytes, if it is still the one of this `etag`. Raises: as `list`."""
        options: GetOptions = {"if_match": etag} if etag else {}
        with _failures():
            found = await obstore.get_async(self._store, path, options=options)
            async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)


def s3_bucket(bucket: str, *, endpoint: str, region: str, access_key: tuple[str, str] | None) -> ForeignBucket:
    """Return a bucket of S3 or what is like it; `access_key` is an id and its secret, None for a bucket that all may read."""
    given: dict[str, Any] = {"skip_signature": True}
    if access_key is not None:
        key_id, secret = access_key
        credential = {"access_key_id": key_id, "secret_access_key": secret, "token": None, "expires_at": None}
        given = {"credential_provider": lambda: credential}
    store = S3Store(
        bucket,
        endpoint=endpoint,
        region=region,
        virtual_hosted_style_request=False,
        client_options=_client_options(endpoint),
        retry_config={"max_retries": 3, "retry_timeout": RETRY_FOR},
        **given,
    )
    return ForeignBucket(store)


def azure_container(account: str, container: str, *, endpoint: str, sas_token: str | None) -> ForeignBucket:
    """Return a container of Azure's; without a token one that all may read."""
    given: dict[str, Any] = {"skip_signature": True}
    if sas_token is not None:
        credential = {"sas_token": sas_token.removeprefix("?"), "expires_at": None}
        given = {"credential_provider": lambda: credential}
    store = AzureStore(
        container,
        account_name=account,
        endpoint=endpoint,
        use_emulator=False,
        client_options=_client_options(endpoint),
        retry_config={"max_retries": 3, "retry_timeout": RETRY_FOR},
        **given,
    )
    return ForeignBucket(store)


def _client_options(endpoint: str) -> ClientConfig:
    options = {
        "connect_timeout": CONNECT_TIMEOUT,
        "read_timeout": READ_TIMEOUT,
        "timeout": REQUEST_TIMEOUT,
        "allow_http": endpoint.startswith("http://"),
    }
    return cast("ClientConfig", options)


@contextmanager
def _failures() -> Iterator[None]:
    """Raise errors of our own in place of obstore's, whose texts hold URLs that may be secret."""
    try:
        yield
    except FileNotFoundError:
        raise FailedPreconditionError("there is no such bucket, or an object was deleted while it was read") from None
    except PreconditionError:
        raise FailedPreconditionError("an object was changed while it was read; import again") from None
    except (PermissionDeniedError, UnauthenticatedError):
        raise FailedPreconditionError(REFUSED) from None
    except BaseError as error:
        text = str(error)
        if WRONG_REGION in text:
            raise FailedPreconditionError("the bucket is in another region; say which") from None
        status = STATUS.search(text)
        if status is not None and status[1] in {"401", "403"}:
            raise FailedPreconditionError(REFUSED) from None
        if status is not None:
            raise FailedPreconditionError(f"the bucket answers HTTP {status[1]}: does it exist?") from None
        log.warning("foreign_bucket_failed", kind=type(error).__name__)
        raise UnavailableError("the bucket that is imported from cannot be reached") from None
