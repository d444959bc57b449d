"""One name for each model where money is concerned: its resource name, which the bills have too."""

from __future__ import annotations

import re
from typing import Final

from embergate.aip.errors import InvalidArgumentError
from embergate.engine.loading.catalog import CatalogEntry, load_catalog

RESOURCE: Final = re.compile(r"(?:fireworks/)?(accounts/[a-z][a-z0-9-]{0,62}/models/[a-z0-9-]{1,63})")


def resource_name_of(text: str, field: str) -> str:
    """Return a model's resource name, from that or from a name of the catalogue's: a Hub id, `fireworks/<slug>`.

    Raises: InvalidArgumentError for another Hub id or a folder: by which account it is served is not in it.
    """
    entry = load_catalog().find(text)
    if entry is not None:
        return f"accounts/fireworks/models/{entry.slug}"
    resource = RESOURCE.fullmatch(text)
    if resource is None:
        raise InvalidArgumentError(
            f"{field}: {text[:100]!r} is no model of the catalogue; write its resource name, "
            "accounts/{account}/models/{model}, as GET /v1/models has it",
            field=field,
        )
    return resource[1]


def catalog_entry_of(resource_name: str) -> CatalogEntry | None:
    """Return the catalogue's entry of a model, None for one that is not in it."""
    return load_catalog().find(resource_name)
