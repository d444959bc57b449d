"""`EmbedOptions`: what `embergate embed` can be told, as one value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_type_hints

import typer

from embergate.engine.loading.spec import PoolingMode, Precision

DEFAULT_BATCH_ROWS: Final = 2048
MAX_BATCH_ROWS: Final = 65_536

Options = TypeVar("Options")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
    """The options of one run; the texts are those of `embergate embed --help`."""

    input: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="File of texts: .jsonl, .ndjson, .csv, .tsv or .parquet; any other file, and - for standard input, is "
            "one text a line.",
        ),
    ]
    model: Annotated[
        str, typer.Option(show_default=False, help="Catalogue name, Hub id (org/name@revision) or folder of the model.")
    ]
    output: Annotated[
        Path,
        typer.Option("--output", "-o", show_default=False, help="File of vectors to make: .npy, .parquet or .jsonl."),
    ]
    precision: Annotated[
        Precision,
        typer.Option(help="What matrix products are computed in; auto is bf16 where the CPU has it, else f32."),
    ] = Precision.AUTO
    pooling: Annotated[
        PoolingMode | None,
        typer.Option(help="How token states become one vector, for a model whose files do not say it."),
    ] = None
    text_field: Annotated[str, typer.Option(help="Field or column that holds the text.")] = "text"
    id_field: Annotated[
        str | None,
        typer.Option(
            help='Field or column that holds an id; without this option "id", where there is one; "" for none.'
        ),
    ] = None
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Length to cut the vectors to, if the model is made for it.")
    ] = None
    normalize: Annotated[
        bool | None, typer.Option(help="Scale vectors to length 1; without this option, as the model does.")
    ] = None
    prompt_name: Annotated[str | None, typer.Option(help="Name of the model's prompt to put before each text.")] = None
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Embed the beginning of texts above the model's limit; else an error.")
    ] = False
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Leave out rows whose text is empty; for .parquet and .jsonl output.")
    ] = False
    batch_rows: Annotated[
        int,
        typer.Option(
            min=1,
            max=MAX_BATCH_ROWS,
            help="Rows embedded and kept at a time, at most; with long texts fewer.",
        ),
    ] = DEFAULT_BATCH_ROWS
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Throw away an unfinished run, and replace an output that is there already."),
    ] = False


def as_command(run: Callable[[Options], None], options: type[Options]) -> Callable[..., None]:
    """Return `run` as a function whose parameters, which typer reads, are the fields of the dataclass `options`."""
    hints = get_type_hints(options, include_extras=True)

    def command(**values: Any) -> None:
        run(options(**values))

    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(options)  # type: ignore[arg-type]  # a dataclass, which type[] cannot say
    ]
    command.__doc__ = run.__doc__
    command.__name__ = run.__name__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command
