"""`embergate quotas`."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from embergate.cli.operator import options

app = typer.Typer(help="List and set how much accounts may use.", no_args_is_help=True)
COLUMNS = ("name", "value", "maxValue", "usage", "updateTime")
NONE: Final = "none"


@app.command("list")
def list_quotas(
    account: options.Account,
    filter_: options.Filter = "",
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List an account's quotas, with what it uses of each."""
    from embergate.cli.operator.api import Target, list_all, path_of
    from embergate.cli.operator.show import print_rows

    path = path_of("accounts", account, "quotas")
    rows = list_all(Target(server, api_key), path, filter_)
    print_rows(rows if as_json else [_readable(row) for row in rows], COLUMNS, as_json=as_json)


@app.command("set")
def set_quota(
    account: options.Account,
    quota: Annotated[str, typer.Argument(metavar="QUOTA", help="The quota's id, as `quotas list` shows it.")],
    value: Annotated[str | None, typer.Option(metavar="NUMBER", help="What is enforced; `none` for no limit.")] = None,
    max_value: Annotated[
        str | None,
        typer.Option("--max", metavar="NUMBER", help="Up to what the account may raise it; `none` for no limit."),
    ] = None,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Give an account a quota of its own. A --max below the value takes the value down with it."""
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.show import print_facts
    from embergate.errors import InvalidRequestError

    given = {"value": ("--value", value), "maxValue": ("--max", max_value)}
    body = {name: _parsed(text, option) for name, (option, text) in given.items() if text is not None}
    if not body:
        raise InvalidRequestError("give --value, --max or both")
    path = path_of("accounts", account, "quotas", quota)
    changed = call_api(Target(server, api_key), lambda api: api.call("PATCH", path, body=body))
    print_facts(changed if as_json else _readable(changed), as_json=as_json)


def _parsed(text: str, option: str) -> str:
    from embergate.errors import InvalidRequestError
    from embergate.gateway.quotas.known import NO_LIMIT

    if text == NONE:
        return str(NO_LIMIT)
    if not (text.isascii() and text.isdigit()):
        raise InvalidRequestError(f"{option}: expected a whole number, or `{NONE}`")
    return text


def _readable(quota: dict[str, Any]) -> dict[str, Any]:
    from embergate.gateway.quotas.known import NO_LIMIT

    return {name: NONE if value == str(NO_LIMIT) else value for name, value in quota.items()}
