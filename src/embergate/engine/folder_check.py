"""Whether a folder that a stranger has filled is a model that can be served, told without loading it; every reason at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from embergate.engine.architectures.static import MODEL2VEC
from embergate.engine.loading.check import check_config
from embergate.engine.loading.config_reader import ConfigReader, read_json
from embergate.engine.loading.loader import FoundModel, SourceOptions, find_model
from embergate.engine.loading.modules import Modules, read_modules
from embergate.engine.loading.use import Asked, read_use
from embergate.engine.loading.weights import Weights, weight_paths
from embergate.engine.tokenization import TextTokenizer, read_tokenizer
from embergate.errors import ModelError

# A header of 100,000 tensors has 10 MB; reading one takes some ten times its size in memory.
MAX_HEADER_BYTES: Final = 16 << 20
T = TypeVar("T")


@dataclass(slots=True)
class FolderReport:
    """What was found: the reasons why it cannot be served, or the model."""

    problems: list[str] = field(default_factory=list)
    found: FoundModel | None = None
    # Of its network alone.
    num_parameters: int = 0

    def attempt(self, read: Callable[[], T]) -> T | None:
        """Return what is read; note why it cannot be, once."""
        try:
            return read()
        except ModelError as error:
            if error.message not in self.problems:
                self.problems.append(error.message)
            return None


def check_folder(folder: Path, source: SourceOptions, *, config_only: bool = False) -> FolderReport:
    """Read a folder as the loader does by `source`, but for the values of its weights. Blocks.

    With `config_only` the tokenizer and the weights need not be there.
    """
    report = FolderReport()
    modules = report.attempt(lambda: read_modules(folder))
    encoder = modules.encoder if modules is not None else folder
    is_static = modules is not None and modules.is_static
    if not is_static or (encoder / "config.json").is_file():
        _check_config(report, folder, encoder, modules)
    if config_only:
        return report
    report.attempt(lambda: read_tokenizer(encoder / "tokenizer.json", is_foreign=source.is_foreign))
    dense = modules.pooling.dense if modules is not None and modules.pooling is not None else ()
    for inner in (encoder, *(stage.folder for stage in dense)):
        weights = report.attempt(lambda inner=inner: _open_weights(inner))  # type: ignore[misc]
        report.num_parameters += weights.num_values if weights is not None else 0
    if not report.problems:
        report.found = report.attempt(lambda: find_model(str(folder), source))
    if report.found is not None:
        spec = report.found.spec
        report.attempt(lambda: TextTokenizer(spec))
    return report


def _check_config(report: FolderReport, folder: Path, encoder: Path, modules: Modules | None) -> None:
    config = report.attempt(lambda: ConfigReader.from_file(encoder / "config.json"))
    tokenizer_config = encoder / "tokenizer_config.json"
    if tokenizer_config.is_file() and report.attempt(lambda: read_json(tokenizer_config)) is None:
        tokenizer_config = encoder / "none"
    if config is None:
        return
    tokenizer_text = tokenizer_config.read_text("utf-8", "replace") if tokenizer_config.is_file() else None
    for problem in check_config((encoder / "config.json").read_text("utf-8", "replace"), tokenizer_text):
        if problem not in report.problems:
            report.problems.append(problem)
    if modules is not None and (modules.pooling is not None or config.values.get("model_type") != MODEL2VEC):
        report.attempt(lambda: read_use(folder, modules, config, Asked()))


def _open_weights(folder: Path) -> Weights:
    for path in weight_paths(folder):
        with path.open("rb") as file:
            num_bytes = int.from_bytes(file.read(8), "little")
        if MAX_HEADER_BYTES < num_bytes <= path.stat().st_size:
            raise ModelError(f"{path.name}: its header has {num_bytes} bytes, more than {MAX_HEADER_BYTES}")
    return Weights(folder)
