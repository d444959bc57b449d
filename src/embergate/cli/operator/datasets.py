"""`embergate datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embergate.cli.operator import options

if TYPE_CHECKING:
    from embergate.cli.operator.api import Api

app = typer.Typer(help="Upload, look at and fetch datasets, which batch jobs read and write.", no_args_is_help=True)
COLUMNS = ("name", "displayName", "state", "exampleCount", "estimatedTokenCount", "createTime")
Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's id.")]


@app.command("list")
def list_datasets(
    account: options.Account,
    filter_: options.Filter = "",
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List an account's datasets."""
    from embergate.cli.operator.api import Target, list_all, path_of
    from embergate.cli.operator.show import print_rows

    rows = list_all(Target(server, api_key), path_of("accounts", account, "datasets"), filter_)
    print_rows(rows, COLUMNS, as_json=as_json)


@app.command("show")
def show_dataset(
    account: options.Account,
    dataset: Dataset,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Describe a dataset."""
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.show import print_facts

    path = path_of("accounts", account, "datasets", dataset)
    print_facts(call_api(Target(server, api_key), lambda api: api.call("GET", path)), as_json=as_json)


@app.command("upload")
def upload_dataset(
    account: options.Account,
    dataset: Dataset,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSON Lines: one JSON object a line.")],
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Make a dataset of files, once every row of them is a row. Run it again to go on with one that was cut off."""
    from embergate.cli.operator.api import Target, call_api, check, path_of
    from embergate.cli.operator.dataset_files import upload_files
    from embergate.cli.operator.show import print_facts
    from embergate.cli.operator.transfer import check_rows

    num_rows = check(lambda: check_rows(files))
    path = path_of("accounts", account, "datasets", dataset)

    async def work(api: Api) -> dict[str, Any]:
        await upload_files(api, account, dataset, files, {"displayName": name, "exampleCount": num_rows})
        return await api.call("GET", path)

    print_facts(call_api(Target(server, api_key), work), as_json=as_json)


@app.command("download")
def download_dataset(
    account: options.Account,
    dataset: Dataset,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files are put; made if need be.")] = Path(),
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Fetch a dataset's files; print where they are."""
    from embergate.cli.operator.api import Target, call_api
    from embergate.cli.operator.dataset_files import download_files

    for file in call_api(Target(server, api_key), lambda api: download_files(api, account, dataset, output)):
        print(file)


@app.command("delete")
def delete_dataset(
    account: options.Account, dataset: Dataset, server: options.Server = "", api_key: options.ApiKey = ""
) -> None:
    """Delete a dataset and its files."""
    from embergate.cli.operator.api import Target, call_api, path_of

    path = path_of("accounts", account, "datasets", dataset)
    call_api(Target(server, api_key), lambda api: api.call("DELETE", path))
    print(f"{dataset} is deleted")
