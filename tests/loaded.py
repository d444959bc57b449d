"""A loaded model whose network is the fake one: its files and its tokenizer are real."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from embergate.engine.backends.fake import FakeBackend
from embergate.engine.backends.protocol import Backend, ComputeOptions
from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.loader import FoundModel, SourceOptions, find_model
from embergate.engine.loading.spec import PoolingMode
from embergate.engine.tokenization import TextTokenizer
from tests.random_models import JUDGES, RERANKERS, Case, cases_of, write_model


def found_model(folder: Path, case: Case | None = None, **changes: Any) -> FoundModel:
    """Write a random model (a BERT by default) to `folder` and find it; `changes` overrule its spec."""
    case = case or cases_of("bert")[0]
    if not folder.exists():
        write_model(case, folder, 0)
    is_reranker = case in (*RERANKERS, *JUDGES)
    pooling = PoolingMode.MEAN if case.pooling is None and not is_reranker else None
    found = find_model(str(folder), SourceOptions(offline=True, pooling=pooling))
    return FoundModel(replace(found.folder_model, spec=replace(found.spec, **changes)))


def fake_model(
    folder: Path, backend: Backend | None = None, *, case: Case | None = None, **changes: Any
) -> LoadedModel:
    """Return a random model's files (a BERT's by default) behind a fake network."""
    found = found_model(folder, case, **changes)
    return LoadedModel(
        found, TextTokenizer(found.spec), backend or FakeBackend(found.spec.hidden_size), ComputeOptions()
    )
