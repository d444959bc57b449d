"""`embergate keys`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from embergate.cli.operator import options

app = typer.Typer(help="List, make, delete and rotate API keys.", no_args_is_help=True)
COLUMNS = ("keyId", "displayName", "prefix", "createTime", "expireTime", "lastUsed")


@app.command("list")
def list_keys(
    account: options.Account,
    user: options.User,
    filter_: options.Filter = "",
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List a user's keys, not the keys themselves."""
    from embergate.cli.operator.api import Target, list_all
    from embergate.cli.operator.show import print_rows

    path = _path(account, user)
    rows = list_all(Target(server, api_key), path, filter_)
    print_rows(rows, COLUMNS, as_json=as_json)


@app.command("create")
def create_key(
    account: options.Account,
    user: options.User,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="When it ends; never by default.")] = None,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Make a key for a user, and show it, this once."""
    from embergate.aip.scalars import format_timestamp
    from embergate.cli.operator.api import Target, call_api
    from embergate.cli.operator.show import parse_moment

    moment = parse_moment(expires, "--expires")
    body = {"apiKey": {"displayName": name, "expireTime": format_timestamp(moment) if moment else None}}
    path = _path(account, user)
    _show_once(call_api(Target(server, api_key), lambda api: api.call("POST", path, body=body)), as_json)


@app.command("delete")
def delete_key(
    account: options.Account,
    user: options.User,
    key_id: options.Key,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """End a key at once; servers notice within a second."""
    from embergate.cli.operator.api import Target, call_api
    from embergate.cli.operator.show import print_json

    path = _path(account, user) + ":delete"
    done = call_api(Target(server, api_key), lambda api: api.call("POST", path, body={"keyId": key_id}))
    if as_json:
        print_json(done)
    else:
        print(f"{key_id} is deleted.")


@app.command("rotate")
def rotate_key(
    account: options.Account,
    user: options.User,
    key_id: options.Key,
    grace_seconds: Annotated[
        int | None, typer.Option(min=0, help="How long the old key still works; a day by default.")
    ] = None,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Make a key like an old one, and show it, this once."""
    from embergate.cli.operator.api import Target, call_api, path_of

    path = f"{_path(account, user)}/{path_of(key_id)}:rotate"
    body = {} if grace_seconds is None else {"gracePeriod": f"{grace_seconds}s"}
    _show_once(call_api(Target(server, api_key), lambda api: api.call("POST", path, body=body)), as_json)


def _path(account: str, user: str) -> str:
    from embergate.cli.operator.api import path_of

    return path_of("accounts", account, "users", user, "apiKeys")


def _show_once(key: dict[str, Any], as_json: bool) -> None:
    from embergate.cli.operator.show import print_json

    if as_json:
        print_json(key)
        return
    print(f"{key['keyId']} is made for {key['email']}.")
    print(f"The API key, shown only now: {key['key']}")
