"""Which models an account may use, as a plane asks for it; the composition root provides the answer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class ModelPolicies(Protocol):
    """What the accounts' policies say."""

    async def allows(self, account_id: str, names: Collection[str]) -> bool:
        """Tell whether the account may embed with the model that has these names."""
        ...
