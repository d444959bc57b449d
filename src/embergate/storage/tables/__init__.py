"""The tables, a module for each area. Importing this package imports them all, so that `Base.metadata` is complete."""

from embergate.storage.tables import (
    accounts,
    audit,
    batch_jobs,
    credentials,
    credits,  # noqa: A004 - nobody quits by it
    datasets,
    files,
    jobs,
    models,
    notices,
    prices,
    usage,
)

__all__ = [
    "accounts",
    "audit",
    "batch_jobs",
    "credentials",
    "credits",
    "datasets",
    "files",
    "jobs",
    "models",
    "notices",
    "prices",
    "usage",
]
