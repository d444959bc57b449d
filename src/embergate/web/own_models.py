"""Models that accounts have uploaded, as the inference plane asks for them; the composition root provides the answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from embergate.engine.loading.catalog import ModelKind
from embergate.engine.registry import ServedModel
from embergate.errors import EmbergateError


@dataclass(frozen=True, slots=True)
class NamedModel:
    """What is known of a model that need not be loaded: its resource name, all its names, its size's price in nanos a token,
    and whether it embeds or reranks.
    """

    id: str
    names: frozenset[str]
    list_price_nanos: int
    kind: ModelKind


@dataclass(frozen=True, slots=True)
class OwnModel:
    """What is known of an uploaded model that is ready, without loading it. `max_tokens` counts special tokens."""

    account: str
    slug: str
    kind: ModelKind
    names: frozenset[str]
    created_at: datetime
    max_tokens: int
    dimensions: int
    normalize_default: bool
    resizable: bool
    # In which it is served besides the server's own, as the suffixes of its name.
    precisions: tuple[str, ...]


class OwnModels(Protocol):
    """Uploaded models by name, loaded when they are used."""

    async def find(self, name: str, account_id: str, absent: EmbergateError) -> NamedModel:
        """Look a model up without loading it.

        Raises: `absent` if there is no such model; ForbiddenError if it is another account's and not public;
            FailedPreconditionError if its files are not there yet; UnavailableError if the database cannot be reached.
        """
        ...

    def using(self, name: str, account_id: str, absent: EmbergateError) -> AbstractAsyncContextManager[ServedModel]:
        """Keep a model loaded for as long as the context lasts, for a caller of this account.

        Raises: as `find`; ModelLoadingError if it is not loaded in time; UnavailableError if the files cannot be reached.
        """
        ...

    async def ready(self, account_id: str) -> Sequence[OwnModel]:
        """Return the models that an account may use: its own, then the public ones of others; the first 1,000.

        Raises: UnavailableError.
        """
        ...
