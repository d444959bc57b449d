"""The quotas that there are, and the platform's defaults of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from embergate.aip.scalars import MAX_INT64

# How the API shows that there is no limit.
NO_LIMIT: Final = MAX_INT64
MONTHLY_SPEND: Final = "monthly-spend-usd"
REQUESTS: Final = "serverless-requests-per-minute"
PROMPT_TOKENS: Final = "serverless-prompt-tokens-per-minute"
CONCURRENT_REQUESTS: Final = "concurrent-requests"
BATCH_JOBS: Final = "batch-inference-jobs"


class Scope(enum.StrEnum):
    """What each window of a quota is for: the account, or each model or key of it. The value ends the quota's id."""

    ACCOUNT = ""
    MODEL = "-per-model"
    KEY = "-per-key"


@dataclass(frozen=True, slots=True)
class MinuteQuota:
    """So many requests or prompt tokens in any minute. `unit` is what one of them is called."""

    counted: str
    scope: Scope
    unit: str

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.counted + self.scope


REQUEST_QUOTAS: Final = tuple(MinuteQuota(REQUESTS, scope, "requests") for scope in Scope)
TOKEN_QUOTAS: Final = tuple(MinuteQuota(PROMPT_TOKENS, scope, "prompt tokens") for scope in Scope)
MINUTE_QUOTAS: Final = {quota.id: quota for quota in (*REQUEST_QUOTAS, *TOKEN_QUOTAS)}
KNOWN: Final = (BATCH_JOBS, CONCURRENT_REQUESTS, MONTHLY_SPEND, *sorted(MINUTE_QUOTAS))


class QuotaDefaults:
    """What counts for accounts that nobody gave another quota; without any, nothing is limited."""

    def __init__(self, values: Mapping[str, int] | None = None) -> None:
        """Take the quotas by id; 0 is no limit. Those that are left out have none either."""
        self._values = {id_: (values or {}).get(id_) or NO_LIMIT for id_ in KNOWN}

    def __getitem__(self, quota_id: str) -> int:
        """Return a quota's default; `NO_LIMIT` if there is none."""
        return self._values[quota_id]
