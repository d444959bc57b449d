"""What a folder's model is for: it embeds texts, or it reranks documents. Told by its files or the catalogue, never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from embergate.engine.architectures.heads import HEADS
from embergate.engine.architectures.static import MODEL2VEC
from embergate.engine.loading.catalog import ModelKind
from embergate.engine.loading.config_reader import ConfigReader, read_json
from embergate.engine.loading.modules import Modules
from embergate.engine.loading.spec import ContrastStage, PoolingMode, PoolingSpec
from embergate.errors import ModelError

CLASSIFIER: Final = "ForSequenceClassification"
# What transformers takes a classifier to have that says nothing.
DEFAULT_NUM_LABELS: Final = 2
JUDGING_ARCHITECTURES: Final = ("qwen3",)
# Of the system's turn in Qwen3-Reranker's frame; a chat template that has it is that frame.
JUDGEMENT: Final = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
MAX_TEMPLATE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Use:
    """What a model is for, and what follows its network; see `ModelSpec`."""

    kind: ModelKind
    pooling: PoolingSpec
    judges: bool = False
    has_segments: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a model besides its files: the kind that the catalogue gives, and the pooling that an operator names."""

    pooling: PoolingMode | None = None
    kind: ModelKind | None = None


def read_use(folder: Path, modules: Modules, config: ConfigReader, asked: Asked) -> Use:
    """Return what a folder's model is for.

    Raises: ModelError if its files do not say it, say two things, or say what the catalogue or the operator does not.
    """
    reranks = _reranks(folder, modules, config, asked)
    if not reranks:
        return Use(ModelKind.EMBEDDING_MODEL, pooling_of(folder, modules, config, asked.pooling))
    if num_labels_of(config) == 1:
        return _cross_encoder(modules, config)
    return _judge(modules, config)


def _reranks(folder: Path, modules: Modules, config: ConfigReader, asked: Asked) -> bool:
    is_classifier = num_labels_of(config) == 1
    can_judge = config.values.get("model_type") in JUDGING_ARCHITECTURES
    if asked.kind is ModelKind.RERANKER:
        if not is_classifier and not can_judge:
            raise ModelError(f"{folder.name} is a reranker by the catalogue, and its config.json is not one's")
        if asked.pooling is not None:
            raise ModelError(
                f"{folder.name} is a reranker, which is not pooled by {asked.pooling}; leave the pooling out"
            )
        return True
    if asked.kind is ModelKind.EMBEDDING_MODEL:
        return False
    says_so = is_classifier or modules.is_cross_encoder or (can_judge and has_judging_template(modules.encoder))
    if not says_so or (asked.pooling is not None and modules.pooling is None and not modules.is_cross_encoder):
        _refuse_many_labels(folder, modules, config, asked)
        return False
    if modules.pooling is not None:
        if asked.pooling is not None:
            return False
        raise ModelError(
            f"{folder.name} may be an embedding model (its modules.json has a Pooling) or a reranker (its other files are "
            "one's); delete modules.json to rerank with it, or name the pooling to embed with it: `NAME:mean`"
        )
    if modules.is_cross_encoder and asked.pooling is not None:
        raise ModelError(f"{folder.name} is a reranker, by its files; leave the pooling out")
    if not is_classifier and not (can_judge and has_judging_template(modules.encoder)):
        raise ModelError(
            f"{folder.name} says that it is a cross-encoder, and not of a kind that is built: a {CLASSIFIER} with one label, "
            "or a Qwen3-Reranker with its chat template"
        )
    return True


def _refuse_many_labels(folder: Path, modules: Modules, config: ConfigReader, asked: Asked) -> None:
    """Raise ModelError for a classifier of several labels that nothing makes an embedding model."""
    num_labels = num_labels_of(config)
    if num_labels is not None and modules.pooling is None and asked.pooling is None:
        raise ModelError(
            f"config.json: {folder.name} tells {num_labels} labels apart (id2label, num_labels); a reranker has one, and an "
            "embedding model says its pooling"
        )


def num_labels_of(config: ConfigReader) -> int | None:
    """Return how many labels a classifier tells apart, None for what is no classifier. Raises: ModelError."""
    if not any(name.endswith(CLASSIFIER) for name in config.strings("architectures")):
        return None
    labels = config.object("id2label").values
    return len(labels) if labels else config.integer("num_labels", default=DEFAULT_NUM_LABELS)


def _cross_encoder(modules: Modules, config: ConfigReader) -> Use:
    model_type = config.string("model_type")
    if model_type not in HEADS:
        raise ModelError(
            f"config.json: no {CLASSIFIER} of model_type {model_type[:60]!r} is built; these are: {', '.join(sorted(HEADS))}"
        )
    head = HEADS[model_type](config)
    return Use(
        ModelKind.RERANKER,
        head.stages(modules.encoder, config.integer("hidden_size", "dim")),
        has_segments=_has_segments(model_type, modules.encoder, config),
    )


def _has_segments(model_type: str, encoder: Path, config: ConfigReader) -> bool:
    """Tell whether the network is told which text a token belongs to: BERT is, unless its tokenizer says otherwise."""
    path = encoder / "tokenizer_config.json"
    tokenizer = ConfigReader.from_file(path) if path.is_file() else ConfigReader({}, source=path.name)
    inputs = tokenizer.strings("model_input_names")
    is_told = not inputs or "token_type_ids" in inputs
    return model_type == "bert" and is_told and config.integer("type_vocab_size", default=2, minimum=0) > 1


def _judge(modules: Modules, config: ConfigReader) -> Use:
    is_tied = config.boolean("tie_word_embeddings", default=False)
    head = ContrastStage(
        modules.encoder,
        config.integer("hidden_size"),
        config.integer("vocab_size"),
        "model.embed_tokens.weight" if is_tied else "lm_head.weight",
        ("yes", "no"),
    )
    return Use(ModelKind.RERANKER, PoolingSpec((PoolingMode.LAST_TOKEN,), (head,)), judges=True)


def has_judging_template(encoder: Path) -> bool:
    """Tell whether the chat template beside a tokenizer is Qwen3-Reranker's. Raises: ModelError for a file that is broken."""
    written = encoder / "chat_template.jinja"
    if written.is_file():
        try:
            with written.open("rb") as file:
                return JUDGEMENT in file.read(MAX_TEMPLATE_BYTES).decode("utf-8", "replace")
        except OSError as error:
            raise ModelError(f"{written.name} cannot be read: {error.strerror}") from error
    path = encoder / "tokenizer_config.json"
    values: Any = read_json(path) if path.is_file() else {}
    template = values.get("chat_template") if isinstance(values, dict) else None
    return isinstance(template, str) and JUDGEMENT in template.replace('\\"', '"')


def pooling_of(folder: Path, modules: Modules, config: ConfigReader, asked: PoolingMode | None) -> PoolingSpec:
    """Return how a folder's model pools, by its files or else as asked. Raises: ModelError if neither says it."""
    stated = modules.pooling
    if stated is None and config.values.get("model_type") == MODEL2VEC:
        stated = PoolingSpec((PoolingMode.MEAN,), normalize=config.boolean("normalize", default=False))
    if stated is not None:
        if asked is not None and stated.modes != (asked,):
            raise ModelError(
                f"{folder.name} is pooled by {'+'.join(stated.modes)}, as its files say, not by {asked}; leave the pooling out"
            )
        return stated
    if asked is not None:
        return PoolingSpec((asked,))
    raise ModelError(
        f"{folder.name} does not say how token states become one vector: it has no modules.json with a Pooling module. "
        "Add them, or name the pooling as the model's card does (mean, cls, lasttoken): `--pooling mean`, or `MODEL:mean` "
        "among the models to serve; it is never guessed"
    )
