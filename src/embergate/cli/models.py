"""`embergate models`: the catalogue, fetching, what a model's files say, and whether it can be served here.

What concerns the models that accounts have uploaded is in `operator/models.py`; its commands stand beside these.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embergate.cli.operator import models as own_models
from embergate.cli.operator import options

if TYPE_CHECKING:
    from embergate.engine.loading.loader import FoundModel, SourceOptions

app = typer.Typer(
    help="Models of the catalogue and on this machine, and those that accounts upload.", no_args_is_help=True
)
app.add_typer(own_models.app)

Reference = Annotated[
    str, typer.Argument(metavar="MODEL", help="Catalogue name, Hub id (org/name@revision) or folder.")
]
Offline = Annotated[bool, typer.Option(help="Never ask the Hub.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Pooling = Annotated[
    str | None, typer.Option(help="Pooling of a model whose files do not say it: mean, cls, lasttoken ...")
]


@app.command("list")
def list_models(
    account: Annotated[
        str, typer.Argument(metavar="[ACCOUNT]", help="List the models of this account, not the catalogue.")
    ] = "",
    filter_: options.Filter = "",
    as_json: AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List the catalogue, and whether each architecture is built in; or the models of an account."""
    if account:
        own_models.list_models(account, filter_, as_json=as_json, server=server, api_key=api_key)
    else:
        _list_catalogue(as_json=as_json)


def _list_catalogue(*, as_json: bool) -> None:
    from embergate.engine.loading.catalog import load_catalog
    from embergate.engine.loading.folder import BUILT_IN

    rows = [
        {
            "id": entry.id,
            "alias": entry.aliases[0],
            "kind": entry.kind.value,
            "architecture": entry.architecture,
            "built_in": entry.architecture in BUILT_IN,
            "dimensions": entry.dimensions,
            "max_tokens": entry.max_tokens,
            "num_parameters": entry.num_parameters,
        }
        for entry in load_catalog()
    ]
    if as_json:
        _print_json(rows)
    else:
        _print_table(rows)


@app.command()
def pull(model: Reference) -> None:
    """Fetch a model's files from the Hub into its cache, with progress."""
    from embergate.engine.loading.sources import locate

    source = locate(model)
    typer.echo(f"{source.name} is in {source.folder}")


@app.command()
def inspect(model: Reference, offline: Offline = False, pooling: Pooling = None, as_json: AsJson = False) -> None:
    """Print what a model's files say, without loading its weights."""
    facts = _facts(_find(model, source_options(offline=offline, pooling=pooling)))
    if as_json:
        _print_json(facts)
    else:
        _print_facts(facts)


@app.command()
def check(
    model: Reference,
    precision: Annotated[str, typer.Option(help="f32, bf16, int8 or auto.")] = "auto",
    offline: Offline = False,
    pooling: Pooling = None,
    as_json: AsJson = False,
) -> None:
    """Load a model, compare the precision with f32, measure its speed and memory here; exit 1 if it cannot be served."""
    from embergate.engine.backends.protocol import ComputeOptions
    from embergate.engine.loaded_model import LoadedModel
    from embergate.engine.memory import MemoryMeter
    from embergate.engine.self_check import check_model

    source, compute = source_options(offline=offline, pooling=pooling), ComputeOptions()
    meter = MemoryMeter()
    loaded = LoadedModel.open(model, precision=parse_precision(precision), compute=compute, source=source)
    result = check_model(loaded, model, compute=compute, source=source)
    facts = {
        "model": loaded.spec.name,
        "precision": loaded.backend.precision.value,
        "computes_in": loaded.backend.computes_in,
        "fingerprint": loaded.fingerprint,
        "min_cosine_to_f32": result.min_cosine,
        "mean_cosine_to_f32": result.mean_cosine,
        "max_score_difference_to_f32": result.max_score_difference,
        "tokens_per_s": round(result.tokens_per_s, 1),
        **asdict(meter.use(loaded.backend.weights_bytes)),
    }
    loaded.close()
    if as_json:
        _print_json(facts)
    else:
        _print_facts(facts)


def parse_precision(text: str) -> Any:
    """Return the `Precision` of a command-line word. Raises: InvalidRequestError naming the words there are."""
    from embergate.engine.loading.spec import Precision
    from embergate.errors import InvalidRequestError

    try:
        return Precision(text)
    except ValueError:
        raise InvalidRequestError(f"--precision is {text!r}, expected one of {', '.join(Precision)}") from None


def source_options(*, offline: bool, pooling: str | None) -> SourceOptions:
    """Return the options of finding a model. Raises: InvalidRequestError naming the poolings there are."""
    from embergate.engine.loading.loader import SourceOptions
    from embergate.engine.loading.spec import PoolingMode
    from embergate.errors import InvalidRequestError

    try:
        return SourceOptions(offline=offline, pooling=PoolingMode(pooling) if pooling else None)
    except ValueError:
        raise InvalidRequestError(f"--pooling is {pooling!r}, expected one of {', '.join(PoolingMode)}") from None


def _find(reference: str, options: SourceOptions) -> FoundModel:
    from embergate.engine.loading.loader import find_model

    return find_model(reference, options)


def _facts(found: FoundModel) -> dict[str, Any]:
    from embergate.engine.loading.weights import Weights

    spec = found.spec
    weights = Weights(spec.folder)
    entries = [entry for file in weights.files for entry in file.entries.values()]
    return {
        "name": spec.name,
        "folder": str(spec.folder),
        "revision": spec.revision,
        "kind": spec.kind.value,
        "architecture": spec.architecture,
        "built_in": found.folder_model.network is not None,
        "hidden_size": spec.hidden_size,
        "vocab_size": spec.vocab_size,
        "max_tokens": spec.max_tokens,
        "dimensions": spec.dimensions,
        "resizable": spec.resizable,
        "pooling": "+".join(spec.pooling.modes),
        "dense_layers": len(spec.pooling.dense),
        "normalize_default": spec.normalize_default,
        "prompts": dict(spec.prompts),
        "num_tensors": len(entries),
        "weights_bytes": sum(entry.end - entry.begin for entry in entries),
        "weights_dtypes": sorted({entry.dtype for entry in entries}),
    }


def _print_json(value: object) -> None:
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _print_facts(facts: dict[str, Any]) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {value}")


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Print aligned columns; lines are never wrapped, so that grep finds whole rows."""
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
