"""A model folder, in the sentence-transformers or the bare transformers layout, read into one `ModelSpec`.

A pooling that the files do not determine is an error: a guess would give vectors that look right and are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embergate.engine.architectures import ARCHITECTURES, Architecture
from embergate.engine.architectures.static import MODEL2VEC, STATIC_EMBEDDING, StaticTable
from embergate.engine.loading.catalog import ModelKind
from embergate.engine.loading.config_reader import MAX_INTEGER, ConfigReader
from embergate.engine.loading.modules import Modules, read_modules
from embergate.engine.loading.spec import ModelSpec, PoolingSpec
from embergate.engine.loading.use import Asked, num_labels_of, read_use
from embergate.engine.loading.weights import Weights
from embergate.errors import ModelError

# transformers writes 10**30 for a tokenizer without a limit of its own.
NO_LIMIT: Final = 10**9
DEFAULT_MAX_TOKENS: Final = 512
BUILT_IN: Final = frozenset({*ARCHITECTURES, MODEL2VEC, STATIC_EMBEDDING})

Network = Architecture | StaticTable


@dataclass(frozen=True, slots=True)
class FolderModel:
    """What a folder holds: the spec, and the network where its architecture is built in."""

    spec: ModelSpec
    network: Network | None


@dataclass(frozen=True, slots=True)
class ForeignSizes:
    """What any transformers config.json tells, for networks that are not built in."""

    hidden_size: int
    vocab_size: int
    max_tokens: int

    @classmethod
    def read(cls, config: ConfigReader) -> ForeignSizes:
        """Read the sizes. Raises: ModelError naming the key that is missing or wrong."""
        return cls(
            hidden_size=config.integer("hidden_size", "d_model", "n_embd", "dim"),
            vocab_size=config.integer("vocab_size"),
            max_tokens=config.integer("max_position_embeddings", "n_positions", default=DEFAULT_MAX_TOKENS),
        )


def read_folder(
    folder: Path, *, name: str | None = None, asked: Asked | None = None, max_tokens: int | None = None
) -> FolderModel:
    """Read a model folder.

    `asked` and `max_tokens` speak for models whose files do not say them.
    Raises: ModelError naming the file and key that is missing or wrong.
    """
    modules = read_modules(folder)
    config = _read_config(modules)
    model_type = config.string("model_type")
    refuse_quantized(config)
    network = _read_network(model_type, config, modules)
    sizes = network or ForeignSizes.read(config)
    use = read_use(folder, modules, config, asked or Asked())
    dimensions = _dimensions(use.pooling, sizes.hidden_size)
    dimensions = sizes.hidden_size if use.kind is ModelKind.RERANKER else dimensions
    matryoshka = _matryoshka_dimensions(config, dimensions)
    spec = ModelSpec(
        name=name or folder.resolve().name,
        folder=modules.encoder,
        architecture=model_type,
        config=config.values,
        hidden_size=sizes.hidden_size,
        vocab_size=sizes.vocab_size,
        max_tokens=min(max_tokens or _max_tokens(modules, sizes.max_tokens), sizes.max_tokens),
        dimensions=dimensions,
        pooling=use.pooling,
        kind=use.kind,
        normalize_default=use.pooling.normalize,
        resizable=bool(matryoshka),
        matryoshka_dimensions=matryoshka,
        prompts=modules.prompts,
        default_prompt_name=modules.default_prompt_name,
        lowercase=modules.lowercase,
        add_special_tokens=not isinstance(network, StaticTable),
        drop_unknown=model_type == MODEL2VEC,
        judges=use.judges,
        has_segments=use.has_segments,
    )
    return FolderModel(spec, network)


def _read_config(modules: Modules) -> ConfigReader:
    path = modules.encoder / "config.json"
    if modules.is_static and not path.is_file():
        return ConfigReader({"model_type": STATIC_EMBEDDING}, source="modules.json")
    return ConfigReader.from_file(path)


def _read_network(model_type: str, config: ConfigReader, modules: Modules) -> Network | None:
    if modules.is_static or model_type == MODEL2VEC:
        return StaticTable.read(Weights(modules.encoder))
    kind = ARCHITECTURES.get(model_type)
    return kind.read(config) if kind is not None else None


def _max_tokens(modules: Modules, positions: int) -> int:
    if modules.max_seq_length is not None:
        return modules.max_seq_length
    path = modules.encoder / "tokenizer_config.json"
    if not path.is_file():
        return positions
    return stated_max_tokens(ConfigReader.from_file(path)) or positions


def stated_max_tokens(tokenizer_config: ConfigReader) -> int | None:
    """Return how many tokens a text may have by tokenizer_config.json; None if it does not say. Raises: ModelError."""
    limit = tokenizer_config.number("model_max_length", default=NO_LIMIT)
    return int(limit) if 0 < limit < NO_LIMIT else None


def refuse_quantized(config: ConfigReader) -> None:
    """Raise ModelError for weights that another library has packed."""
    if config.values.get("quantization_config"):
        raise config.error(
            "quantization_config",
            "none: publish the weights in bf16, f16 or f32; int8 is made of them here, where asked for",
        )


def read_sizes(model_type: str, config: ConfigReader) -> Architecture | ForeignSizes | None:
    """Return the sizes in config.json of a network, None where its weights tell them. Raises: ModelError naming the key."""
    refuse_quantized(config)
    if model_type in {MODEL2VEC, STATIC_EMBEDDING}:
        return None
    kind = ARCHITECTURES.get(model_type)
    sizes = kind.read(config) if kind is not None else ForeignSizes.read(config)
    num_labels_of(config)
    _matryoshka_dimensions(config, MAX_INTEGER)  # what layers behind the network make of its size is in other files
    return sizes


def _dimensions(pooling: PoolingSpec, hidden_size: int) -> int:
    size = hidden_size * len(pooling.modes)
    for dense in pooling.dense:
        if dense.in_features != size:
            raise ModelError(f"{dense.folder.name}/config.json: in_features is {dense.in_features}, it is given {size}")
        size = dense.out_features
    return size


def _matryoshka_dimensions(config: ConfigReader, dimensions: int) -> tuple[int, ...]:
    listed = config.values.get("matryoshka_dimensions") or []
    if not isinstance(listed, list) or not all(type(size) is int and 0 < size <= dimensions for size in listed):
        raise config.error("matryoshka_dimensions", f"a list of integers from 1 to {dimensions}")
    return tuple(sorted(listed))
