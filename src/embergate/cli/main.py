"""The `embergate` command and its subcommands."""

from __future__ import annotations

import gc
import sys
from typing import Annotated

import typer

from embergate.cli import benchmark, database, models
from embergate.cli.embedding.command import embed
from embergate.cli.operator import (
    accounts,
    audit,
    batches,
    billing,
    credit,
    datasets,
    keys,
    prices,
    quotas,
    secrets_,
    users,
)
from embergate.errors import EmbergateError, InvalidRequestError

app = typer.Typer(
    name="embergate",
    help="A self-hosted embeddings platform that speaks the Fireworks and OpenAI API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models.app, name="models")
app.add_typer(accounts.app, name="accounts")
app.add_typer(users.app, name="users")
app.add_typer(keys.app, name="keys")
app.add_typer(credit.codes_app, name="credit-codes")
app.add_typer(credit.credits_app, name="credits")
app.add_typer(quotas.app, name="quotas")
app.add_typer(prices.app, name="prices")
app.add_typer(prices.plans_app, name="pricing-plans")
app.add_typer(billing.app, name="billing")
app.add_typer(datasets.app, name="datasets")
app.add_typer(batches.app, name="batches")
app.add_typer(audit.app, name="audit")
app.add_typer(secrets_.app, name="secrets")
app.command()(benchmark.bench)
app.command("embed")(embed)
app.command()(database.migrate)
app.command()(database.backup)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [EMBERGATE_HOST].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [EMBERGATE_PORT].")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL[:PRECISION][:POOLING]", help="Model to serve; may be repeated [EMBERGATE_MODELS]."),
    ] = None,
    precision: Annotated[str | None, typer.Option(help="f32, bf16, int8 or auto [EMBERGATE_PRECISION].")] = None,
) -> None:
    """Serve the API. Every other setting is an EMBERGATE_* variable or a line in the file that EMBERGATE_CONFIG names."""
    # Nothing that imports leave is garbage: looking for some would cost a tenth of the start.
    gc.disable()
    from embergate.cli.serving import run_server
    from embergate.settings import load_settings

    gc.freeze()
    gc.enable()
    settings = load_settings(host=host, port=port, models=tuple(model) if model else None, precision=precision)
    raise typer.Exit(run_server(settings))


@app.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    import orjson

    from embergate.app.asgi import create_app, openapi_document
    from embergate.app.engine import build_deps
    from embergate.app.gateway import gateway_over
    from embergate.settings import load_settings
    from embergate.storage.database import Database
    from embergate.web.keyring import Keyring

    settings = load_settings()
    gateway = gateway_over(Database.open("sqlite:///never-opened.db"), Keyring([bytes(32)]))
    deps = build_deps(settings, gateway)
    document = openapi_document(create_app(deps, gateway))
    deps.engine.close()
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


def main() -> None:
    """Run the command line; an error that the user can mend is one line on stderr, not a traceback."""
    try:
        app()
    except EmbergateError as error:
        print(f"embergate: {error.message}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, InvalidRequestError) else 1) from None


if __name__ == "__main__":
    main()
