"""What the answers of a batch job can be written as: each format says what rows it needs, and how they become files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from embergate.gateway.batch_jobs.results import Answered, Kept, Results, compose_parts, keep_lines
from embergate.gateway.batch_jobs.rows import CheckBody
from embergate.gateway.batch_jobs.run import OUTPUT_FILE
from embergate.gateway.batch_jobs.schemas import OutputFormat
from embergate.gateway.batch_jobs.vector_output import compose_npy, compose_parquet
from embergate.gateway.batch_jobs.vectors import SameDimensions, asked_for_bytes, keep_vectors
from embergate.gateway.files.place import FilePlace
from embergate.storage.objects.protocol import Objects


@dataclass(frozen=True, slots=True)
class Format:
    """`compose` returns the sizes of the files that it made; its last argument begins the keys of what it needs meanwhile."""

    check: Callable[[CheckBody], CheckBody]
    request: Callable[[dict[str, Any]], dict[str, Any]]
    keep: Callable[[Objects, str, Answered], Awaitable[Kept]]
    compose: Callable[[Objects, FilePlace, Sequence[Results], str], Awaitable[dict[str, int]]]
    # Whether its rows are vectors, of which a request may have several, or answers.
    has_vectors: bool = True


async def _compose_lines(
    objects: Objects,
    place: FilePlace,
    results: Sequence[Results],
    scratch: str,  # noqa: ARG001 - of other formats
) -> dict[str, int]:
    parts = [one.answers_key for one in results if one.answers_key]
    return {OUTPUT_FILE: await compose_parts(objects, place.key(OUTPUT_FILE), parts)}


FORMATS: Final[Mapping[str, Format]] = {
    OutputFormat.JSONL: Format(lambda check: check, lambda body: body, keep_lines, _compose_lines, has_vectors=False),
    OutputFormat.PARQUET: Format(SameDimensions, asked_for_bytes, keep_vectors, compose_parquet),
    OutputFormat.NPY: Format(SameDimensions, asked_for_bytes, keep_vectors, compose_npy),
}
