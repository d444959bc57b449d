"""Models that accounts have uploaded, as the inference plane asks for them; the composition root provides the answer."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from embergate.engine.registry import ServedModel
from embergate.errors import EmbergateError


class OwnModels(Protocol):
    """Uploaded models by name, loaded when they are used."""

    def using(self, name: str, account_id: str, absent: EmbergateError) -> AbstractAsyncContextManager[ServedModel]:
        """Keep a model loaded for as long as the context lasts, for a caller of this account.

        Raises: `absent` if there is no such model; ForbiddenError if it is another account's and not public; ModelLoadingError
            if it is not loaded in time; UnavailableError if the database or the files cannot be reached.
        """
        ...
