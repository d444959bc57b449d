"""`AnnotationBounds`: how many different marks an account's calls may have, lest sums become as many as calls."""

from __future__ import annotations

from datetime import date
from typing import Final

import structlog

from embergate.clock import now
from embergate.web.metering import Annotations

MAX_A_DAY: Final = 1_000
OTHER: Final = Annotations("(other)", "(other)", "(other)")
# Stands for having said so.
OTHER_SEEN: Final = hash(OTHER)
NONE: Final = Annotations()
log: structlog.stdlib.BoundLogger = structlog.get_logger()


class AnnotationBounds:
    """Counts each account's combinations of a day, in this process alone."""

    def __init__(self) -> None:
        """Have seen none."""
        self._day = date.min
        # By account; of each combination its hash.
        self._seen: dict[str, set[int]] = {}

    def bound(self, account_id: str, annotations: Annotations) -> Annotations:
        """Return annotations as they are, or `OTHER` for a combination beyond the thousandth of a UTC day."""
        if annotations == NONE:
            return annotations
        if (today := now().date()) != self._day:
            self._day, self._seen = today, {}
        seen, combination = self._seen.setdefault(account_id, set()), hash(annotations)
        if combination in seen:
            return annotations
        if len(seen) >= MAX_A_DAY:
            if OTHER_SEEN not in seen:
                seen.add(OTHER_SEEN)
                log.warning("annotations_bounded", account=account_id, max_a_day=MAX_A_DAY)
            return OTHER
        seen.add(combination)
        return annotations
