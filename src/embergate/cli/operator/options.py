"""The options that the operator's commands share, and what they say."""

from __future__ import annotations

from typing import Annotated

import typer

Server = Annotated[
    str,
    typer.Option(
        "--server", envvar="EMBERGATE_SERVER", metavar="URL", help="Work on this running server, not on the database."
    ),
]
ApiKey = Annotated[
    str,
    typer.Option(
        "--api-key", envvar="EMBERGATE_API_KEY", metavar="KEY", help="The key to show the server.", show_envvar=True
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Filter = Annotated[
    str, typer.Option("--filter", metavar="FILTER", help="An AIP-160 filter, such as 'display_name:\"lab\"'.")
]
Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")]
User = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
Key = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, as `keys list` shows it.")]
Code = Annotated[str, typer.Argument(metavar="CODE", help="The credit code.")]
