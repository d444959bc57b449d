"""The tables of usage, and how a record or a sum is joined to its dimensions."""

from __future__ import annotations

from typing import Final

from embergate.storage.rows import table_of
from embergate.storage.tables.usage import UsageDimensionsRow, UsageRecordRow, UsageSlotRow

DIMENSIONS: Final = table_of(UsageDimensionsRow)
RECORDS: Final = table_of(UsageRecordRow)
SLOTS: Final = table_of(UsageSlotRow)
DIMENSIONS_OF_RECORD: Final = (RECORDS.c.account_id == DIMENSIONS.c.account_id) & (
    RECORDS.c.dimensions_id == DIMENSIONS.c.id
)
DIMENSIONS_OF_SLOT: Final = (SLOTS.c.account_id == DIMENSIONS.c.account_id) & (SLOTS.c.dimensions_id == DIMENSIONS.c.id)
