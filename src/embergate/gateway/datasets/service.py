"""The rules of datasets: what may be created, what their files may be, and when they are ready."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from starlette.datastructures import UploadFile

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fieldmask import fields_named, update_message
from embergate.aip.message import require_fields, write_message
from embergate.aip.names import check_id
from embergate.aip.status import Code
from embergate.clock import now
from embergate.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError
from embergate.gateway.accounts import store as accounts
from embergate.gateway.call import Call
from embergate.gateway.datasets import store
from embergate.gateway.datasets.jsonl import VECTOR_ENDINGS, RowCounter, RowError
from embergate.gateway.datasets.schemas import CreateDatasetBody, Dataset, DatasetState
from embergate.gateway.datasets.store import DATASETS
from embergate.gateway.datasets.upload import MAX_FILE_BYTES, pieces_of, too_large
from embergate.gateway.files.place import FIELD, FilePlace, check_sizes, require_sizes, taken_back_unless_kept
from embergate.ids import new_id
from embergate.storage.objects.protocol import Expected, Objects
from embergate.storage.tables.datasets import DatasetRow

# The messages of which one says where a dataset's rows are from.
ORIGINS: Final = ("user_uploaded", "evaluation_result", "transformed", "splitted", "eval_protocol")
MAX_DATASET_BYTES: Final = 80 << 30
DEFAULT_FILENAME: Final = "data.jsonl"
FILENAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


async def create(call: Call, body: CreateDatasetBody) -> Dataset:
    """Create a dataset without files. Raises: AlreadyExistsError; InvalidArgumentError."""
    require_fields(body)
    assert body.dataset is not None, "it is required"
    dataset_id = check_id(body.dataset_id, "datasetId")
    origin = _origin_of(body.dataset)
    if "user_uploaded" in origin and "example_count" not in body.dataset.model_fields_set:
        raise InvalidArgumentError("example_count is required for uploaded datasets", field="dataset.exampleCount")
    row = new_row(call.account_id, dataset_id, body.dataset, origin, created_by=call.caller.email)
    call.event.resource = DATASETS.name_of(row)
    await accounts.get(call.db, call.account_id)
    if not await store.insert(call.db, row):
        raise AlreadyExistsError(f"there is a dataset {dataset_id!r} already", param="datasetId")
    return DATASETS.message_of(row)


def new_row(
    account_id: str, dataset_id: str, draft: Dataset, origin: Mapping[str, Any], *, created_by: str
) -> DatasetRow:
    """Return a dataset that has no files yet."""
    moment = now()
    return DatasetRow(
        account_id=account_id,
        id=dataset_id,
        uid=new_id(),
        display_name=draft.display_name,
        create_time=moment,
        update_time=moment,
        created_by=created_by,
        state=DatasetState.UPLOADING,
        status_code=Code.OK,
        status_message="",
        example_count=draft.example_count,
        estimated_token_count=0,
        format=draft.format,
        external_url=draft.external_url,
        source_job_name=draft.source_job_name,
        origin=dict(origin),
    )


async def update(call: Call, dataset_id: str, patch: Dataset, mask: str | None) -> Dataset:
    """Change what is said of a dataset. Raises: NotFoundError; InvalidArgumentError."""
    row = await store.get(call.db, call.account_id, dataset_id, for_update=True)
    after = update_message(DATASETS.message_of(row), patch, mask)
    if "example_count" in fields_named(patch, mask) and row.state == DatasetState.READY:
        raise InvalidArgumentError("exampleCount of a dataset that is READY was counted", field="exampleCount")
    for name in ("display_name", "example_count", "external_url", "source_job_name"):
        setattr(row, name, getattr(after, name))
    row.update_time = now()
    return DATASETS.message_of(row)


async def delete(call: Call, dataset_id: str) -> None:
    """Delete a dataset, and soon its files. Raises: NotFoundError."""
    row = await store.get(call.db, call.account_id, dataset_id, for_update=True)
    await store.place_of(row).give_up(call.db)
    await store.delete(call.db, row)


async def register_files(call: Call, dataset_id: str, sizes: Mapping[str, int]) -> DatasetRow:
    """Say which files a dataset will have, in place of those that were said before.

    Raises: NotFoundError; FailedPreconditionError once it is ready; InvalidArgumentError for names or sizes that no file has.
    """
    require_sizes(sizes)
    for name in sizes:
        check_filename(name)
    check_sizes(sizes, what="dataset", max_bytes=MAX_DATASET_BYTES)
    row = await store.get(call.db, call.account_id, dataset_id, for_update=True)
    require_uploading(row)
    await store.replace_files(call.db, row, sizes)
    row.update_time = now()
    return row


def check_filename(name: str) -> str:
    """Return a file's name. Raises: InvalidArgumentError if it could be something else than one."""
    if not FILENAME.fullmatch(name):
        raise InvalidArgumentError(
            f"{name[:80]!r} is not a file name: use 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', and no dot in front",
            field=FIELD,
        )
    if name.endswith(VECTOR_ENDINGS):
        raise InvalidArgumentError(f"{name!r}: rows are uploaded as JSON Lines, such as data.jsonl", field=FIELD)
    return name


def require_uploading(row: DatasetRow) -> None:
    """Raise FailedPreconditionError for a dataset that has its files already."""
    if row.state != DatasetState.UPLOADING:
        raise FailedPreconditionError(f"the dataset {row.id} is {row.state} already; make another one", param="name")


async def validate(call: Call, dataset_id: str) -> None:
    """Read every file to its end, and make the dataset ready if each line is a row.

    Raises: NotFoundError; FailedPreconditionError while files are missing, or are not as large as was said;
        InvalidArgumentError naming the file, line and column of the first row that is none.
    """
    # In a unit of work of its own: reading may take long, and nobody is to wait for the rows meanwhile.
    async with call.deps.database.reading() as db:
        row = await store.get(db, call.account_id, dataset_id)
        sizes = await store.files_of(db, row)
    if row.state == DatasetState.READY:
        return
    read = await _read_all(call.deps.objects, row, sizes)
    kept = await store.get(call.db, call.account_id, dataset_id, for_update=True)
    is_same = kept.uid == row.uid and await store.files_of(call.db, kept) == sizes
    # NOTE: another call may have validated it meanwhile, and taken over a file that has come since.
    if not is_same or await _etags(call.deps.objects, row, sizes) != read.etags:
        raise _changed()
    if kept.state != DatasetState.READY:
        make_ready(kept, read.num_rows, read.num_tokens)


@dataclass(frozen=True, slots=True)
class _Read:
    """What was found in a dataset's files, and which files these were."""

    num_rows: int
    num_tokens: int
    etags: Mapping[str, str]


async def _read_all(objects: Objects, row: DatasetRow, sizes: Mapping[str, int]) -> _Read:
    if not sizes:
        raise FailedPreconditionError("no file was uploaded: ask for upload endpoints first", param="name")
    place, etags = store.place_of(row), dict[str, str]()
    for name, size in sizes.items():
        info = await place.take_over(objects, name, size)
        if info is None:
            raise FailedPreconditionError(f"{name} was not uploaded yet", param=name)
        etags[name] = info.etag
    num_rows = num_tokens = 0
    for name, etag in etags.items():
        counter = RowCounter(name)
        try:
            async with aclosing(objects.read(place.key(name), etag=etag)) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(counter.take, chunk)
        except NotFoundError:
            raise _changed() from None
        counter.finish()
        num_rows, num_tokens = num_rows + counter.num_rows, num_tokens + counter.num_tokens
    _require_rows(num_rows)
    return _Read(num_rows, num_tokens, etags)


def _changed() -> FailedPreconditionError:
    return FailedPreconditionError("the dataset was changed while it was read; try again", param="name")


async def _etags(objects: Objects, row: DatasetRow, names: Iterable[str]) -> dict[str, str]:
    """Return what tells each file from any other that may take its place."""
    found = {name: await objects.find(store.place_of(row).key(name)) for name in names}
    return {name: info.etag for name, info in found.items() if info is not None}


async def find_uploading(call: Call, dataset_id: str) -> DatasetRow:
    """Return a dataset that waits for its files, as it is now. Raises: NotFoundError; FailedPreconditionError."""
    async with call.deps.database.reading() as db:  # nobody is to wait until a body has come
        row = await store.get(db, call.account_id, dataset_id)
    require_uploading(row)
    return row


async def take_file(call: Call, row: DatasetRow, file: UploadFile) -> DatasetRow:
    """Make a file that came in a form the only one of a dataset, and the dataset ready.

    Raises: NotFoundError; FailedPreconditionError if it was changed meanwhile; InvalidArgumentError for a row that is none;
        PayloadTooLargeError.
    """
    name = check_filename(PurePath(file.filename or "").name or DEFAULT_FILENAME)
    # To a place of its own, which is the dataset's once this call is committed: another may be at the same.
    uid, objects = new_id(), call.deps.objects
    place = store.place_at(row.account_id, uid)
    async with taken_back_unless_kept(objects, [place]):
        counter = await write_file(objects, place, name, file, MAX_FILE_BYTES)
        kept = await store.get(call.db, call.account_id, row.id, for_update=True)
        require_uploading(kept)
        if kept.uid != row.uid:
            raise FailedPreconditionError("the dataset was replaced meanwhile; try again", param="name")
        await store.place_of(kept).give_up(call.db)
        kept.uid = uid
        await store.replace_files(call.db, kept, {name: counter.num_bytes})
        make_ready(kept, counter.num_rows, counter.num_tokens)
    return kept


async def write_file(objects: Objects, place: FilePlace, name: str, file: UploadFile, max_bytes: int) -> RowCounter:
    """Write a file that came in a form to a dataset's place; return what was counted in it.

    Raises: InvalidArgumentError for a row that is none; PayloadTooLargeError; UnavailableError.
    """
    if (file.size or 0) > max_bytes:
        raise too_large(max_bytes)
    counter = RowCounter(name)
    pieces = _counted(pieces_of(file), counter)
    await objects.write(place.key(name), pieces, expect=Expected(max_bytes=max_bytes))
    return counter


async def _counted(pieces: AsyncIterator[bytes], counter: RowCounter) -> AsyncIterator[bytes]:
    """Pass a file on, as long as its rows are rows."""
    async for piece in pieces:
        await asyncio.to_thread(counter.take, piece)
        yield piece
    counter.finish()
    _require_rows(counter.num_rows)


def _require_rows(num_rows: int) -> None:
    if num_rows == 0:
        raise RowError("Dataset has a syntax error: it has no rows", field="file")


def make_ready(row: DatasetRow, num_rows: int, num_tokens: int) -> None:
    """Note that a dataset's files were read, and what is in them."""
    row.state, row.update_time = DatasetState.READY, now()
    row.example_count, row.estimated_token_count = num_rows, num_tokens


def _origin_of(dataset: Dataset) -> dict[str, Any]:
    given = {name: getattr(dataset, name) for name in ORIGINS if getattr(dataset, name) is not None}
    if len(given) > 1:
        raise InvalidArgumentError(f"only one of {', '.join(given)} may be set", field="dataset")
    if not given:
        return {"user_uploaded": {}}
    ((name, message),) = given.items()
    if name in {"transformed", "splitted"}:
        raise InvalidArgumentError(f"{name}: the server itself says so of what it makes", field=f"dataset.{name}")
    return {name: write_message(message)}
