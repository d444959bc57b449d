"""`embergate accounts`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from embergate.cli.operator import options

app = typer.Typer(help="List, make, block and unblock accounts.", no_args_is_help=True)
COLUMNS = ("name", "displayName", "email", "suspendState", "createTime")


@app.command("list")
def list_accounts(
    filter_: options.Filter = "",
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List the accounts; with a key of a server, its own."""
    from embergate.cli.operator.api import Target, call_api
    from embergate.cli.operator.show import print_rows

    rows = call_api(Target(server, api_key), lambda api: api.list("accounts", "accounts", filter=filter_))
    print_rows(rows, COLUMNS, as_json=as_json)


@app.command("show")
def show_account(
    account: options.Account,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Describe an account."""
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.show import print_facts

    found = call_api(Target(server, api_key), lambda api: api.call("GET", path_of("accounts", account)))
    print_facts(found, as_json=as_json)


@app.command("create")
def create_account(
    account: options.Account,
    email: Annotated[str, typer.Option(help="Address of the account's main contact.")],
    display_name: Annotated[str, typer.Option(help="What people call it.")] = "",
    admin_id: Annotated[str, typer.Option(help="Id of its first admin.")] = "admin",
    admin_email: Annotated[
        str | None, typer.Option(help="Address of its first admin; the account's by default.")
    ] = None,
    key: Annotated[bool, typer.Option(help="Make an API key for the admin, and show it, this once.")] = True,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Make an account with its first admin and a key, all of it or nothing. Works on the database only."""
    from embergate.aip.message import parse_message, write_message
    from embergate.cli.operator.api import Target, change
    from embergate.cli.operator.show import print_json
    from embergate.gateway.accounts import service
    from embergate.gateway.accounts.schemas import Account
    from embergate.gateway.call import Call
    from embergate.gateway.users.schemas import User

    body = {"email": email, "displayName": display_name}

    async def work(call: Call) -> service.NewAccount:
        admin = parse_message(User, {"email": email if admin_email is None else admin_email, "role": "admin"})
        draft = parse_message(Account, body)
        return await service.create(call, account, draft, admin_id=admin_id, admin=admin, with_key=key)

    payload = {"account_id": account, "admin_id": admin_id, "body": body}
    made = change(Target(server, api_key), "CreateAccount", work, payload=payload, may_create=True)
    if as_json:
        parts = {"account": made.account, "admin": made.admin, "apiKey": made.key}
        print_json({name: write_message(part) if part is not None else None for name, part in parts.items()})
        return
    print(f"{made.account.name} is made; its admin is {made.admin.name}.")
    if made.key is not None:
        print(f"The admin's API key, shown only now: {made.key.key}")


@app.command("block")
def block_account(
    account: options.Account,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Suspend an account until it is unblocked. Works on the database only."""
    from embergate.gateway.accounts import service

    _suspend("BlockAccount", service.block, account, (server, api_key), as_json)


@app.command("unblock")
def unblock_account(
    account: options.Account,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Lift what `block` did. Works on the database only."""
    from embergate.gateway.accounts import service

    _suspend("UnblockAccount", service.unblock, account, (server, api_key), as_json)


def _suspend(method: str, work: Any, account: str, target: tuple[str, str], as_json: bool) -> None:
    from embergate.aip.message import write_message
    from embergate.cli.operator.api import Target, change
    from embergate.cli.operator.show import print_facts

    changed = write_message(change(Target(*target), method, work, account=account))
    print_facts(changed if as_json else {name: changed[name] for name in ("name", "suspendState")}, as_json=as_json)
