"""Warnings of a month's spend, on both databases: once for each amount, in the trail, in the log and by webhook."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import func, select
from structlog.testing import capture_logs

from embergate.aip.message import parse_message
from embergate.app.operating import act
from embergate.clock import now
from embergate.errors import ConfigurationError
from embergate.gateway.accounts import service as accounts
from embergate.gateway.accounts.schemas import NotificationSettings
from embergate.gateway.money import NANOS_PER_UNIT
from embergate.gateway.upkeep import review_accounts
from embergate.gateway.usage.standing import Billing
from embergate.gateway.usage.watch import AccountWatch
from embergate.gateway.webhooks.delivery import deliver
from embergate.gateway.webhooks.webhook import Webhook
from embergate.storage.database import Database
from embergate.storage.tables.notices import WebhookDeliveryRow
from tests.integration.gateway.operating import gateway_of_operator
from tests.integration.gateway.platform import Platform, on_sqlite_only
from tests.integration.gateway.test_metering import PRICE_NANOS, call, demand, set_up
from tests.integration.gateway.test_suspension import limit_to, settled
from tests.listener import SECRET, Listener

# Of which one costs a cent.
CENT = NANOS_PER_UNIT // PRICE_NANOS // 100


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as made:
        yield made


@pytest.fixture
async def told(database: Database, listener: Listener) -> Any:
    """A platform whose warnings are sent to the listener."""
    made = Platform(database, webhook=Webhook(listener.url, SECRET))
    yield made
    await made.close()


async def warn_at(platform: Platform, *dollars: int) -> None:
    body = {"monthlySpendThresholds": [{"currencyCode": "USD", "units": str(amount)} for amount in dollars]}
    async with act(gateway_of_operator(platform), "UpdateAccount", "acme") as one:
        await accounts.change(one, notification_settings=parse_message(NotificationSettings, body))
    platform.gateway.meter.forget()


async def spend(platform: Platform, cents: int) -> None:
    assert await call(platform, demand(), cents * CENT) == "answered"
    await settled(platform)


async def warnings(platform: Platform, **query: str) -> list[int]:
    """Return the amounts of which the trail has a warning, in cents, in order."""
    key = await platform.add_key("acme", "admin")
    entries = await platform.trail(key, "acme", **query)
    amounts = [one["payload"]["threshold"] for one in entries if one["method"].endswith("/WarnOfMonthlySpend")]
    return sorted(int(amount["units"]) * 100 + amount["nanos"] // 10**7 for amount in amounts)


async def test_four_fifths_of_the_limit_are_warned_of_once(platform: Platform) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    await limit_to(platform, 10)
    await spend(platform, 799)
    assert await warnings(platform) == []
    with capture_logs() as logs:
        await spend(platform, 1)
    assert await warnings(platform) == [800]
    (line,) = [line for line in logs if line["event"] == "monthly_spend_warning"]
    assert (line["account"], line["log_level"]) == ("acme", "warning")
    assert "8.00 USD are spent" in line["message"]
    assert "of a monthly limit of 10.00 USD" in line["message"]
    await spend(platform, 50)
    await review_accounts(platform.gateway)
    assert await warnings(platform) == [800]
    await limit_to(platform, 20)  # of which four fifths are another amount
    await spend(platform, 750)
    assert await warnings(platform) == [800, 1600]


async def test_own_amounts_below_the_limit_are_warned_of(platform: Platform) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    await limit_to(platform, 10)
    await warn_at(platform, 2, 5, 8, 10, 50)
    await spend(platform, 500)  # two at once
    assert await warnings(platform) == [200, 500]
    await spend(platform, 500)
    assert await warnings(platform) == [200, 500, 800]


async def test_without_a_limit_only_own_amounts_are_warned_of_each_month(platform: Platform) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    with time_machine.travel(datetime.fromisoformat("2026-01-31T23:59:00+00:00"), tick=False) as clock:
        await warn_at(platform, 1)
        await spend(platform, 150)
        clock.move_to(datetime.fromisoformat("2026-02-01T00:00:00+00:00"))
        platform.gateway.meter.forget()
        await spend(platform, 50)
        assert await warnings(platform) == [100]
        await spend(platform, 50)
        clock.shift(1)
        assert await warnings(platform) == [100, 100]


async def test_amount_that_is_reached_when_it_is_set_is_warned_of_at_once(platform: Platform) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    await spend(platform, 150)
    await warn_at(platform, 1, 2)
    assert await warnings(platform) == [100]


async def test_upkeep_warns_where_a_process_died_before_it_did(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    await warn_at(platform, 1)
    with monkeypatch.context() as died:
        died.setattr(AccountWatch, "notice", lambda *_: None)
        await spend(platform, 150)
    assert await warnings(platform) == []
    await asyncio.gather(*(review_accounts(platform.gateway) for _ in range(5)))
    assert await warnings(platform) == [100]


async def send_messages(platform: Platform) -> int:
    return await deliver(platform.database, platform.gateway.webhook, platform.gateway.metrics.webhooks)


def counted(platform: Platform, name: str) -> float | None:
    return platform.gateway.metrics.registry.get_sample_value(f"embergate_webhook_{name}")


async def test_warning_is_sent_signed(told: Platform, listener: Listener) -> None:
    await set_up(told, billing=Billing.POSTPAID)
    await limit_to(told, 10)
    await spend(told, 850)
    await asyncio.gather(*(send_messages(told) for _ in range(3)))
    (message,) = listener.messages()
    usd = {"currencyCode": "USD", "nanos": 0}
    assert message == {
        "id": message["id"],
        "type": "account.monthly_spend_warning",
        "createTime": message["createTime"],
        "account": "accounts/acme",
        "month": f"{now():%Y-%m}",
        "threshold": {**usd, "units": "8"},
        "spend": {**usd, "units": "8", "nanos": 500_000_000},
        "monthlyLimit": {**usd, "units": "10"},
    }
    assert await send_messages(told) == 0
    assert await num_waiting(told) == 0
    assert counted(told, "delivered_messages_total") == 1


async def num_waiting(platform: Platform) -> int:
    async with platform.database.reading() as db:
        return int(await db.scalar(select(func.count()).select_from(WebhookDeliveryRow)) or 0)


@pytest.mark.parametrize("status", [500, 404, 301, 0])
async def test_message_that_is_not_taken_is_sent_again_later_until_it_is(
    told: Platform, listener: Listener, status: int
) -> None:
    await set_up(told, billing=Billing.POSTPAID)
    await warn_at(told, 1)
    await spend(told, 150)
    listener.status = status
    assert await send_messages(told) == 0
    assert await send_messages(told) == 0  # not yet
    assert len(listener.seen) == 1
    assert (counted(told, "failed_attempts_total"), counted(told, "waiting_messages")) == (1, 1)
    listener.status = 200
    with time_machine.travel(now() + timedelta(seconds=11)):
        assert await send_messages(told) == 1
    assert len({headers["webhook-id"] for headers, _ in listener.seen}) == 1
    assert await num_waiting(told) == 0


async def test_message_is_given_up_after_a_day(told: Platform, listener: Listener) -> None:
    await set_up(told, billing=Billing.POSTPAID)
    await warn_at(told, 1)
    await spend(told, 150)
    listener.status = 503
    started = now()
    num_before = -1
    for minutes in range(0, 24 * 60, 61):
        with time_machine.travel(started + timedelta(minutes=minutes)):
            await send_messages(told)
        assert len(listener.seen) > num_before
        num_before = len(listener.seen)
    with time_machine.travel(started + timedelta(hours=24, minutes=1)), capture_logs() as logs:
        await send_messages(told)
    assert [line["event"] for line in logs] == ["webhook_given_up"]
    assert (counted(told, "given_up_messages_total"), counted(told, "waiting_messages")) == (1, 0)
    assert await num_waiting(told) == 0


@on_sqlite_only
async def test_nothing_waits_where_there_is_nowhere_to_send_it(platform: Platform) -> None:
    await set_up(platform, billing=Billing.POSTPAID)
    await warn_at(platform, 1)
    await spend(platform, 150)
    assert await num_waiting(platform) == 0


@on_sqlite_only
async def test_listener_that_is_not_there_or_never_answers_holds_nobody_up(
    told: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embergate.gateway.webhooks.webhook.TOTAL_S", 0.2)
    gone = Webhook("http://127.0.0.1:9/", SECRET)
    assert await gone.send("msg_1", "{}") == "ConnectError"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert await Webhook(f"http://127.0.0.1:{port}/", SECRET).send("msg_1", "{}") == "TimeoutError"


@pytest.mark.parametrize(
    ("url", "secret", "message"),
    [
        ("http://hooks.example.org/", SECRET, "must begin with https://"),
        ("http://localhost:80@hooks.example.org/", SECRET, "must begin with https://"),
        ("http://127.0.0.1.example.org/", SECRET, "must begin with https://"),
        ("ftp://hooks.example.org/", SECRET, "must begin with https://"),
        ("https://", SECRET, "must begin with https://"),
        ("https://user:password@hooks.example.org/", SECRET, "no user and password"),
        ("https://hooks.example.org/", "short", "16 bytes or more"),
        ("https://hooks.example.org/", "whsec_!!!", "16 bytes or more"),
    ],
)
def test_webhook_that_cannot_be_is_refused(url: str, secret: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Webhook(url, secret)


@pytest.mark.parametrize(
    "url", ["https://hooks.example.org/a", "http://localhost:80/", "http://[::1]/", "http://127.0.0.2/"]
)
def test_webhook_over_https_or_to_this_machine_may_be(url: str) -> None:
    Webhook(url, SECRET)
    Webhook(url, "sixteen characters")
