"""`embergate credit-codes` and `embergate credits`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from embergate.cli.operator import options

codes_app = typer.Typer(help="List, make and disable credit codes.", no_args_is_help=True)
credits_app = typer.Typer(help="What accounts have, and which codes they redeemed.", no_args_is_help=True)
COLUMNS = ("code", "amount", "numRedemptions", "maxRedemptions", "startTime", "endTime", "enabled")
REDEMPTION_COLUMNS = ("name", "creditCode", "createTime")
MAX_INT32 = 2**31 - 1


@codes_app.command("list")
def list_codes(
    filter_: options.Filter = "",
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List the codes. Works on the database only."""
    from embergate.aip.message import write_message
    from embergate.cli.operator.api import Target, read
    from embergate.cli.operator.show import print_rows
    from embergate.gateway.call import Call
    from embergate.gateway.credits.schemas import CreditCode
    from embergate.gateway.credits.store import CODES
    from embergate.gateway.resource_type import MAX_PAGE_SIZE, ListParameters, all_of

    async def work(call: Call) -> list[CreditCode]:
        query = ListParameters(filter=filter_, page_size=MAX_PAGE_SIZE)
        return await all_of(lambda token: CODES.page(call, query.model_copy(update={"page_token": token})))

    rows = [write_message(code) for code in read(Target(server, api_key), work)]
    print_rows(rows, COLUMNS, as_json=as_json)


@codes_app.command("create")
def create_code(
    code: Annotated[str, typer.Option(help="Letters, digits, - and _; capitals and small letters are one.")],
    amount: Annotated[str, typer.Option(help="What it grants, such as 12.50.")],
    currency: Annotated[str, typer.Option(help="ISO 4217 code of the amount's currency.")] = "USD",
    max_redemptions: Annotated[int, typer.Option(min=1, max=MAX_INT32, help="How many accounts may redeem it.")] = 1,
    starts: Annotated[
        str | None, typer.Option(metavar="TIME", help="From when it is valid; at once by default.")
    ] = None,
    ends: Annotated[str | None, typer.Option(metavar="TIME", help="Until when; for good by default.")] = None,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Make a code that grants credit to each account that redeems it. Works on the database only."""
    from embergate.aip.message import parse_message, write_message
    from embergate.cli.operator.api import Target, change
    from embergate.cli.operator.show import parse_moment, print_facts
    from embergate.gateway.call import Call
    from embergate.gateway.credits import service
    from embergate.gateway.credits.schemas import CreditCode
    from embergate.gateway.money import money_of, parse_amount

    body: dict[str, Any] = {"code": code, "maxRedemptions": max_redemptions}
    for name, text, option in (("startTime", starts, "--starts"), ("endTime", ends, "--ends")):
        body[name] = parse_moment(text, option)

    async def work(call: Call) -> CreditCode:
        money = write_message(money_of(parse_amount(amount), ""))
        draft = parse_message(CreditCode, {**body, "amount": {**money, "currencyCode": currency}})
        return await service.create_code(call, draft)

    payload = {"body": {**body, "startTime": starts, "endTime": ends, "amount": amount, "currency": currency}}
    made = change(Target(server, api_key), "CreateCreditCode", work, payload=payload)
    print_facts(write_message(made), as_json=as_json)


@codes_app.command("disable")
def disable_code(
    code: options.Code,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """End a code at once; what it has granted stays. Works on the database only."""
    from embergate.aip.message import write_message
    from embergate.cli.operator.api import Target, change
    from embergate.cli.operator.show import print_facts
    from embergate.gateway.call import Call
    from embergate.gateway.credits import service
    from embergate.gateway.credits.schemas import CreditCode

    async def work(call: Call) -> CreditCode:
        return await service.disable_code(call, code)

    changed = change(Target(server, api_key), "DisableCreditCode", work, payload={"code": code})
    print_facts(write_message(changed), as_json=as_json)


@credits_app.command("balance")
def show_balance(
    account: options.Account,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Print the credit that an account has, by currency. Works on the database only."""
    from embergate.aip.message import write_message
    from embergate.cli.operator.api import Target, read
    from embergate.cli.operator.show import print_rows
    from embergate.gateway.call import Call
    from embergate.gateway.credits import service
    from embergate.gateway.money import Money

    async def work(call: Call) -> list[Money]:
        return await service.credit(call)

    rows = [{"credit": write_message(money)} for money in read(Target(server, api_key), work, account=account)]
    print_rows(rows, ("credit",), as_json=as_json)


@credits_app.command("redemptions")
def list_redemptions(
    account: options.Account,
    filter_: options.Filter = "",
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List the codes that an account redeemed."""
    from embergate.cli.operator.api import Target, list_all, path_of
    from embergate.cli.operator.show import print_rows

    path = path_of("accounts", account, "creditRedemptions")
    rows = list_all(Target(server, api_key), path, filter_)
    print_rows(rows, REDEMPTION_COLUMNS, as_json=as_json)


@credits_app.command("check")
def check_ledger(as_json: options.AsJson = False, server: options.Server = "", api_key: options.ApiKey = "") -> None:
    """Prove that the ledger adds up: exit 1 if it does not. Works on the database only."""
    from dataclasses import asdict

    from embergate.cli.operator.api import Target, read
    from embergate.cli.operator.show import print_rows
    from embergate.gateway.call import Call
    from embergate.gateway.credits.ledger import Discrepancy, check

    async def work(call: Call) -> list[Discrepancy]:
        return await check(call.db)

    found = read(Target(server, api_key), work)
    if found or as_json:
        print_rows([asdict(one) for one in found], ("what", "currency_code", "difference_nanos"), as_json=as_json)
    else:
        print("Every transaction adds up to zero, and every balance to its postings.")
    raise typer.Exit(1 if found else 0)
