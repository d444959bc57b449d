"""`embergate bench`: how fast one model is on this machine, in each precision."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from embergate.cli.models import Pooling, parse_precision, source_options

if TYPE_CHECKING:
    from embergate.engine.backends.protocol import ComputeOptions
    from embergate.engine.loading.loader import SourceOptions
    from embergate.engine.loading.spec import Precision

QUERY: Final = "which river flows through the capital of France and where does it end?"
WORD: Final = "river "
NUM_QUERIES: Final = 50
NUM_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class Speed:
    """One precision's figures; tokens/s are the median of several rounds."""

    precision: str
    computes_in: str
    short_tokens_per_s: float
    long_tokens_per_s: float
    query_ms: float


def bench(
    model: Annotated[
        str, typer.Option(help="Catalogue name, Hub id or folder.")
    ] = "sentence-transformers/all-MiniLM-L6-v2",
    precision: Annotated[str, typer.Option(help="Precisions to measure, separated by commas.")] = "f32,bf16,int8",
    threads: Annotated[int, typer.Option(help="Threads for forward passes; 0 takes every core.")] = 0,
    streams: Annotated[int, typer.Option(help="Forward passes that run side by side.")] = 1,
    pooling: Pooling = None,
) -> None:
    """Measure tokens/s of short and long texts and the time of one query, in each precision."""
    from embergate.engine.backends.protocol import ComputeOptions

    source = source_options(offline=False, pooling=pooling)
    typer.echo(f"{'precision':<10} {'computed in':<12} {'32 tokens':>14} {'longest':>14} {'one query':>12}")
    for word in precision.split(","):
        speed = measure(model, parse_precision(word.strip()), ComputeOptions(threads, streams), source)
        typer.echo(
            f"{speed.precision:<10} {speed.computes_in:<12} {speed.short_tokens_per_s:>8.0f} tok/s "
            f"{speed.long_tokens_per_s:>8.0f} tok/s {speed.query_ms:>9.2f} ms"
        )


def measure(model: str, precision: Precision, compute: ComputeOptions, source: SourceOptions) -> Speed:
    """Load a model and time it: texts of 32 tokens, texts of the model's limit (512 at most), one query at a time."""
    from embergate.clock import monotonic_s
    from embergate.engine.loaded_model import LoadedModel

    loaded = LoadedModel.open(model, precision=precision, compute=compute, source=source)

    def tokens_per_s(num_words: int, num_texts: int) -> float:
        texts = [WORD * num_words] * num_texts
        rates = []
        for _ in range(NUM_ROUNDS + 1):
            started_at_s = monotonic_s()
            encoded = loaded.encode_counted(texts)
            rates.append(sum(encoded.num_tokens) / (monotonic_s() - started_at_s))
        return statistics.median(rates[1:])  # the first round of a shape also prepares it

    def query_ms() -> float:
        times = []
        for _ in range(NUM_QUERIES):
            started_at_s = monotonic_s()
            loaded.encode([QUERY])
            times.append(1000 * (monotonic_s() - started_at_s))
        return statistics.median(times)

    longest = min(loaded.spec.max_tokens, 512) - 8
    speed = Speed(
        loaded.backend.precision.value,
        loaded.backend.computes_in,
        tokens_per_s(30, 64),
        tokens_per_s(longest, 8),
        query_ms(),
    )
    loaded.close()
    return speed
