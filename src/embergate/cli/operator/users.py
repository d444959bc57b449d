"""`embergate users`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embergate.cli.operator import options

if TYPE_CHECKING:
    from embergate.cli.operator.api import Target
    from embergate.gateway.call import Call

app = typer.Typer(help="List and make users, give them roles and passwords, end their sessions.", no_args_is_help=True)
COLUMNS = ("name", "email", "role", "operator", "displayName", "serviceAccount", "createTime")
ROLES = "admin, user, contributor or inference-user"


@app.command("list")
def list_users(
    account: options.Account,
    filter_: options.Filter = "",
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List the users of an account; on the database also who is an operator, which the API does not tell."""
    from embergate.cli.operator.api import Target, list_all, path_of
    from embergate.cli.operator.show import print_rows

    target, path = Target(server, api_key), path_of("accounts", account, "users")
    rows = list_all(target, path, filter_)
    if not server:
        operators = _operators(target, account)
        rows = [{**row, "operator": row["name"] in operators} for row in rows]
    print_rows(rows, COLUMNS, as_json=as_json)


def _operators(target: Target, account: str) -> set[str]:
    from embergate.cli.operator.api import read
    from embergate.gateway.users import store

    async def work(call: Call) -> set[str]:
        return {store.USERS.name_of(user) for user in await store.list_operators(call.db, account)}

    return read(target, work, account=account)


@app.command("create")
def create_user(
    account: options.Account,
    email: Annotated[str, typer.Option(help="The user's address; a service account is given one.")] = "",
    role: Annotated[str, typer.Option(help=f"{ROLES}.")] = "user",
    user_id: Annotated[str, typer.Option("--id", help="The user's id; made from the address by default.")] = "",
    display_name: Annotated[str, typer.Option(help="What people call the user.")] = "",
    service_account: Annotated[bool, typer.Option("--service-account", help="A program, not a person.")] = False,
    operator: Annotated[
        bool, typer.Option("--operator", help="An admin of every account; made on the database only.")
    ] = False,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Add a user to an account."""
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.show import print_facts

    body = {"email": email, "role": role, "displayName": display_name, "serviceAccount": service_account}
    target, path = Target(server, api_key), path_of("accounts", account, "users")
    if operator:
        made = _create_operator(target, account, user_id, body)
    else:
        made = call_api(target, lambda api: api.call("POST", path, body=body, userId=user_id))
    print_facts(made, as_json=as_json)


def _create_operator(target: Target, account: str, user_id: str, body: dict[str, Any]) -> dict[str, Any]:
    from embergate.aip.message import parse_message, write_message
    from embergate.cli.operator.api import change
    from embergate.gateway.users import service
    from embergate.gateway.users.schemas import User

    async def work(call: Call) -> User:
        return await service.create(call, user_id, parse_message(User, body), is_operator=True)

    payload = {"user_id": user_id, "body": body, "is_operator": True}
    return write_message(change(target, "CreateUser", work, account=account, payload=payload))


@app.command("set-role")
def set_role(
    account: options.Account,
    user: options.User,
    role: Annotated[str, typer.Argument(metavar="ROLE", help=f"{ROLES}.")],
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Give a user another role; an account keeps one admin."""
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.show import print_facts

    path, body = path_of("accounts", account, "users", user), {"role": role}
    changed = call_api(Target(server, api_key), lambda api: api.call("PATCH", path, body=body))
    print_facts(changed, as_json=as_json)


@app.command("set-operator")
def set_operator(
    account: options.Account,
    user: options.User,
    operator: Annotated[bool, typer.Option("--operator/--no-operator", help="An admin of every account, or not.")],
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Make a user an operator, or one no more; its role stays as it is. Works on the database only."""
    from embergate.aip.message import write_message
    from embergate.cli.operator.api import Target, change
    from embergate.cli.operator.show import print_facts
    from embergate.gateway.users import service
    from embergate.gateway.users.schemas import User

    async def work(call: Call) -> User:
        return await service.set_operator(call, user, is_operator=operator)

    payload = {"user_id": user, "is_operator": operator}
    changed = change(Target(server, api_key), "SetOperator", work, account=account, payload=payload)
    print_facts({**write_message(changed), "operator": operator}, as_json=as_json)


@app.command("set-password")
def set_password(
    account: options.Account,
    user: options.User,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input, and ask nothing.")
    ] = False,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Give a user a password to log in with, and end the user's sessions. Works on the database only."""
    import asyncio

    from embergate.cli.operator.api import Target, change, check
    from embergate.cli.operator.show import print_json
    from embergate.gateway.sessions import service
    from embergate.gateway.sessions.passwords import Passwords, check_new_password

    target = Target(server, api_key)
    target.require_database()
    password = _read_password(from_stdin=password_stdin)
    check(lambda: check_new_password(password, "password"))
    # Before the transaction: it takes a while.
    password_hash = asyncio.run(Passwords().hash(password))

    async def work(call: Call) -> None:
        await service.set_password(call, user, password_hash)

    change(target, "SetPassword", work, account=account, payload={"user_id": user})
    if as_json:
        print_json({})
    else:
        print(f"accounts/{account}/users/{user} has a new password, and no session any more.")


@app.command("end-sessions")
def end_sessions(
    account: options.Account,
    user: options.User,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """End every session of a user; the user's API keys go on working."""
    from embergate.cli.operator.api import Target, call_api, path_of
    from embergate.cli.operator.show import print_json

    path = path_of("accounts", account, "users", user) + ":endSessions"
    answer = call_api(Target(server, api_key), lambda api: api.call("POST", path, body={}))
    if as_json:
        print_json(answer)
    else:
        print(f"accounts/{account}/users/{user} has no session any more.")


def _read_password(*, from_stdin: bool) -> str:
    from embergate.errors import InvalidRequestError

    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise InvalidRequestError("nobody is there to type a password: pipe one in, with --password-stdin")
    return str(typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True))
