"""`embergate secrets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from embergate.cli.operator import options

if TYPE_CHECKING:
    from embergate.gateway.call import Call

app = typer.Typer(help="Look after the secrets that accounts keep here.", no_args_is_help=True)


@app.callback()
def secrets() -> None:
    """Look after the secrets that accounts keep here."""


@app.command("rotate")
def rotate(as_json: options.AsJson = False, server: options.Server = "", api_key: options.ApiKey = "") -> None:
    """Encrypt every secret with the newest of EMBERGATE_SECRET_KEYS, also while servers run. Works on the database only.

    Exits with 1 and names those that none of the keys decrypts; they stay as they are.
    """
    from embergate.cli.operator.api import Target, change
    from embergate.cli.operator.show import print_json
    from embergate.gateway.secrets.service import rotate_all

    async def work(call: Call) -> tuple[int, list[str]]:
        num_rotated, lost = await rotate_all(call.db, call.deps.keyring)
        call.event.message = f"{num_rotated} encrypted with the newest key, {len(lost)} lost"
        return num_rotated, lost

    num_rotated, lost = change(Target(server, api_key), "RotateSecrets", work)
    if as_json:
        print_json({"rotated": num_rotated, "lost": lost})
    else:
        print(f"{num_rotated} encrypted with the newest key")
        for name in lost:
            print(f"{name}: none of the keys decrypts it; set its value again")
    raise typer.Exit(1 if lost else 0)
