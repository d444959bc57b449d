"""`embergate embed`: options in, exit code out; everything else happens in the modules beside it.

Exit codes: 0 done, 1 an error in the input, the model or the machine, 2 bad usage, 130 stopped by Ctrl-C.
NOTE: heavy imports are inside functions, so that `embergate --help` need not wait for them.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Final

import typer

from embergate.cli.embedding.options import EmbedOptions, as_command
from embergate.errors import EmbergateError, InvalidRequestError

if TYPE_CHECKING:
    from embergate.cli.embedding.pipeline import EncodeSettings, InputPlan
    from embergate.cli.embedding.resume import Finished, PartialOutput
    from embergate.engine.loaded_model import LoadedModel

EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130


class UsageError(InvalidRequestError):
    """The options do not go together."""


def _embed(options: EmbedOptions) -> None:
    """Embed a file of texts: one vector a row, in the input's order.

    The whole input is checked first. OUTPUT appears only when it is whole.

    A run that is broken off, by whatever means, goes on when it is started again the same way.
    """
    from embergate.cli.embedding.resume import PartialOutput, StaleRunError

    partial: PartialOutput | None = None
    try:
        plan = _plan_input(options)
        with PartialOutput(options.output.resolve(), restart=options.restart) as partial:
            partial.check_output()
            _run(plan, options, partial)
    except KeyboardInterrupt:
        message, code = f"stopped{_kept(partial)}", EXIT_INTERRUPTED
    except (UsageError, StaleRunError) as error:
        message, code = f"{error}", EXIT_USAGE
    except (EmbergateError, OSError) as error:
        message, code = f"{error}{_kept(partial)}", EXIT_ERROR
    else:
        return
    _say(f"embergate: {message}")
    raise typer.Exit(code)


embed = as_command(_embed, EmbedOptions)


def _plan_input(options: EmbedOptions) -> InputPlan:
    """Check what can be checked before anything is read or loaded.

    Raises: UsageError naming the option and the mend.
    """
    from embergate.cli.embedding.pipeline import InputPlan
    from embergate.cli.embedding.readers import Fields
    from embergate.cli.embedding.sources import InputFormat, Source
    from embergate.cli.embedding.writers import OutputFormat

    output = options.output
    try:
        source = Source.from_argument(options.input)
        output_format = OutputFormat.from_path(output)
    except InvalidRequestError as error:
        raise UsageError(error.message) from None
    if output.is_dir() or not output.resolve().parent.is_dir():
        raise UsageError(f"--output {output}: " + ("is a folder" if output.is_dir() else "make its folder first"))
    if source.path is not None and output.exists() and output.samefile(source.path):
        raise UsageError(f"--output {output} is INPUT itself; name another file")
    if source.format is InputFormat.PARQUET and source.is_stream:
        raise UsageError(f"INPUT {source.name}: Parquet cannot be read from a pipe; save it as a file")
    if options.skip_empty and not output_format.names_rows:
        raise UsageError(
            "--skip-empty would shift the rows of a .npy file against those of INPUT; let --output end in .parquet or "
            ".jsonl, where each vector carries its row"
        )
    return InputPlan(source, Fields(options.text_field, options.id_field), skip_empty=options.skip_empty)


def _run(plan: InputPlan, options: EmbedOptions, partial: PartialOutput) -> None:
    from rich.console import Console

    from embergate.cli.embedding.pipeline import EmbedRun, embed_rows, survey
    from embergate.cli.embedding.progress import ProgressBar
    from embergate.cli.embedding.writers import OutputFormat, open_writer
    from embergate.engine.loaded_model import LoadedModel
    from embergate.engine.loading.loader import SourceOptions

    with ProgressBar(Console(stderr=True)) as bar:
        surveyed = None if plan.source.is_stream else survey(plan, bar.checked)
        total = surveyed.num_rows if surveyed else None
        bar.loading()
        found_by = SourceOptions(pooling=options.pooling)
        with contextlib.closing(LoadedModel.open(options.model, precision=options.precision, source=found_by)) as model:
            output_format = OutputFormat.from_path(options.output)
            settings = _settings(model, options)
            run = EmbedRun(plan, settings, output_format, options.batch_rows)
            writer = open_writer(output_format, settings.width)

            def report(finished: Finished) -> None:
                bar.embedded(finished, total)

            finished = embed_rows(run, model, writer, partial, surveyed=surveyed, report=report)
    rate = f", {bar.tokens_per_s:,.0f} tokens/s" if bar.tokens_per_s else ""
    size = f"{finished.num_rows:,} rows of {settings.width} dimensions, {finished.num_tokens:,} tokens"
    _say(f"{options.output}: {size}{rate}")


def _settings(model: LoadedModel, options: EmbedOptions) -> EncodeSettings:
    """Check the options that depend on the model. Raises: UsageError naming the option and the mend."""
    from embergate.cli.embedding.pipeline import EncodeSettings

    try:
        model.check_dimensions(options.dimensions)
        prompt = model.prompt_of(options.prompt_name)
    except InvalidRequestError as error:
        raise UsageError(error.message) from None
    if options.normalize is False and model.normalizes(False):
        raise UsageError(f"--no-normalize: {model.spec.name} always scales its vectors; leave the option out")
    return EncodeSettings(
        width=options.dimensions or model.spec.dimensions,
        dimensions=options.dimensions,
        normalize=options.normalize,
        prompt_name=options.prompt_name,
        prompt=prompt,
        precision=options.precision.value,
        truncate=options.truncate,
    )


def _kept(partial: PartialOutput | None) -> str:
    """Say what is kept of a run that stopped."""
    if partial is None or not partial.finished.num_rows:
        return ""
    kept = f"{partial.finished.num_rows:,} finished rows are kept in {partial.folder}"
    return f"\n{kept}; run the same command again to go on"


def _say(message: str) -> None:
    """Tell the user, on stderr."""
    print(message, file=sys.stderr)
