"""The models being served, and every name that each answers to.

Forms: `org/name` (Hub id), `fireworks/<slug>`, `accounts/<account>/models/<slug>`, the same behind `fireworks/` (as some
clients send it), `accounts/<account>/deployments/<slug>` and `.../routers/<slug>`, `<model>#<deployment>` with either side
in full or short, and `<model>@<revision or fingerprint>`. Every served model has one deployment and one router, named like it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from embergate.engine.loaded_model import LoadedModel
from embergate.engine.loading.catalog import load_catalog
from embergate.engine.memory import MemoryUse
from embergate.engine.self_check import SelfCheck
from embergate.errors import ConfigurationError, ModelNotFoundError

CATALOG_ACCOUNT: Final = "fireworks"
MAX_SLUG_CHARACTERS: Final = 63
# What all that accounts have uploaded are called in metrics and logs.
UPLOADED: Final = "uploaded"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A loaded model under its resource name."""

    account: str
    slug: str
    model: LoadedModel
    loaded_at: datetime
    self_check: SelfCheck | None = None
    memory: MemoryUse | None = None
    # Billionths of a dollar a token, by the model's size.
    list_price_nanos: int = 0
    # By an account, which may call it what it likes.
    is_uploaded: bool = False
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Work out every name that this model answers to."""
        names = set(resource_names(self.account, self.slug))
        if not self.is_uploaded:
            names.add(self.model.spec.name)
        if self.account == CATALOG_ACCOUNT:
            names.add(self.public_name)
        object.__setattr__(self, "names", frozenset(names))

    @property
    def id(self) -> str:
        """The resource name, `accounts/<account>/models/<slug>`."""
        return f"accounts/{self.account}/models/{self.slug}"

    @property
    def public_name(self) -> str:
        """A name that tells nothing of the account: `fireworks/<slug>` for the catalogue's models, else `<slug>`."""
        if self.is_uploaded:
            return UPLOADED
        return f"{CATALOG_ACCOUNT}/{self.slug}" if self.account == CATALOG_ACCOUNT else self.slug

    @property
    def deployments(self) -> frozenset[str]:
        """The resource names of the deployment and the router that every model has."""
        return deployments_of(self.account, self.slug)

    def is_snapshot(self, snapshot: str) -> bool:
        """Tell whether `snapshot` is this model's revision (or a prefix of 7 and more) or its fingerprint."""
        revision = self.model.spec.revision or ""
        is_revision = len(snapshot) >= 7 and revision.startswith(snapshot)
        return is_revision or snapshot == self.model.fingerprint


class Registry:
    """Served models by name."""

    def __init__(self) -> None:
        """Start empty."""
        self._models: list[ServedModel] = []
        self._by_name: dict[str, ServedModel] = {}

    def add(self, served: ServedModel) -> None:
        """Serve one more model. Raises: ConfigurationError if a name of it is taken."""
        for name in served.names:
            if name in self._by_name:
                raise ConfigurationError(f"two served models answer to {name!r}; rename one folder")
        self._models.append(served)
        self._by_name.update(dict.fromkeys(served.names, served))

    def list(self) -> list[ServedModel]:
        """Return the models in the order in which they were added."""
        return list(self._models)

    def get(self, name: str) -> ServedModel:
        """Find a model by any form of its name, case-sensitively.

        Raises: ModelNotFoundError, whether it does not exist or is not served.
        """
        address, _, deployment = name.partition("#")
        plain, _, snapshot = address.partition("@")
        served = self._by_name.get(plain)
        if served is None or ("@" in address and not served.is_snapshot(snapshot)):
            raise ModelNotFoundError(param="model")
        if "#" in name and deployment not in {served.slug, *served.deployments}:
            raise ModelNotFoundError(param="model")
        return served

    def close(self) -> None:
        """Free every model."""
        for served in self._models:
            served.model.close()
        self._models.clear()
        self._by_name.clear()


def deployments_of(account: str, slug: str) -> frozenset[str]:
    """Return the resource names of the deployment and the router that every model has."""
    return frozenset(f"accounts/{account}/{kind}/{slug}" for kind in ("deployments", "routers"))


def resource_names(account: str, slug: str) -> frozenset[str]:
    """Return the names that a model answers to in an account, whoever has loaded it and whatever it is called elsewhere."""
    name = f"accounts/{account}/models/{slug}"
    return frozenset({name, f"{CATALOG_ACCOUNT}/{name}", *deployments_of(account, slug)})


def resource_of(name: str, account: str) -> tuple[str, str]:
    """Return the account and the slug under which the model of this name (a Hub id or a folder's) is served."""
    entry = load_catalog().find(name)
    if entry is not None:
        return CATALOG_ACCOUNT, entry.slug
    slug = re.sub(r"[^a-z0-9]+", "-", Path(name).name.lower()).strip("-")[:MAX_SLUG_CHARACTERS]
    return account, slug or "model"
