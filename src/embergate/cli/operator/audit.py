"""`embergate audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from embergate.cli.operator import options

if TYPE_CHECKING:
    from embergate.cli.operator.api import Target
    from embergate.gateway.audit.schemas import AuditLogEntry
    from embergate.gateway.audit.verify import ChainReport
    from embergate.gateway.call import Call
    from embergate.gateway.deps import GatewayDeps

app = typer.Typer(help="Read the audit trail, and prove that nobody changed it.", no_args_is_help=True)
COLUMNS = ("timestamp", "principal", "method", "resource", "status.code", "message")
REPORT_COLUMNS = ("chain", "num_intact", "finding")
PLATFORM_NAME = "(platform)"
METHOD = "ListAuditLogs"
Which = Annotated[
    str, typer.Argument(metavar="[ACCOUNT]", help="The account's id; the platform's own acts without it.")
]


@app.command("list")
def list_entries(
    account: Which = "",
    filter_: options.Filter = "",
    starts: Annotated[str | None, typer.Option(metavar="TIME", help="From when; 30 days ago by default.")] = None,
    ends: Annotated[str | None, typer.Option(metavar="TIME", help="Until before when; now by default.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List what was done in an account, or to the platform, newest first."""
    from embergate.aip.scalars import format_timestamp
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.show import parse_moment, print_rows

    moments = {"startTime": parse_moment(starts, "--starts"), "endTime": parse_moment(ends, "--ends")}
    query = {name: format_timestamp(moment) for name, moment in moments.items() if moment is not None}
    query["filter"] = filter_
    target = Target(server, api_key)
    if account:
        path = path_of("accounts", account, "auditLogs")
        rows = call_api(target, lambda api: api.list(path, "auditLogs", limit=limit, **query))
    else:
        rows = _platform_entries(target, query, limit)
    print_rows(rows, COLUMNS, as_json=as_json)


@app.command("verify")
def verify(
    account: Annotated[str, typer.Argument(metavar="[ACCOUNT]", help="The account's id; every chain without it.")] = "",
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Read the trail again, entry by entry; exit 1 if it is not as it was written. Works on the database only."""
    from dataclasses import asdict

    from embergate.cli.operator.api import Target, open_database
    from embergate.cli.operator.show import print_json, print_rows

    reports = open_database(Target(server, api_key), lambda gateway: _reports(gateway, account))
    if as_json:
        print_json([{**asdict(report), "is_intact": report.is_intact} for report in reports])
    else:
        print_rows([_row(report) for report in reports], REPORT_COLUMNS, as_json=False)
    raise typer.Exit(0 if all(report.is_intact for report in reports) else 1)


def _platform_entries(target: Target, query: dict[str, str], limit: int) -> list[dict[str, Any]]:
    from embergate.aip.message import write_message
    from embergate.cli.operator.api import read
    from embergate.gateway.audit.routes import ListAuditLogsParameters, page_of
    from embergate.gateway.resource_type import MAX_PAGE_SIZE, all_of

    size = min(limit, MAX_PAGE_SIZE)

    async def work(call: Call) -> list[AuditLogEntry]:
        asked = ListAuditLogsParameters.model_validate({**query, "pageSize": size})
        return await all_of(lambda token: page_of(call, asked.model_copy(update={"page_token": token})), limit=limit)

    return [write_message(entry) for entry in read(target, work, method=METHOD, payload={"query": query})]


async def _reports(gateway: GatewayDeps, account: str) -> list[ChainReport]:
    from embergate.gateway.accounts import store as accounts
    from embergate.gateway.audit.trail import AUDIT_SEAL
    from embergate.gateway.audit.verify import verify_chain, verify_trail

    keys = gateway.keyring.keys(AUDIT_SEAL)
    if not account:
        return [report async for report in verify_trail(gateway.database, keys)]
    async with gateway.database.reading() as db:
        await accounts.get(db, account)  # a chain of nobody would be intact
        return [await verify_chain(db, account, keys)]


def _row(report: ChainReport) -> dict[str, Any]:
    place = " ".join(str(part) for part in (report.bad_sequence, report.bad_id) if part not in (None, ""))
    finding = "intact" if report.is_intact else f"entry {place} {report.problem}"
    return {"chain": report.account_id or PLATFORM_NAME, "num_intact": report.num_intact, "finding": finding}
