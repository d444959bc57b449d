"""Money in real processes: a server warns by webhook, and remembers what it has to tell over a kill."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.server import DEADLINE_S, Server
from tests.e2e.test_operator import Operator
from tests.listener import SECRET, Listener


def wait_for_message(listener: Listener, num: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while len(listener.seen) < num:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_warning_is_sent_even_if_the_server_is_killed_before_it_was_taken(data_dir: Path, tiny_model: str) -> None:
    with Listener() as listener:
        settings = {"webhook_url": listener.url, "webhook_secret": SECRET}
        operator = Operator.of(data_dir, **settings)
        listener.status = 503
        with Server(data_dir, self_check="false", models=tiny_model, **settings) as server:
            server.ready()
            operator.run("accounts", "set", "default", "--warn-at", "0.000000001")
            with server.client() as http:
                model = http.get("/v1/models").json()["data"][0]["id"]
                assert http.post("/v1/embeddings", json={"model": model, "input": "hello"}).status_code == 200
            wait_for_message(listener, 1)
            assert any("monthly_spend_warning" in line for line in server.lines)
            server.process.kill()
        listener.status = 200
        with Server(data_dir, self_check="false", models=tiny_model, **settings):
            wait_for_message(listener, 2)
    first, second = listener.messages()[:2]
    assert first == second
    assert (first["type"], first["account"]) == ("account.monthly_spend_warning", "accounts/default")


def test_webhook_without_a_secret_stops_the_start(data_dir: Path) -> None:
    operator = Operator.of(data_dir, webhook_url="https://hooks.example.org/")
    message = operator.refused("accounts", "create", "acme", "--email", "ops@acme.example")
    assert "EMBERGATE_WEBHOOK_SECRET must be set as well" in message


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_bill_is_exported_whole(data_dir: Path, tmp_path: Path, tiny_model: str) -> None:
    operator = Operator.of(data_dir)
    output = tmp_path / "focus.csv"
    with Server(data_dir, self_check="false", models=tiny_model) as server:
        server.ready()
        with server.client() as http:
            model = http.get("/v1/models").json()["data"][0]["id"]
            headers = {"fireworks-annotations": "team=search"}
            answer = http.post("/v1/embeddings", json={"model": model, "input": "hello"}, headers=headers)
            assert answer.status_code == 200
        days = ("--start", "2020-01-01", "--end", "2126-01-01")
        assert operator.json("billing", "export", "default", *days, "--output", str(output))["rows"] == 1
    header, row = output.read_text().splitlines()
    assert header.startswith("BilledCost,BillingAccountId,")
    assert f"{answer.json()['usage']['total_tokens']},Tokens" in row
    assert output.stat().st_mode & 0o077 == 0
    bad = ("--start", "2026-01-02", "--end", "2026-01-01", "--output", str(output))
    assert "endTime must be of a later day" in operator.refused("billing", "export", "default", *bad, expect=2)
    (entry,) = operator.json("audit", "list", "default", "--filter", "method:ExportBilling")
    assert entry["isAdminAction"] is True
