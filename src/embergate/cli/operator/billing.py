"""`embergate billing`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embergate.cli.operator import options

if TYPE_CHECKING:
    from embergate.gateway.call import Call

app = typer.Typer(help="What accounts have used, and what it cost.", no_args_is_help=True)


@app.callback()
def billing() -> None:
    """What accounts have used, and what it cost."""


@app.command("export")
def export(
    account: options.Account,
    start: Annotated[str, typer.Option(metavar="DAY", help="From this day on, in UTC.")],
    end: Annotated[str, typer.Option(metavar="DAY", help="Before this day, in UTC.")],
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to; replaced as a whole, once all of it is there.")
    ],
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Write what an account's usage cost as FOCUS 1.1 CSV, a row a day, price, key and annotations. On the database only."""
    from embergate.cli.operator.api import Target, check, read
    from embergate.cli.operator.show import parse_moment, print_json
    from embergate.gateway.usage.days import whole_days

    first, after = parse_moment(start, "--start"), parse_moment(end, "--end")
    assert first is not None, "the option is required. This is a bug."
    assert after is not None, "the option is required. This is a bug."
    days = check(lambda: whole_days(first, after))

    async def work(call: Call) -> int:
        from embergate.gateway.accounts import store as accounts
        from embergate.gateway.billing.export import write_focus

        return await write_focus(call.db, await accounts.get(call.db, account), days, output)

    payload = {"startTime": start, "endTime": end}
    num_rows = read(Target(server, api_key), work, account=account, method="ExportBilling", payload=payload)
    if as_json:
        print_json({"rows": num_rows, "file": str(output)})
    else:
        print(f"{num_rows} rows are in {output}")
