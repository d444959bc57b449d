"""`embergate prices` and `embergate pricing-plans`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from embergate.cli.operator import options

if TYPE_CHECKING:
    from embergate.storage.tables.prices import PriceRow

app = typer.Typer(help="List and set what models cost.", no_args_is_help=True)
plans_app = typer.Typer(help="List, make and end accounts' own prices.", no_args_is_help=True)
COLUMNS = ("model", "pricePerMillion", "startTime", "inForce", "createTime")
PLAN_COLUMNS = ("name", "billingType", "tokenConfig", "acceleratorHourConfig", "startTime", "endTime")
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A catalogue name, or accounts/{account}/models/{model} as the server has it."
    ),
]
Plan = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's id.")]
From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="From when on; at once by default.")]


@app.command("list")
def list_prices(
    model: Annotated[str | None, typer.Option("--model", help="Only this one's, and the price of its size.")] = None,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List every price that was ever set. Works on the database only."""
    from embergate.cli.operator.api import Target, read
    from embergate.cli.operator.show import print_json, print_rows
    from embergate.gateway.call import Call
    from embergate.gateway.prices import service

    async def work(call: Call) -> Any:
        return await service.list_prices(call.db, model)

    rows = _price_rows(read(Target(server, api_key), work))
    if model is None:
        print_rows(rows, COLUMNS, as_json=as_json)
        return
    of_size = _price_of_size(model)
    if as_json:
        print_json({"prices": rows, "classPricePerMillion": of_size})
        return
    print_rows(
        [*rows, {"model": "(its size)", "pricePerMillion": of_size or "as the server finds it"}], COLUMNS, as_json=False
    )


@app.command("set")
def set_price(
    model: Model,
    price: Annotated[str, typer.Argument(metavar="USD", help="For a million tokens: a multiple of 0.002.")],
    starts: From = None,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Give a model a price of its own; batches and cached input cost half of it. Works on the database only."""
    from embergate.cli.operator.api import check
    from embergate.gateway.money import money_of, parse_amount
    from embergate.gateway.usage.prices import per_token
    from embergate.gateway.usage.standing import CURRENCY

    nanos = check(lambda: per_token(money_of(parse_amount(price, "USD"), CURRENCY), "USD"))
    _set("SetPrice", (model, nanos, starts), (server, api_key), as_json)


@app.command("unset")
def unset_price(
    model: Model,
    starts: From = None,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Return a model to the price of its size. Works on the database only."""
    _set("UnsetPrice", (model, None, starts), (server, api_key), as_json)


@plans_app.command("list")
def list_plans(
    account: options.Account,
    filter_: options.Filter = "",
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List an account's plans, those that are over too."""
    from embergate.cli.operator.api import Target, list_all, path_of
    from embergate.cli.operator.show import print_rows

    path = path_of("accounts", account, "pricingPlans")
    rows = list_all(Target(server, api_key), path, filter_)
    print_rows(rows, PLAN_COLUMNS, as_json=as_json)


@plans_app.command("create")
def create_plan(
    account: options.Account,
    plan: Plan,
    price: Annotated[
        list[str] | None, typer.Option(metavar="MODEL=USD", help="For a million tokens of a model; may be repeated.")
    ] = None,
    cached_price: Annotated[
        list[str] | None, typer.Option(metavar="MODEL=USD", help="Of input that was cached; half the price by default.")
    ] = None,
    accelerator_price: Annotated[
        list[str] | None, typer.Option(metavar="TYPE=USD", help="For an hour of an accelerator, in place of --price.")
    ] = None,
    starts: From = None,
    ends: Annotated[str | None, typer.Option(metavar="TIME", help="Until when; for good by default.")] = None,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Give an account prices of its own, in place of the list's. Works on the database only."""
    from embergate.aip.message import parse_message, write_message
    from embergate.cli.operator.api import Target, change, check
    from embergate.cli.operator.show import parse_moment, print_facts
    from embergate.gateway.billing.schemas import PricingPlan
    from embergate.gateway.call import Call
    from embergate.gateway.pricing_plans import service

    body = {
        **check(lambda: _plan_of(price or [], cached_price or [], accelerator_price or [])),
        "startTime": parse_moment(starts, "--from"),
        "endTime": parse_moment(ends, "--ends"),
    }

    async def work(call: Call) -> PricingPlan:
        return await service.create(call, plan, parse_message(PricingPlan, body))

    payload = {"pricing_plan_id": plan, "body": {**body, "startTime": starts, "endTime": ends}}
    made = change(Target(server, api_key), "CreatePricingPlan", work, account=account, payload=payload)
    print_facts(write_message(made), as_json=as_json)


@plans_app.command("end")
def end_plan(
    account: options.Account,
    plan: Plan,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="When; at once by default.")] = None,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """End a plan: from then on the list's prices count again. Works on the database only."""
    from embergate.aip.message import write_message
    from embergate.cli.operator.api import Target, change
    from embergate.cli.operator.show import parse_moment, print_facts
    from embergate.gateway.billing.schemas import PricingPlan
    from embergate.gateway.call import Call
    from embergate.gateway.pricing_plans import service

    moment = parse_moment(at, "--at")

    async def work(call: Call) -> PricingPlan:
        return await service.end(call, plan, moment)

    payload = {"pricing_plan_id": plan, "endTime": at}
    ended = change(Target(server, api_key), "EndPricingPlan", work, account=account, payload=payload)
    print_facts(write_message(ended), as_json=as_json)


def _set(method: str, what: tuple[str, int | None, str | None], target: tuple[str, str], as_json: bool) -> None:
    from embergate.cli.operator.api import Target, change
    from embergate.cli.operator.show import parse_moment, print_facts
    from embergate.gateway.call import Call
    from embergate.gateway.prices import service

    model, price_nanos, starts = what
    start_time = parse_moment(starts, "--from")

    async def work(call: Call) -> Any:
        return await service.set_price(call, model, price_nanos, start_time)

    payload = {"model": model, "nanosPerToken": price_nanos, "startTime": starts}
    row = change(Target(*target), method, work, payload=payload)
    (facts,) = _price_rows([row])
    print_facts(facts, as_json=as_json)


def _price_rows(prices: list[PriceRow]) -> list[dict[str, Any]]:
    from embergate.aip.message import write_message
    from embergate.aip.scalars import format_timestamp
    from embergate.clock import now
    from embergate.gateway.money import money_of
    from embergate.gateway.prices.service import in_force
    from embergate.gateway.usage.prices import MILLION
    from embergate.gateway.usage.standing import CURRENCY

    current = in_force(prices, now())
    return [
        {
            "model": price.model,
            "pricePerMillion": None
            if price.price_nanos is None
            else write_message(money_of(price.price_nanos * MILLION, CURRENCY)),
            "startTime": format_timestamp(price.start_time),
            "inForce": price.id in current,
            "createTime": format_timestamp(price.create_time),
        }
        for price in prices
    ]


def _price_of_size(model: str) -> dict[str, Any] | None:
    """Return the price of a model's size, None for a model that is not in the catalogue: the server has to look at it."""
    from embergate.aip.message import write_message
    from embergate.gateway.money import money_of
    from embergate.gateway.prices.model_names import catalog_entry_of
    from embergate.gateway.usage.standing import CURRENCY

    entry = catalog_entry_of(model)
    return None if entry is None else write_message(money_of(entry.price_nanousd_per_million_tokens, CURRENCY))


def _plan_of(prices: list[str], cached_prices: list[str], hours: list[str]) -> dict[str, Any]:
    """Return the part of a plan's body that says what things cost. Raises: InvalidArgumentError."""
    from embergate.aip.errors import InvalidArgumentError

    if bool(prices) is bool(hours):
        raise InvalidArgumentError("give either --price or --accelerator-price")
    if hours:
        config = [
            {"acceleratorType": kind, "acceleratorHourPrice": money}
            for kind, money in (_pair(text, "--accelerator-price") for text in hours)
        ]
        return {"billingType": "ACCELERATOR_HOURS", "acceleratorHourConfig": config}
    cached = dict(_pair(text, "--cached-price") for text in cached_prices)
    tokens = [
        {
            "baseModelName": model,
            "inputTokenPricePerMillion": money,
            "outputTokenPricePerMillion": {"currencyCode": "USD"},  # an embedding has no output tokens
            "cachedInputTokenPricePerMillion": cached.pop(model, None),
        }
        for model, money in (_pair(text, "--price") for text in prices)
    ]
    if cached:
        raise InvalidArgumentError(f"--cached-price: {min(cached)} has no --price")
    return {"billingType": "TOKEN_USAGE", "tokenConfig": tokens}


def _pair(text: str, option: str) -> tuple[str, dict[str, Any]]:
    from embergate.aip.errors import InvalidArgumentError
    from embergate.aip.message import write_message
    from embergate.gateway.money import money_of, parse_amount
    from embergate.gateway.usage.standing import CURRENCY

    name, separator, amount = text.rpartition("=")
    if not separator or not name:
        raise InvalidArgumentError(f"{option}: expected NAME=USD, such as BAAI/bge-base-en-v1.5=0.004")
    return name, write_message(money_of(parse_amount(amount, option), CURRENCY))
