"""The FOCUS export, on both databases: what its rows say, and that its sum is that of the bill and of the ledger."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from embergate.errors import InvalidRequestError
from embergate.gateway.accounts import service as accounts
from embergate.gateway.accounts import store as account_store
from embergate.gateway.accounts.schemas import Account
from embergate.gateway.billing.export import write_focus
from embergate.gateway.billing.focus import COLUMNS
from embergate.gateway.usage.charging import charge
from embergate.gateway.usage.queries import lines
from embergate.gateway.usage.records import EMBEDDING, Dimensions, UsageRecord
from embergate.storage.database import Database
from embergate.storage.tables.credits import BalanceRow

START = datetime(2026, 1, 30, tzinfo=UTC)
END = START + timedelta(days=5)
# Each example has an account of its own.
NUMBERS = itertools.count()


@dataclass(frozen=True)
class Use:
    """A call at some time of these days."""

    after: timedelta
    model: str
    prompt_tokens: int
    cached_tokens: int
    prices: tuple[int, int]
    is_batch: bool
    key: str
    team: str

    def record(self, account_id: str) -> UsageRecord:
        dimensions = Dimensions(
            account_id,
            EMBEDDING,
            f"accounts/fireworks/models/{self.model}",
            self.key,
            self.team,
            "",
            "",
            self.is_batch,
            *self.prices,
        )
        return UsageRecord(dimensions, "request", "admin", 1, self.prompt_tokens, self.cached_tokens)


@st.composite
def uses(draw: st.DrawFn) -> Use:
    prompt_tokens = draw(st.integers(1, 10**9))
    return Use(
        after=draw(st.timedeltas(timedelta(0), END - START - timedelta(microseconds=1))),
        model=draw(st.sampled_from(["small", "large"])),
        prompt_tokens=prompt_tokens,
        cached_tokens=draw(st.integers(0, prompt_tokens)),
        prices=draw(st.sampled_from([(8, 4), (16, 8), (900, 450), (0, 0), (2, 2)])),
        is_batch=draw(st.booleans()),
        key=draw(st.sampled_from(["key_1", "key_2"])),
        team=draw(st.sampled_from(["", "search", 'a "quoted", one'])),
    )


async def use_all(database: Database, used: list[Use]) -> str:
    account_id = f"acme-{next(NUMBERS)}"
    async with database.writing() as db:
        await accounts.add(db, account_id, Account(email=f"ops@{account_id}.example", display_name="Acme, Ltd"))
    for one in sorted(used, key=lambda use: use.after):
        records = [one.record(account_id)]
        await database.write(partial(charge, records=records, moment=START + one.after, known=frozenset()))
    return account_id


async def export(database: Database, account_id: str, path: Path) -> list[dict[str, str]]:
    async with database.reading() as db:
        num_rows = await write_focus(db, await account_store.get(db, account_id), (START, END), path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == num_rows
    return rows


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".focus.csv-*"))


@given(used=st.lists(uses(), max_size=12))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_sum_of_the_export_is_that_of_the_bill_and_of_the_ledger(
    database: Database, tmp_path: Path, used: list[Use]
) -> None:
    account_id = await use_all(database, used)
    rows = await export(database, account_id, tmp_path / "focus.csv")
    async with database.reading() as db:
        bill = await (await db.connection()).run_sync(partial(lines, account_id=account_id, start=START, end=END))
        spend = select(func.coalesce(func.sum(BalanceRow.amount_nanos), 0)).where(
            BalanceRow.ledger_account.startswith(f"accounts/{account_id}/spend/")
        )
        spent_nanos = int(await db.scalar(spend) or 0)
    for cost in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
        assert sum(Decimal(row[cost]) for row in rows) * 10**9 == spent_nanos
    assert sum(line.cost_nanos for line in bill) == spent_nanos
    assert sum(int(row["ConsumedQuantity"]) for row in rows) == sum(one.prompt_tokens for one in used)
    for row in rows:
        assert Decimal(row["ContractedUnitPrice"]) * Decimal(row["PricingQuantity"]) == Decimal(row["ContractedCost"])
    told_apart = [(row["ChargePeriodStart"], row["SkuPriceId"], row["Tags"]) for row in rows]
    assert len(rows) == len(set(told_apart))


async def test_row_says_what_was_used_when_by_whom_and_what_it_cost(database: Database, tmp_path: Path) -> None:
    one = Use(timedelta(hours=47), "small", 1_500_000, 500_000, (8, 4), True, "key_1", "search")
    account_id = await use_all(database, [one, one])
    computed, cached = await export(database, account_id, tmp_path / "focus.csv")
    assert tuple(computed) == COLUMNS
    sku = "accounts/fireworks/models/small/batch/input"
    assert json.loads(computed.pop("Tags")) == {"team": "search", "embergate/api-key-id": "key_1"}
    assert computed == {
        "BilledCost": "0.016",
        "BillingAccountId": f"accounts/{account_id}",
        "BillingAccountName": "Acme, Ltd",
        "BillingCurrency": "USD",
        "BillingPeriodEnd": "2026-02-01T00:00:00Z",
        "BillingPeriodStart": "2026-01-01T00:00:00Z",
        "ChargeCategory": "Usage",
        "ChargeClass": "",
        "ChargeDescription": f"Text Embedding, {sku}: 2000000 tokens at 0.008 USD a million",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": "2026-02-01T00:00:00Z",
        "ChargePeriodStart": "2026-01-31T00:00:00Z",
        "ConsumedQuantity": "2000000",
        "ConsumedUnit": "Tokens",
        "ContractedCost": "0.016",
        "ContractedUnitPrice": "0.008",
        "EffectiveCost": "0.016",
        "InvoiceIssuerName": "Embergate",
        "ListCost": "0.016",
        "ListUnitPrice": "0.008",
        "PricingCategory": "Standard",
        "PricingQuantity": "2",
        "PricingUnit": "1000000 Tokens",
        "ProviderName": "Embergate",
        "PublisherName": "Embergate",
        "RegionId": "",
        "ResourceId": "accounts/fireworks/models/small",
        "ResourceName": "small",
        "ResourceType": "Model",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Text Embedding",
        "ServiceSubcategory": "Machine Learning",
        "SkuId": sku,
        "SkuPriceId": f"{sku}/0.008",
    }
    assert (cached["SkuId"], cached["BilledCost"]) == ("accounts/fireworks/models/small/batch/cached-input", "0.004")


async def test_failed_export_leaves_the_file_as_it_was(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = await use_all(database, [])
    path = tmp_path / "focus.csv"
    assert await export(database, account_id, path) == []
    before = path.read_text()
    assert before == ",".join(COLUMNS) + "\n"

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(InvalidRequestError, match="cannot be written: No space"):
        await export(database, account_id, path)
    assert path.read_text() == before
    assert leftovers(tmp_path) == []
    with pytest.raises(InvalidRequestError, match="No such file"):
        await export(database, account_id, tmp_path / "nowhere" / "focus.csv")
