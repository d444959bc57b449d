"""`embergate models`, of the models that accounts upload or import."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from embergate.cli.operator import options

if TYPE_CHECKING:
    from embergate.cli.operator.api import Api

app = typer.Typer()
COLUMNS = ("name", "displayName", "state", "kind", "contextLength", "createTime")
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's id.")]
Reranker = Annotated[bool, typer.Option("--reranker", help="It scores documents for a query, and embeds nothing.")]
# While a model is loaded, and its files are read.
LONG_S: Final = 3600.0
POLL_S: Final = 1.0


def list_models(account: str, filter_: str, *, as_json: bool, server: str, api_key: str) -> None:
    """List an account's models."""
    from embergate.cli.operator.api import Target, list_all, path_of
    from embergate.cli.operator.show import print_rows

    rows = list_all(Target(server, api_key), path_of("accounts", account, "models"), filter_)
    print_rows(rows, COLUMNS, as_json=as_json)


@app.command("show")
def show_model(
    account: options.Account,
    model: Model,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Describe a model of an account."""
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.show import print_facts

    path = path_of("accounts", account, "models", model)
    print_facts(call_api(Target(server, api_key), lambda api: api.call("GET", path)), as_json=as_json)


@app.command("upload")
def upload_model(
    account: options.Account,
    model: Model,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="As save_pretrained() writes it.")],
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    reranker: Reranker = False,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Make a model of a folder, and check that it can be served. Run it again to go on with one that was cut off."""
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.show import print_facts
    from embergate.cli.operator.transfer import Transfer, model_files

    files = model_files(folder)
    sizes = {relative: file.stat().st_size for relative, file in files.items()}
    path = path_of("accounts", account, "models", model)

    async def work(api: Api) -> dict[str, Any]:
        await _create(api, account, model, {"displayName": name, "kind": _kind(reranker)})
        body = {"filenameToSize": {relative: str(size) for relative, size in sizes.items()}}
        urls = (await api.call("POST", f"{path}:getUploadEndpoint", body=body))["filenameToSignedUrls"]
        with Transfer("Uploading", sum(sizes.values())) as transfer:
            for relative, file in files.items():
                await api.put(urls[relative], file, sizes[relative], transfer.advance)
        return await _validated(api, path)

    print_facts(call_api(Target(server, api_key), work), as_json=as_json)


@app.command("validate")
def validate_model(
    account: options.Account,
    model: Model,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Check what was uploaded; a model that can be served is READY from then on."""
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.show import print_facts

    path = path_of("accounts", account, "models", model)
    print_facts(call_api(Target(server, api_key), lambda api: _validated(api, path)), as_json=as_json)


@app.command("prepare")
def prepare_model(
    account: options.Account,
    model: Model,
    precision: Annotated[str, typer.Argument(metavar="PRECISION", help="bf16, int8 or f32.")],
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Measure a model in a precision, and have it served in it as MODEL:PRECISION if it is near enough to f32."""
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.show import print_facts

    path, asked = path_of("accounts", account, "models", model), precision.upper()

    async def work(api: Api) -> dict[str, Any]:
        await api.call("POST", f"{path}:prepare", body={"precision": asked}, timeout_s=LONG_S)
        found: list[dict[str, Any]] = (await api.call("GET", path))["precisions"]
        return next(one for one in found if one["precision"] == asked)

    print_facts(call_api(Target(server, api_key), work), as_json=as_json)


@app.command("import")
def import_model(
    account: options.Account,
    model: Model,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="s3://bucket/folder, az://account/container/folder or hf://organisation/name[@revision]",
        ),
    ],
    secret: Annotated[str, typer.Option(help="The id of the account's secret that holds the credential.")] = "",
    access_key_id: Annotated[str, typer.Option(help="Of S3: what the secret belongs to.")] = "",
    region: Annotated[str, typer.Option(help="Of S3; us-east-1 if it is left out.")] = "",
    endpoint: Annotated[str, typer.Option(help="Of a store that speaks as S3, if the server allows it.")] = "",
    reranker: Reranker = False,
    wait: Annotated[bool, typer.Option(help="Wait until it is done.")] = True,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Have a server fetch a model's files from a bucket or the Hub, and check them; print the model, or the operation."""
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.model_sources import source_of
    from embergate.cli.operator.show import print_facts

    path = path_of("accounts", account, "models", model)
    secret_name = f"accounts/{account}/secrets/{secret}" if secret else ""
    given = {"accessKeyId": access_key_id, "region": region, "endpoint": endpoint}
    body = source_of(source, secret_name, given)

    async def work(api: Api) -> dict[str, Any]:
        await _create(api, account, model, {"kind": _kind(reranker)})
        operation = await api.call("POST", f"{path}:import", body=body)
        return await _done(api, operation) if wait else operation

    print_facts(call_api(Target(server, api_key), work), as_json=as_json)


@app.command("download")
def download_model(
    account: options.Account,
    model: Model,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files are put; made if need be.")] = Path(),
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Fetch a model's files; print where they are."""
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.transfer import Transfer
    from embergate.gateway.models.names import check_filenames

    path = path_of("accounts", account, "models", model)

    async def work(api: Api) -> list[Path]:
        urls = (await api.call("GET", f"{path}:getDownloadEndpoint"))["filenameToSignedUrls"]
        check_filenames(urls)  # whatever the server says, nothing is written outside of the folder
        fetched = []
        with Transfer("Downloading", None) as transfer:
            for name, url in urls.items():
                target = output / name
                target.parent.mkdir(parents=True, exist_ok=True)
                await api.fetch(url, target, transfer.advance)
                fetched.append(target)
        return fetched

    for file in call_api(Target(server, api_key), work):
        print(file)


@app.command("delete")
def delete_model(
    account: options.Account, model: Model, server: options.Server = "", api_key: options.ApiKey = ""
) -> None:
    """Delete a model of an account, and its files."""
    from embergate.cli.operator.api import Target, call_api, path_of

    path = path_of("accounts", account, "models", model)
    call_api(Target(server, api_key), lambda api: api.call("DELETE", path))
    print(f"{model} is deleted")


async def _create(api: Api, account: str, model: str, said: dict[str, Any]) -> None:
    """Create a model, unless the account has it: then what was cut off goes on."""
    from embergate.cli.operator.api import path_of

    folder, name = path_of("accounts", account, "models"), f"accounts/{account}/models/{model}"
    if not await api.list(folder, "models", limit=1, filter=f'name = "{name}"'):
        await api.call("POST", folder, body={"modelId": model, "model": said})


def _kind(reranker: bool) -> str:
    return "HF_BASE_MODEL" if reranker else "EMBEDDING_MODEL"


async def _validated(api: Api, path: str) -> dict[str, Any]:
    for warning in (await api.call("GET", f"{path}:validateUpload", timeout_s=LONG_S))["warnings"]:
        print(warning, file=sys.stderr)
    return await api.call("GET", path)


async def _done(api: Api, operation: dict[str, Any]) -> dict[str, Any]:
    """Return what an operation comes to. Raises: EmbergateError with its error."""
    import asyncio

    from embergate.cli.operator.transfer import Waiting
    from embergate.errors import EmbergateError

    name: str = operation["name"]
    with Waiting(f"Importing ({name})") as waiting:
        while not operation["done"]:
            await asyncio.sleep(POLL_S)
            operation = await api.call("GET", name)
            waiting.show(operation["metadata"]["filesDone"], operation["metadata"]["filesTotal"])
    if operation["error"] is not None:
        raise EmbergateError(operation["error"]["message"])
    model: dict[str, Any] = operation["response"]
    model.pop("@type", None)
    return model
