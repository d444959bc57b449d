"""`modules.json` and the configuration of each stage it lists; the bare transformers layout counts as one stage.

Source: https://github.com/huggingface/sentence-transformers (v6.2), modules.json and each module's config.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from embergate.engine.loading.config_reader import ConfigReader, read_json
from embergate.engine.loading.spec import DenseStage, PoolingMode, PoolingSpec
from embergate.errors import ModelError

# The flag form of 1_Pooling/config.json, in the order in which sentence-transformers concatenates.
POOLING_FLAGS: Final = {
    "pooling_mode_cls_token": PoolingMode.CLS,
    "pooling_mode_max_tokens": PoolingMode.MAX,
    "pooling_mode_mean_tokens": PoolingMode.MEAN,
    "pooling_mode_mean_sqrt_len_tokens": PoolingMode.MEAN_SQRT_LEN,
    "pooling_mode_weightedmean_tokens": PoolingMode.WEIGHTED_MEAN,
    "pooling_mode_lasttoken": PoolingMode.LAST_TOKEN,
}
LENGTH_FILES: Final = tuple(
    f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "distilbert", "camembert", "xlm-roberta")
)
CROSS_ENCODER: Final = "CrossEncoder"
LOGIT_SCORE: Final = "LogitScore"
ENCODERS: Final = {"Transformer", "StaticEmbedding"}
ACTIVATION_NAMES: Final = ("Identity", "Tanh", "ReLU", "Sigmoid", "GELU")
MAX_MODULES: Final = 16
# It is tokenised anew for each text; the longest published ones have some hundred.
MAX_PROMPT_CHARACTERS: Final = 2048


@dataclass(frozen=True, slots=True)
class Modules:
    """The stages of a sentence-transformers folder; `pooling` is None where no file determines it."""

    encoder: Path
    is_static: bool = False
    pooling: PoolingSpec | None = None
    max_seq_length: int | None = None
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    # A folder of sentence-transformers' CrossEncoder.
    is_cross_encoder: bool = False


def read_modules(folder: Path) -> Modules:
    """Read the stages of a model folder.

    Raises: ModelError naming the file and key that is missing, wrong or of a kind that is not supported.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder")
    if not (folder / "modules.json").is_file():
        return Modules(encoder=folder)
    stages = _read_stages(folder)
    kind, encoder = stages[0]
    if kind not in ENCODERS:
        raise ModelError(f"modules.json: the first module is {kind}, expected Transformer or StaticEmbedding")
    length_file = next((encoder / name for name in LENGTH_FILES if (encoder / name).is_file()), None)
    length = ConfigReader.from_file(length_file) if length_file else ConfigReader({}, source=LENGTH_FILES[0])
    settings = _read_settings(folder / "config_sentence_transformers.json")
    prompts, default_prompt_name = _read_prompts(settings)
    scores = [kind for kind, _ in stages[1:]] == [LOGIT_SCORE]
    return Modules(
        encoder=encoder,
        is_static=kind == "StaticEmbedding",
        pooling=None if scores else _read_pooling(stages[1:], is_static=kind == "StaticEmbedding"),
        max_seq_length=length.integer("max_seq_length", default=0, minimum=0) or None,
        lowercase=length.boolean("do_lower_case", default=False),
        prompts=prompts,
        default_prompt_name=default_prompt_name,
        is_cross_encoder=scores or settings.values.get("model_type") == CROSS_ENCODER,
    )


def _read_stages(folder: Path) -> list[tuple[str, Path]]:
    listed = read_json(folder / "modules.json")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_MODULES:
        raise ModelError(f"modules.json must list 1 to {MAX_MODULES} modules")
    stages = []
    for index, entry in enumerate(listed):
        if not isinstance(entry, dict):
            raise ModelError(f"modules.json: module {index} must be a JSON object")
        reader = ConfigReader(entry, source=f"modules.json: module {index}")
        path = folder / reader.string("path", default="")
        if not _is_inside(path, folder):
            raise reader.error("path", "a folder inside the model")
        stages.append((reader.string("type").rsplit(".", 1)[-1], path))
    return stages


def _is_inside(path: Path, folder: Path) -> bool:
    """Tell whether `path`, its links followed, leads to a place inside `folder`; what is no path at all does not."""
    try:
        path.exists()  # names that the file system cannot have are an OSError here, not later
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, a loop of links
        return False


def _read_pooling(stages: list[tuple[str, Path]], *, is_static: bool) -> PoolingSpec | None:
    modes: tuple[PoolingMode, ...] = (PoolingMode.MEAN,) if is_static else ()
    dense: list[DenseStage] = []
    normalize, include_prompt = False, True
    for kind, path in stages:
        if normalize:
            raise ModelError(f"modules.json: a {kind} after Normalize is not supported")
        if kind == "Pooling":
            reader = ConfigReader.from_file(path / "config.json")
            modes, include_prompt = _pooling_modes(reader), reader.boolean("include_prompt", default=True)
        elif kind == "Dense":
            dense.append(_read_dense(path))
        elif kind == "Normalize":
            normalize = True
        elif kind != "Dropout":  # which does nothing outside training
            raise ModelError(f"modules.json: modules of type {kind} are not supported")
    if not modes:
        return None
    return PoolingSpec(modes, tuple(dense), normalize, include_prompt)


def _pooling_modes(reader: ConfigReader) -> tuple[PoolingMode, ...]:
    named = reader.values.get("pooling_mode")
    if named is None:
        modes = tuple(mode for flag, mode in POOLING_FLAGS.items() if reader.boolean(flag, default=False))
        if not modes:
            raise ModelError(
                f'1_Pooling/{reader.source}: no pooling mode is true; set one, for instance "pooling_mode": "mean"'
            )
        return modes
    names = named if isinstance(named, list) else [named]
    known = {mode.value: mode for mode in PoolingMode}
    if not names or not all(isinstance(name, str) and name in known for name in names):
        raise reader.error("pooling_mode", "one or a list of " + ", ".join(known))
    return tuple(known[name] for name in names)


def _read_dense(path: Path) -> DenseStage:
    reader = ConfigReader.from_file(path / "config.json")
    if reader.boolean("use_residual", default=False):
        raise reader.error("use_residual", "false; residual dense layers are not supported")
    activation = reader.string("activation_function", default="torch.nn.modules.activation.Tanh").rsplit(".", 1)[-1]
    if activation not in ACTIVATION_NAMES:
        raise reader.error("activation_function", "one of " + ", ".join(ACTIVATION_NAMES))
    return DenseStage(
        folder=path,
        in_features=reader.integer("in_features"),
        out_features=reader.integer("out_features"),
        bias=reader.boolean("bias", default=True),
        activation=activation,
    )


def _read_settings(path: Path) -> ConfigReader:
    return ConfigReader.from_file(path) if path.is_file() else ConfigReader({}, source=path.name)


def _read_prompts(reader: ConfigReader) -> tuple[dict[str, str], str | None]:
    prompts = reader.object("prompts").values
    if not all(isinstance(text, str) and len(text) <= MAX_PROMPT_CHARACTERS for text in prompts.values()):
        raise reader.error("prompts", f"an object of strings of at most {MAX_PROMPT_CHARACTERS} characters")
    default = reader.string("default_prompt_name", default="") or None
    if default is not None and default not in prompts:
        raise reader.error("default_prompt_name", "one of " + ", ".join(prompts))
    return dict(prompts), default
