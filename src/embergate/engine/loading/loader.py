"""From a reference to a spec: the files' own word, overruled by the catalogue where the model is in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from embergate.engine.loading.folder import FolderModel, read_folder
from embergate.engine.loading.sources import locate
from embergate.engine.loading.spec import ModelSpec, PoolingMode
from embergate.engine.loading.use import Asked


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to find and read a model; `pooling` speaks only for files that do not say it.

    A foreign model is a stranger's, who may mean harm. `max_tokens` is the most that a text of it may have, whatever it says.
    """

    offline: bool = False
    pooling: PoolingMode | None = None
    is_foreign: bool = False
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model found and read, its weights not yet touched."""

    folder_model: FolderModel

    @property
    def spec(self) -> ModelSpec:
        """The folder's spec, overruled by the catalogue."""
        return self.folder_model.spec


def find_model(reference: str, options: SourceOptions | None = None) -> FoundModel:
    """Locate a model and read everything but its weights.

    Raises: ModelError naming what is missing or wrong, and the mend.
    """
    options = options or SourceOptions()
    source = locate(reference, offline=options.offline)
    entry = source.entry
    found = read_folder(
        source.folder,
        name=source.name,
        asked=Asked(options.pooling, entry.kind if entry else None),
        max_tokens=entry.max_tokens if entry else None,
    )
    max_tokens = min(found.spec.max_tokens, options.max_tokens or found.spec.max_tokens)
    spec = replace(found.spec, revision=source.revision, is_foreign=options.is_foreign, max_tokens=max_tokens)
    if entry is not None:
        spec = replace(
            spec,
            normalize_default=entry.normalize_default,
            resizable=entry.resizable,
            matryoshka_dimensions=entry.matryoshka_dimensions or spec.matryoshka_dimensions,
            prompts={**spec.prompts, **entry.prompts},
        )
    return FoundModel(replace(found, spec=spec))
