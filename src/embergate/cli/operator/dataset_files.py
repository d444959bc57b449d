"""A dataset's files on their way to a server and back, for every command that moves them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from embergate.cli.operator.api import Api, path_of
from embergate.cli.operator.transfer import Transfer

# What the name of a file in the answer begins with.
FOLDER: Final = "dataset/{}/"


async def upload_files(api: Api, account: str, dataset: str, files: Sequence[Path], draft: dict[str, Any]) -> None:
    """Make a dataset of files, or go on with one that waits for them, until it is READY. Raises: EmbergateError."""
    sizes = {file.name: file.stat().st_size for file in files}
    folder = path_of("accounts", account, "datasets")
    path = path_of("accounts", account, "datasets", dataset)
    if not await api.list(folder, "datasets", limit=1, filter=f'name = "accounts/{account}/datasets/{dataset}"'):
        await api.call("POST", folder, body={"datasetId": dataset, "dataset": {**draft, "userUploaded": {}}})
    body = {"filenameToSize": {name: str(size) for name, size in sizes.items()}}
    urls = (await api.call("POST", f"{path}:getUploadEndpoint", body=body))["filenameToSignedUrls"]
    with Transfer("Uploading", sum(sizes.values())) as transfer:
        for file in files:
            await api.put(urls[file.name], file, sizes[file.name], transfer.advance)
    await api.call("POST", f"{path}:validateUpload", body={})


async def download_files(api: Api, account: str, dataset: str, folder: Path) -> list[Path]:
    """Fetch a dataset's files into a folder, which is made if need be; return where they are. Raises: EmbergateError."""
    answer = await api.call("GET", f"{path_of('accounts', account, 'datasets', dataset)}:getDownloadEndpoint")
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    fetched = []
    with Transfer("Downloading", None) as transfer:
        for name, url in answer["filenameToSignedUrls"].items():
            target = folder / Path(name.removeprefix(FOLDER.format(dataset))).name
            await api.fetch(url, target, transfer.advance)
            fetched.append(target)
    return fetched
