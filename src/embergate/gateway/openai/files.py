"""Files: each is a dataset; but what a batch has written, one dataset too, is two files: its answers and its errors."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final, Literal

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import UploadFile

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.status import Code
from embergate.errors import FailedPreconditionError, NotFoundError
from embergate.gateway.accounts import store as accounts
from embergate.gateway.batch_jobs.run import ERROR_FILE, OUTPUT_FILE
from embergate.gateway.call import Call
from embergate.gateway.datasets import service as datasets_service
from embergate.gateway.datasets import store as datasets
from embergate.gateway.datasets.schemas import Dataset, DatasetState
from embergate.gateway.datasets.store import DATASETS
from embergate.gateway.files.place import taken_back_unless_kept
from embergate.gateway.openai import lines, store
from embergate.gateway.openai.listing import listed
from embergate.gateway.openai.schemas import File, Listed, ListFilesQuery
from embergate.gateway.openai.store import Contents
from embergate.ids import new_id
from embergate.storage.objects.protocol import Objects
from embergate.storage.tables.datasets import DatasetRow

PURPOSE: Final = "batch"
OUTPUT_PURPOSE: Final = "batch_output"
# OpenAI's own limit; what is larger comes by upload endpoints.
MAX_FILE_BYTES: Final = 512 << 20
# NOTE: no id of a dataset holds one.
ERRORS_ENDING: Final = "_errors"
FIELDS: Final = frozenset({"purpose"})
UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")
MAX_NAME_CHARACTERS: Final = 128
MAX_DISPLAY_CHARACTERS: Final = 63
# However many are asked for.
MAX_PAGE: Final = 1_000
Part = Literal["all", "answers", "errors"]


@dataclass(frozen=True, slots=True)
class Found:
    """A file: the part of a dataset that it is."""

    row: DatasetRow
    contents: Contents
    part: Part

    @property
    def id(self) -> str:
        """What it is called."""
        return self.row.id + (ERRORS_ENDING if self.part == "errors" else "")

    @property
    def is_ready(self) -> bool:
        """Whether it was uploaded and read."""
        return self.row.state == DatasetState.READY

    @property
    def num_bytes(self) -> int:
        """How long it is; of errors, as they are kept."""
        if self.part == "errors":
            return self.contents.errors_bytes or 0
        if self.part == "answers":
            return (self.contents.answers_bytes or 0) + self.row.example_count * lines.num_bytes_more(self.row.uid)
        return self.contents.num_bytes

    @property
    def filename(self) -> str:
        """Under what name to save it."""
        if self.part != "all":
            return f"{self.row.id}_{'output' if self.part == 'answers' else 'error'}.jsonl"
        return self.contents.filename if self.contents.num_files == 1 else f"{self.row.id}.jsonl"

    def described(self) -> File:
        """Return it as clients read it."""
        is_fine = self.row.status_code == Code.OK
        return File(
            id=self.id,
            bytes=self.num_bytes,
            created_at=int(self.row.create_time.timestamp()),
            filename=self.filename,
            purpose=PURPOSE if self.part == "all" else OUTPUT_PURPOSE,
            status="error" if not is_fine else "processed" if self.is_ready else "uploaded",
            status_details=None if is_fine else self.row.status_message,
        )


async def create(call: Call, file: UploadFile, fields: Mapping[str, str]) -> Found:
    """Keep a file as a dataset that is ready.

    Raises: InvalidArgumentError, of a line that is no JSON object naming line and column; PayloadTooLargeError.
    """
    _check_fields(fields)
    given = PurePath(file.filename or "").name
    name = UNSAFE.sub("_", given).lstrip(".")[-MAX_NAME_CHARACTERS:] or datasets_service.DEFAULT_FILENAME
    draft = Dataset(display_name=given.replace("\0", "")[:MAX_DISPLAY_CHARACTERS])
    row = datasets_service.new_row(
        call.account_id, new_id("file-"), draft, {"user_uploaded": {}}, created_by=call.caller.email
    )
    call.event.resource = DATASETS.name_of(row)
    objects, place = call.deps.objects, datasets.place_of(row)
    async with taken_back_unless_kept(objects, [place]):
        counter = await datasets_service.write_file(objects, place, name, file, MAX_FILE_BYTES)
        datasets_service.make_ready(row, counter.num_rows, counter.num_tokens)
        await accounts.get(call.db, call.account_id)
        is_inserted = await datasets.insert(call.db, row)
        assert is_inserted, "the id is new. This is a bug."
        await datasets.replace_files(call.db, row, {name: counter.num_bytes})
    return Found(row, Contents(1, counter.num_bytes, name), "all")


def _check_fields(fields: Mapping[str, str]) -> None:
    for name in fields:
        if name.startswith("expires_after"):
            raise InvalidArgumentError(
                "expires_after is not supported: files are kept until they are deleted; leave it out",
                field="expires_after",
            )
        if name not in FIELDS:
            raise InvalidArgumentError(f'unknown field "{name[:100]}"', field=name[:100])
    purpose = fields.get("purpose")
    if purpose is None:
        raise InvalidArgumentError("purpose is required: batch", field="purpose")
    if purpose != PURPOSE:
        raise InvalidArgumentError(
            f"purpose: {purpose[:80]!r} is not supported; files are for batches only: send batch", field="purpose"
        )


async def get(call: Call, file_id: str) -> Found:
    """Return a file. Raises: NotFoundError."""
    found = await find(call.db, call.account_id, file_id)
    if found is None:
        raise NotFoundError("resource not found")
    return found


async def find(db: AsyncSession, account_id: str, file_id: str) -> Found | None:
    """Return a file, or None."""
    row = await datasets.find(db, account_id, file_id.removesuffix(ERRORS_ENDING))
    if row is None:
        return None
    contents = await store.contents_of(db, account_id, [row.id])
    return next((part for part in parts_of(row, contents.get(row.id, Contents())) if part.id == file_id), None)


def parts_of(row: DatasetRow, contents: Contents) -> list[Found]:
    """Return the files that a dataset is."""
    answers, errors = contents.answers_bytes, contents.errors_bytes
    if not row.source_job_name or (answers is None and errors is None):
        return [Found(row, contents, "all")]
    found = [Found(row, contents, "answers")] if answers is not None else []
    return [*found, Found(row, contents, "errors")] if errors else found


async def list_files(call: Call, query: ListFilesQuery) -> Listed[File]:
    """Return one page of files. Raises: InvalidArgumentError."""
    limit, is_descending = min(query.limit, MAX_PAGE), query.order == "desc"
    last = None
    if query.after:
        last = await find(call.db, call.account_id, query.after)
        if last is None:
            raise InvalidArgumentError("after: there is no such file; begin again without it", field="after")
    if query.purpose not in {"", PURPOSE, OUTPUT_PURPOSE}:
        return listed([], has_more=False)
    where = [store.is_readable()]
    if query.purpose:
        where.append(store.is_output() if query.purpose == OUTPUT_PURPOSE else ~store.is_output())
    rows = await store.rows_behind(
        call.db,
        DatasetRow,
        call.account_id,
        *where,
        after=last.row if last else None,
        is_descending=is_descending,
        limit=limit + 1,
    )
    found = await _files_in(call, rows, is_descending=is_descending)
    if last is not None:
        # The other file of the same dataset may be behind it.
        siblings = _ordered(parts_of(last.row, last.contents), is_descending=is_descending)
        behind = siblings[[one.id for one in siblings].index(last.id) + 1 :]
        found = [*behind, *found]
    return listed([one.described() for one in found[:limit]], has_more=len(found) > limit)


async def _files_in(call: Call, rows: Sequence[DatasetRow], *, is_descending: bool) -> list[Found]:
    contents = await store.contents_of(call.db, call.account_id, [row.id for row in rows])
    return [
        part
        for row in rows
        for part in _ordered(parts_of(row, contents.get(row.id, Contents())), is_descending=is_descending)
    ]


def _ordered(parts: list[Found], *, is_descending: bool) -> list[Found]:
    return parts[::-1] if is_descending else parts


async def delete(call: Call, file_id: str) -> None:
    """Delete a file; the dataset too, if nothing else is in it. Raises: NotFoundError."""
    found = await get(call, file_id)
    call.event.resource = DATASETS.name_of(found.row)
    rest = [part for part in parts_of(found.row, found.contents) if part.part != found.part and part.num_bytes]
    if not rest:
        await datasets_service.delete(call, found.row.id)
        return
    # Its bytes go with those of the other one: a dataset's files are deleted together.
    row = await datasets.get(call.db, call.account_id, found.row.id, for_update=True)
    sizes = await datasets.files_of(call.db, row)
    gone = ERROR_FILE if found.part == "errors" else OUTPUT_FILE
    await datasets.replace_files(call.db, row, {name: size for name, size in sizes.items() if name != gone})


async def keys_of(db: AsyncSession, found: Found) -> list[str]:
    """Return the keys of a dataset's files, in their order. Raises: FailedPreconditionError while it is not uploaded."""
    if not found.is_ready:
        raise FailedPreconditionError(f"the file {found.id} was not uploaded yet")
    return [datasets.place_of(found.row).key(name) for name in await datasets.files_of(db, found.row)]


def results_of(call: Call, found: Found) -> AsyncGenerator[bytes, None]:
    """Yield a batch's answers or errors as OpenAI writes them. Raises: NotFoundError; UnavailableError."""
    is_errors = found.part == "errors"
    key = datasets.place_of(found.row).key(ERROR_FILE if is_errors else OUTPUT_FILE)
    translator = lines.ErrorLines(found.row.uid) if is_errors else lines.AnswerLines(found.row.uid)
    return lines.translated(call.deps.objects, key, translator)


async def joined(objects: Objects, keys: Sequence[str]) -> AsyncGenerator[bytes, None]:
    """Yield files one behind the other, each of whole lines. Raises: NotFoundError; UnavailableError."""
    for key in keys:
        last = b"\n"
        async with aclosing(objects.read(key)) as pieces:
            async for piece in pieces:
                last = piece[-1:] or last
                yield piece
        if last != b"\n":
            yield b"\n"
