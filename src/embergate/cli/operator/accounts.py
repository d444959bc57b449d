"""`embergate accounts`."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embergate.cli.operator import options

if TYPE_CHECKING:
    from embergate.gateway.accounts.service import AccountDetails

app = typer.Typer(help="List, make, change, block and unblock accounts.", no_args_is_help=True)


class BillingChoice(enum.StrEnum):
    """How an account pays."""

    PREPAID = "prepaid"
    POSTPAID = "postpaid"


COLUMNS = ("name", "displayName", "email", "suspendState", "createTime")


@app.command("list")
def list_accounts(
    filter_: options.Filter = "",
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List the accounts; with a key of a server, its own."""
    from embergate.cli.operator.api import Target, list_all
    from embergate.cli.operator.show import print_rows

    rows = list_all(Target(server, api_key), "accounts", filter_)
    print_rows(rows, COLUMNS, as_json=as_json)


@app.command("show")
def show_account(
    account: options.Account,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Describe an account; on the database also how it pays, its credit, and what it has spent this month."""
    from embergate.cli.operator.api import Target, call_api, path_of, read
    from embergate.cli.operator.show import print_facts
    from embergate.gateway.accounts import service

    target = Target(server, api_key)
    if server:
        facts = call_api(target, lambda api: api.call("GET", path_of("accounts", account)))
    else:
        facts = _facts_of(read(target, service.describe, account=account))
    print_facts(facts, as_json=as_json)


@app.command("create")
def create_account(
    account: options.Account,
    email: Annotated[str, typer.Option(help="Address of the account's main contact.")],
    display_name: Annotated[str, typer.Option(help="What people call it.")] = "",
    admin_id: Annotated[str, typer.Option(help="Id of its first admin.")] = "admin",
    admin_email: Annotated[
        str | None, typer.Option(help="Address of its first admin; the account's by default.")
    ] = None,
    prepaid: Annotated[
        bool, typer.Option("--prepaid", help="It pays out of credit alone, and is suspended while it has none.")
    ] = False,
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
    from embergate.gateway.usage.standing import Billing
    from embergate.gateway.users.schemas import User

    body = {"email": email, "displayName": display_name}
    billing = Billing.PREPAID if prepaid else Billing.POSTPAID

    async def work(call: Call) -> service.NewAccount:
        admin = parse_message(User, {"email": email if admin_email is None else admin_email, "role": "admin"})
        draft = parse_message(Account, body)
        return await service.create(call, account, draft, admin_id=admin_id, admin=admin, with_key=key, billing=billing)

    payload = {"account_id": account, "admin_id": admin_id, "body": body, "billing": billing.value}
    made = change(Target(server, api_key), "CreateAccount", work, payload=payload, may_create=True)
    if as_json:
        parts = {"account": made.account, "admin": made.admin, "apiKey": made.key}
        print_json({name: write_message(part) if part is not None else None for name, part in parts.items()})
        return
    print(f"{made.account.name} is made; its admin is {made.admin.name}.")
    if made.key is not None:
        print(f"The admin's API key, shown only now: {made.key.key}")


@app.command("set")
def set_account(
    account: options.Account,
    billing: Annotated[
        BillingChoice | None,
        typer.Option(help="prepaid: out of credit alone; postpaid: credit first, and then on its account."),
    ] = None,
    warn_at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="USD", help="Warn when a month's spend reaches this; may be repeated. Replaces the others."
        ),
    ] = None,
    no_warnings: Annotated[
        bool, typer.Option("--no-warnings", help="Warn at no amount but 80 % of the monthly limit.")
    ] = False,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Change how an account pays, and when it is warned of what it spends. Works on the database only."""
    from embergate.aip.message import parse_message, write_message
    from embergate.cli.operator.api import Target, change, check
    from embergate.cli.operator.show import print_facts
    from embergate.errors import InvalidRequestError
    from embergate.gateway.accounts import service
    from embergate.gateway.accounts.schemas import NotificationSettings
    from embergate.gateway.call import Call
    from embergate.gateway.money import money_of, parse_amount
    from embergate.gateway.usage.standing import CURRENCY, Billing

    if billing is None and not warn_at and not no_warnings:
        raise InvalidRequestError("nothing to change: give --billing, --warn-at or --no-warnings")
    if warn_at and no_warnings:
        raise InvalidRequestError("--warn-at and --no-warnings exclude each other")
    settings = None
    if warn_at or no_warnings:
        amounts = check(lambda: [money_of(parse_amount(text, "--warn-at"), CURRENCY) for text in warn_at or []])
        body = {"monthlySpendThresholds": [write_message(amount) for amount in amounts]}
        settings = check(lambda: parse_message(NotificationSettings, body))

    async def work(call: Call) -> service.AccountDetails:
        new = Billing[billing.name] if billing is not None else None
        return await service.change(call, billing=new, notification_settings=settings)

    payload = {"billing": billing, "warn_at": [] if no_warnings else warn_at}
    given = {name: value for name, value in payload.items() if value is not None}
    changed = change(Target(server, api_key), "UpdateAccount", work, account=account, payload=given)
    print_facts(_facts_of(changed), as_json=as_json)


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


def _facts_of(details: AccountDetails) -> dict[str, Any]:
    from embergate.aip.message import write_message
    from embergate.gateway.money import money_of
    from embergate.gateway.usage.standing import CURRENCY

    standing = details.standing
    money = {"credit": standing.credit_nanos, "spentThisMonth": standing.spent_nanos}
    limit_nanos = standing.monthly_limit_nanos
    return {
        **write_message(details.account),
        "billing": standing.billing.value,
        **{name: write_message(money_of(nanos, CURRENCY)) for name, nanos in money.items()},
        "monthlyLimit": None if limit_nanos is None else write_message(money_of(limit_nanos, CURRENCY)),
    }
