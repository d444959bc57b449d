"""Uploaded files on their way to a model: each is moved under a key of its own, which nothing is ever written to again.

So nothing that arrives later can stand in for a file that is being checked. Of several that arrived for one name the newest
counts; which files a model is made of is said in the transaction that makes it ready.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from embergate.errors import FailedPreconditionError, NotFoundError
from embergate.gateway.files.doomed import doom
from embergate.gateway.files.place import FilePlace
from embergate.gateway.models.store import ModelFile
from embergate.ids import new_id
from embergate.storage.objects.protocol import Objects

# As ids are: what arrived later sorts behind what arrived before.
ARRIVED: Final = re.compile("[0-9a-f]{31}")


@dataclass(frozen=True, slots=True)
class Received:
    """The files that are there of those that were announced, and the folders of what arrived before them."""

    files: Mapping[str, ModelFile]
    superseded: Collection[str] = ()


async def take_over(objects: Objects, place: FilePlace, announced: Mapping[str, ModelFile]) -> Received:
    """Move what arrived to where no upload reaches it, and return what is there, now or since before.

    Raises: FailedPreconditionError if a file is not as large as was said; UnavailableError.
    """
    for name in announced:
        if await objects.find(place.arrival(name)) is not None:
            with suppress(NotFoundError):  # another call has just done so
                await objects.move(place.arrival(name), place.key(f"{new_id()}/{name}"))
    newest: dict[str, tuple[str, int]] = {}
    folders = set()
    async for info in objects.list(place.folder):
        folder, name = _parts_of(info.key.removeprefix(f"{place.folder}/"))
        folders.add(folder)
        if name in announced and (folder, info.size) >= newest.get(name, ("", 0)):
            newest[name] = folder, info.size
    for name, (_, size) in newest.items():
        if size != announced[name].size:
            raise FailedPreconditionError(f"{name} has {size} bytes, {announced[name].size} were announced", param=name)
    files = {name: ModelFile(size, folder=folder) for name, (folder, size) in newest.items()}
    return Received(files, folders - {""} - {file.folder for file in files.values()})


async def fetched(objects: Objects, place: FilePlace, announced: Mapping[str, ModelFile]) -> Received:
    """Return what an import has put there. Raises: FailedPreconditionError if a file is of another size than it said."""
    files = {}
    for name, file in announced.items():
        found = await objects.find(place.key(name))
        if found is not None and found.size != file.size:
            raise FailedPreconditionError(f"{name} has {found.size} bytes, {file.size} were announced", param=name)
        if found is not None:
            files[name] = ModelFile(file.size)
    return Received(files)


async def give_up_superseded(db: AsyncSession, place: FilePlace, received: Received) -> None:
    """Have what arrived before the files that count deleted, once the caller's transaction is committed."""
    for folder in received.superseded:
        await doom(db, place.key(folder))


def _parts_of(path: str) -> tuple[str, str]:
    """Return the folder that a file arrived in, which imported ones have none of, and the file's name."""
    folder, _, name = path.partition("/")
    return (folder, name) if ARRIVED.fullmatch(folder) and name else ("", path)
