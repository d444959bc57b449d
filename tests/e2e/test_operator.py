"""The operator's commands as processes: on the database, beside a running server, and through its API."""

from __future__ import annotations

import base64
import io
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from embergate.cli.main import main
from tests.e2e.server import Server

DEADLINE_S = 30.0


@dataclass(frozen=True)
class Operator:
    """Runs commands with settings of its own, each in a process, or in this one, which is much faster."""

    environment: dict[str, str]
    in_process: bool = True

    @classmethod
    def of(cls, data_dir: Path, **settings: str) -> Operator:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("EMBERGATE_")}
        given = {f"EMBERGATE_{name.upper()}": value for name, value in {"data_dir": str(data_dir), **settings}.items()}
        return cls({**inherited, **given})

    def run(self, *arguments: str, expect: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "embergate.cli.main", *arguments]
        if self.in_process:
            done = self._run_here(command, arguments, stdin)
        else:
            done = subprocess.run(
                command, env=self.environment, input=stdin, capture_output=True, text=True, timeout=120
            )
        assert done.returncode == expect, (done.stdout, done.stderr)
        return done

    def _run_here(self, command: list[str], arguments: tuple[str, ...], stdin: str) -> subprocess.CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(os, "environ", self.environment)
            patch.setattr(sys, "argv", ["embergate", *arguments])
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            with pytest.raises(SystemExit) as ended:
                main()
        code = ended.value.code
        return subprocess.CompletedProcess(command, int(code or 0), out.getvalue(), err.getvalue())

    def json(self, *arguments: str, expect: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", expect=expect).stdout)

    def refused(self, *arguments: str, expect: int = 1, stdin: str = "") -> str:
        """Run what cannot be done; return the one line that says why."""
        done = self.run(*arguments, expect=expect, stdin=stdin)
        (line,) = done.stderr.strip().splitlines()
        assert done.stdout == ""
        return line


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operated")


@pytest.fixture(scope="module")
def operator(data_dir: Path) -> Operator:
    return Operator.of(data_dir)


@pytest.fixture(scope="module")
def shell(operator: Operator) -> Operator:
    """The same in processes: the main paths run as they do in a shell."""
    return replace(operator, in_process=False)


@pytest.fixture(scope="module")
def acme_key(shell: Operator) -> str:
    """The key of the admin of an account that was made before any server ran."""
    made = shell.json("accounts", "create", "acme", "--email", "ops@acme.example", "--display-name", "Acme")
    assert made["account"]["name"] == "accounts/acme"
    assert (made["account"]["state"], made["account"]["suspendState"]) == ("READY", "UNSUSPENDED")
    assert (made["admin"]["name"], made["admin"]["role"]) == ("accounts/acme/users/admin", "admin")
    assert made["apiKey"]["email"] == "ops@acme.example"
    key: str = made["apiKey"]["key"]
    return key


@pytest.fixture(scope="module")
def server(acme_key: str, data_dir: Path, tiny_model: str) -> Iterator[Server]:
    """A server on the operator's database; it makes no account, since there is one."""
    with Server(data_dir, key=None, self_check="false", models=tiny_model) as started:
        started.key = acme_key
        yield started


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


def redeem(http: httpx2.Client, code: str) -> httpx2.Response:
    return http.post("/v1/creditCodes:redeem", json={"code": code, "name": "accounts/acme"})


def wait_for_status(http: httpx2.Client, key: str, status: int) -> None:
    """Wait until the server answers a key like this; it remembers a caller for a second."""
    deadline = time.monotonic() + DEADLINE_S
    while http.get("/v1/accounts/acme", headers={"authorization": f"Bearer {key}"}).status_code != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_a_database_only_an_account_makes_one(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    operator = Operator.of(empty)
    assert "embergate accounts create" in replace(operator, in_process=False).refused("accounts", "list")
    assert "embergate accounts create" in operator.refused("credit-codes", "create", "--code", "A", "--amount", "1")
    assert not empty.exists()


def test_account_made_by_command_is_there_over_http(http: httpx2.Client, operator: Operator) -> None:
    accounts = http.get("/v1/accounts").json()["accounts"]
    shown = operator.json("accounts", "show", "acme")
    money = {name: shown.pop(name) for name in ("billing", "credit", "spentThisMonth", "monthlyLimit")}
    assert accounts == [shown]
    assert (money["billing"], money["monthlyLimit"]) == ("POSTPAID", None)
    assert "accounts/acme" in [account["name"] for account in operator.json("accounts", "list")]


def test_account_that_cannot_be_made_leaves_nothing(acme_key: str, operator: Operator) -> None:
    create = ("accounts", "create")
    assert "already" in operator.refused(*create, "acme", "--email", "a@b.example")
    assert "accountId" in operator.refused(*create, "No", "--email", "a@b.example", expect=2)
    assert "address" in operator.refused(*create, "half", "--email", "a@b.example", "--admin-email", "no", expect=2)
    assert "displayName" in operator.refused(*create, "half", "--email", "a@b.c", "--display-name", "x" * 64, expect=2)
    assert "resource not found" in operator.refused("accounts", "show", "half")


def test_account_may_be_made_without_a_key_and_is_said_in_words(acme_key: str, operator: Operator) -> None:
    made = operator.run("accounts", "create", "keyless", "--email", "a@b.example", "--admin-id", "ada", "--no-key")
    assert made.stdout == "accounts/keyless is made; its admin is accounts/keyless/users/ada.\n"
    assert operator.json("keys", "list", "keyless", "ada") == []


def test_code_made_by_command_is_redeemed_over_http(http: httpx2.Client, operator: Operator, shell: Operator) -> None:
    made = shell.json("credit-codes", "create", "--code", "spring-26", "--amount", "12.50", "--max-redemptions", "3")
    amount = {"currencyCode": "USD", "units": "12", "nanos": 500_000_000}
    assert (made["code"], made["amount"], made["maxRedemptions"], made["enabled"]) == ("SPRING-26", amount, 3, True)
    answer = redeem(http, "Spring-26")
    assert (answer.status_code, answer.json()) == (200, {"amount": amount})
    assert redeem(http, "SPRING-26").json()["code"] == 6
    assert shell.json("credits", "balance", "acme") == [{"credit": amount}]
    (redemption,) = operator.json("credits", "redemptions", "acme")
    assert redemption == http.get("/v1/accounts/acme/creditRedemptions").json()["creditRedemptions"][0]
    (listed,) = operator.json("credit-codes", "list", "--filter", 'code="SPRING-26"')
    assert listed == {**made, "numRedemptions": 1}
    assert "12.50 USD" in operator.run("credits", "balance", "acme").stdout
    assert operator.json("credits", "check") == []


def test_quota_set_by_command_is_what_the_server_has(http: httpx2.Client, operator: Operator, shell: Operator) -> None:
    name = "serverless-requests-per-minute"
    changed = shell.json("quotas", "set", "acme", name, "--value", "60", "--max", "600")
    assert (changed["value"], changed["maxValue"]) == ("60", "600")
    served = http.get(f"/v1/accounts/acme/quotas/{name}").json()
    assert (served["value"], served["maxValue"], served["updateTime"]) == ("60", "600", changed["updateTime"])
    (listed,) = operator.json("quotas", "list", "acme", "--filter", "value < 100")
    assert listed == changed
    assert "none" in operator.run("quotas", "set", "acme", name, "--value", "none", "--max", "none").stdout
    assert operator.json("quotas", "list", "acme", "--filter", "value < 100") == []
    assert "--value: expected a whole number" in operator.refused(
        "quotas", "set", "acme", name, "--value", "1e3", expect=2
    )
    assert "give --value" in operator.refused("quotas", "set", "acme", name, expect=2)
    assert "more than the account's maxValue" in operator.refused(
        "quotas", "set", "acme", name, "--value", "2", "--max", "1", expect=2
    )
    assert "there is no quota" in operator.refused("quotas", "set", "acme", "h100", "--value", "1")


def test_disabled_code_is_refused_over_http(http: httpx2.Client, operator: Operator) -> None:
    operator.run("credit-codes", "create", "--code", "GONE", "--amount", "1", "--currency", "EUR")
    assert operator.json("credit-codes", "disable", "gone")["enabled"] is False
    assert redeem(http, "GONE").json()["code"] == 9
    assert "no such credit code" in operator.refused("credit-codes", "disable", "NEVER")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--amount", "1e3"], "amount"),
        (["--amount", "0.0000000001"], "amount"),
        (["--amount", "0"], "more than nothing"),
        (["--amount", "1", "--currency", "dollars"], "currencyCode"),
        (["--amount", "1", "--starts", "2026-02-01", "--ends", "2026-01-01"], "endTime"),
        (["--amount", "1", "--ends", "tomorrow"], "--ends"),
    ],
)
def test_bad_code_is_a_usage_error(acme_key: str, operator: Operator, options: list[str], says: str) -> None:
    assert says in operator.refused("credit-codes", "create", "--code", "BAD", *options, expect=2)


def test_users_are_made_listed_and_given_roles(http: httpx2.Client, operator: Operator) -> None:
    made = operator.json("users", "create", "acme", "--email", "Ada.L@acme.example", "--display-name", "\x1b[31mAda")
    assert (made["name"], made["role"]) == ("accounts/acme/users/ada-l", "user")
    assert operator.json("users", "set-role", "acme", "ada-l", "contributor")["role"] == "contributor"
    assert http.get("/v1/accounts/acme/users/ada-l").json()["role"] == "contributor"
    assert [user["name"] for user in operator.json("users", "list", "acme", "--filter", "role=contributor")] == [
        "accounts/acme/users/ada-l"
    ]
    shown = operator.run("users", "list", "acme").stdout
    assert "\\x1b[31mAda" in shown
    assert "\x1b" not in shown
    assert "there is no role" in operator.refused("users", "set-role", "acme", "ada-l", "king", expect=2)
    assert "last admin" in operator.refused("users", "set-role", "acme", "admin", "user")


def test_operator_is_made_on_the_database(http: httpx2.Client, operator: Operator) -> None:
    operator.run("accounts", "create", "platform", "--email", "a@platform.example")
    made = operator.json("users", "create", "platform", "--email", "root@platform.example", "--operator")
    key = operator.json("keys", "create", "platform", made["name"].rsplit("/", 1)[1])["key"]
    wait_for_status(http, key, 200)
    path, foreign = "/v1/accounts/acme/users", {"authorization": f"Bearer {key}"}
    assert http.get(path, headers=foreign).status_code == 200
    listed = {user["name"]: user["operator"] for user in operator.json("users", "list", "platform")}
    assert listed == {"accounts/platform/users/admin": False, "accounts/platform/users/root": True}
    refused = operator.refused("users", "set-role", "platform", "root", "inference-user")
    assert "embergate users set-operator platform root --no-operator" in refused
    assert operator.json("users", "set-operator", "platform", "root", "--no-operator")["operator"] is False
    (entry,) = operator.json("audit", "list", "platform", "--filter", "method:SetOperator")
    assert (entry["resource"], entry["payload"]["is_operator"]) == (made["name"], False)
    wait_for_status(http, key, 403)
    operator.run("users", "set-role", "platform", "root", "inference-user")
    assert "Missing option" in operator.run("users", "set-operator", "platform", "root", expect=2).stderr


def test_keys_are_made_used_rotated_and_deleted(http: httpx2.Client, operator: Operator, shell: Operator) -> None:
    operator.run("users", "create", "acme", "--email", "robot@acme.example", "--id", "robot")
    made = shell.json("keys", "create", "acme", "robot", "--name", "nightly", "--expires", "2099-01-01")
    assert (made["displayName"], made["expireTime"]) == ("nightly", "2099-01-01T00:00:00Z")
    wait_for_status(http, made["key"], 200)
    rotated = operator.json("keys", "rotate", "acme", "robot", made["keyId"], "--grace-seconds", "0")
    wait_for_status(http, rotated["key"], 200)
    wait_for_status(http, made["key"], 401)
    assert "is deleted" in operator.run("keys", "delete", "acme", "robot", rotated["keyId"]).stdout
    wait_for_status(http, rotated["key"], 401)
    assert [key["keyId"] for key in operator.json("keys", "list", "acme", "robot")] == [made["keyId"]]
    assert "in the past" in operator.refused("keys", "create", "acme", "robot", "--expires", "2020-01-01", expect=2)
    assert "resource not found" in operator.refused("keys", "delete", "acme", "robot", "key_none")


def test_password_from_standard_input_opens_a_session_and_is_nowhere_written_down(
    http: httpx2.Client, operator: Operator, shell: Operator, data_dir: Path
) -> None:
    password = "correct horse battery staple"
    set_password = ("users", "set-password", "acme", "admin", "--password-stdin")
    assert "new password" in shell.run(*set_password, stdin=password + "\n").stdout
    body = {"email": "ops@acme.example", "password": password, "account": "acme"}
    opened = http.post("/v1/auth/login", json=body)
    assert opened.status_code == 200
    assert "no session" in operator.run("users", "end-sessions", "acme", "admin").stdout
    refreshed = http.post("/v1/auth/refresh", json={"refreshToken": opened.json()["refreshToken"]})
    assert refreshed.status_code == 401
    assert "12 to 1024" in operator.refused(*set_password, stdin="short\n", expect=2)
    assert "--password-stdin" in operator.refused("users", "set-password", "acme", "admin", expect=2)
    (entry,) = operator.json("audit", "list", "acme", "--filter", "method:SetPassword")
    assert (entry["resource"], entry["isAdminAction"]) == ("accounts/acme/users/admin", True)
    for path in data_dir.glob("embergate.db*"):
        assert password.encode() not in path.read_bytes()


def test_blocked_account_embeds_nothing_until_it_is_unblocked(
    http: httpx2.Client, operator: Operator, server: Server
) -> None:
    server.ready()
    model = http.get("/v1/models").json()["data"][0]["id"]

    def embed() -> int:
        time.sleep(1.0)  # within a second
        return http.post("/v1/embeddings", json={"model": model, "input": "hello"}).status_code

    assert "not blocked" in operator.refused("accounts", "unblock", "acme")
    assert embed() == 200
    operator.run("accounts", "block", "acme")
    assert http.get("/v1/accounts/acme").json()["suspendState"] == "BLOCKED_BY_ABUSE_RULE"
    assert embed() == 412
    assert operator.json("accounts", "unblock", "acme")["suspendState"] == "UNSUSPENDED"
    assert embed() == 200


def test_prepaid_account_is_made_without_credit_and_can_be_made_another(operator: Operator) -> None:
    made = operator.json("accounts", "create", "saver", "--email", "ops@saver.example", "--prepaid")
    assert made["account"]["suspendState"] == "CREDIT_DEPLETED"
    shown = operator.json("accounts", "show", "saver")
    assert (shown["billing"], shown["suspendState"], shown["monthlyLimit"]) == ("PREPAID", "CREDIT_DEPLETED", None)
    assert shown["credit"] == shown["spentThisMonth"] == {"currencyCode": "USD", "units": "0", "nanos": 0}
    changed = operator.json("accounts", "set", "saver", "--billing", "postpaid", "--warn-at", "50", "--warn-at", "7.5")
    assert (changed["billing"], changed["suspendState"]) == ("POSTPAID", "UNSUSPENDED")
    amounts = changed["notificationSettings"]["monthlySpendThresholds"]
    assert [(amount["units"], amount["nanos"]) for amount in amounts] == [("50", 0), ("7", 500_000_000)]
    methods = [entry["method"].rpartition("/")[2] for entry in operator.json("audit", "list", "saver")]
    assert methods[:2] == ["UnsuspendAccount", "UpdateAccount"]
    assert operator.json("accounts", "set", "saver", "--no-warnings")["notificationSettings"] == {
        "monthlySpendThresholds": []
    }
    assert operator.json("accounts", "set", "saver", "--billing", "prepaid")["suspendState"] == "CREDIT_DEPLETED"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to change"),
        (("--warn-at", "5", "--no-warnings"), "exclude each other"),
        (("--warn-at", "0"), "above zero"),
        (("--warn-at", "5 dollars"), "--warn-at: expected a number"),
    ],
)
@pytest.mark.usefixtures("acme_key")
def test_bad_change_of_an_account_is_told(operator: Operator, arguments: tuple[str, ...], message: str) -> None:
    assert message in operator.refused("accounts", "set", "acme", *arguments, expect=2)


@pytest.mark.usefixtures("acme_key")
def test_prices_are_set_listed_and_unset(operator: Operator) -> None:
    model = "BAAI/bge-base-en-v1.5"
    made = operator.json("prices", "set", model, "0.02")
    assert (made["model"], made["inForce"]) == ("accounts/fireworks/models/bge-base-en-v1p5", True)
    assert made["pricePerMillion"] == {"currencyCode": "USD", "units": "0", "nanos": 20_000_000}
    operator.run("prices", "set", model, "0.3", "--from", "2126-01-01")
    listed = operator.json("prices", "list", "--model", model)
    assert listed["classPricePerMillion"]["nanos"] == 8_000_000
    assert [price["inForce"] for price in listed["prices"]] == [False, True]
    assert "(its size)" in operator.run("prices", "list", "--model", model).stdout
    assert operator.json("prices", "unset", model)["pricePerMillion"] is None
    assert len(operator.json("prices", "list")) == 3
    methods = [entry["method"].rpartition("/")[2] for entry in operator.json("audit", "list")]
    assert methods[:3] == ["UnsetPrice", "SetPrice", "SetPrice"]
    assert "a multiple of 0.002 USD" in operator.refused("prices", "set", model, "0.003", expect=2)
    assert "no model of the catalogue" in operator.refused("prices", "set", "org/name", "0.02", expect=2)


@pytest.mark.usefixtures("acme_key")
def test_pricing_plans_are_made_listed_and_ended(operator: Operator) -> None:
    prices = ("--price", "BAAI/bge-base-en-v1.5=0.004", "--cached-price", "BAAI/bge-base-en-v1.5=0.002")
    made = operator.json("pricing-plans", "create", "acme", "cheap", *prices, "--ends", "2126-01-01")
    assert made["name"] == "accounts/acme/pricingPlans/cheap"
    (config,) = made["tokenConfig"]
    assert config["baseModelName"] == "accounts/fireworks/models/bge-base-en-v1p5"
    assert config["cachedInputTokenPricePerMillion"]["nanos"] == 2_000_000
    assert operator.json("pricing-plans", "list", "acme") == [made]
    ended = operator.json("pricing-plans", "end", "acme", "cheap")
    assert ended["endTime"] < made["endTime"]
    hours = operator.json("pricing-plans", "create", "acme", "hours", "--accelerator-price", "NVIDIA_L4_24GB=7")
    assert hours["acceleratorHourConfig"][0]["acceleratorHourPrice"]["units"] == "7"
    for arguments, message in (
        ((), "give either --price or --accelerator-price"),
        (("--price", "bge"), "expected NAME=USD"),
        (("--price", "BAAI/bge-base-en-v1.5=1", "--cached-price", "x=1"), "x has no --price"),
    ):
        assert message in operator.refused("pricing-plans", "create", "acme", "bad", *arguments, expect=2)


def test_commands_on_a_server_do_what_they_do_on_its_database(server: Server, operator: Operator) -> None:
    remote = Operator({**operator.environment, "EMBERGATE_SERVER": server.base, "EMBERGATE_API_KEY": server.key})
    on_database = operator.json("users", "list", "acme")
    for user in on_database:
        assert user.pop("operator") is False  # the API does not tell
    assert replace(remote, in_process=False).json("users", "list", "acme") == on_database
    by_option = ("users", "list", "acme", "--server", server.base, "--api-key", server.key)
    assert operator.json(*by_option) == remote.json("users", "list", "acme")
    assert [account["name"] for account in remote.json("accounts", "list")] == ["accounts/acme"]
    made = remote.json("keys", "create", "acme", "admin")
    entries = remote.json("audit", "list", "acme", "--filter", f"method:CreateApiKey AND resource:{made['keyId']}")
    assert [(entry["principal"], entry["isAdminAction"]) for entry in entries] == [("ops@acme.example", False)]
    assert remote.json("keys", "delete", "acme", "admin", made["keyId"]) == {}


@pytest.mark.parametrize(
    "command",
    [
        ("accounts", "create", "x", "--email", "a@b.example"),
        ("accounts", "block", "acme"),
        ("accounts", "set", "acme", "--no-warnings"),
        ("users", "create", "acme", "--email", "a@b.example", "--operator"),
        ("users", "set-operator", "acme", "admin", "--operator"),
        ("users", "set-password", "acme", "admin", "--password-stdin"),
        ("credit-codes", "list"),
        ("credits", "balance", "acme"),
        ("audit", "list"),
        ("audit", "verify"),
    ],
    ids=" ".join,
)
def test_what_the_api_does_not_offer_says_to_run_on_the_database(operator: Operator, command: tuple[str, ...]) -> None:
    refused = operator.refused(*command, "--server", "http://127.0.0.1:1", "--api-key", "x" * 20, expect=2)
    assert "run it on the database" in refused


def test_server_that_cannot_be_used_is_one_line(server: Server, operator: Operator) -> None:
    listing = ("users", "list", "acme", "--server")
    assert "EMBERGATE_API_KEY" in operator.refused(*listing, server.base)
    assert "not valid" in operator.refused(*listing, server.base, "--api-key", "eg_of-nobody-at-all")
    assert "cannot be reached" in operator.refused(*listing, "http://127.0.0.1:1", "--api-key", "x")
    for url in ("127.0.0.1", "ftp://127.0.0.1", "https://", "http://[::1"):
        assert "expected a URL" in operator.refused(*listing, url, "--api-key", "x", expect=2)
    assert "no access" in operator.refused("users", "list", "other", "--server", server.base, "--api-key", server.key)


def test_acts_on_the_database_stand_in_the_trail_which_proves_itself(
    acme_key: str, operator: Operator, tmp_path: Path
) -> None:
    operator.run("users", "create", "acme", "--email", "eve@acme.example")
    (entry,) = operator.json("audit", "list", "acme", "--filter", "method:CreateUser AND resource:eve")
    assert entry["principal"].endswith("@cli")
    assert (entry["isAdminAction"], entry["apiKeyId"], entry["clientIp"]) == (True, "", "")
    assert entry["userAgent"].startswith("embergate-cli/")
    (made,) = operator.json("audit", "list", "--filter", 'resource="accounts/acme" AND status.code=OK')
    assert (made["method"], made["isAdminAction"]) == ("/gateway.Gateway/CreateAccount", True)
    reports = {report["account_id"]: report for report in operator.json("audit", "verify")}
    assert all(report["is_intact"] for report in reports.values())
    assert reports["acme"]["num_intact"] > 0
    copy = tmp_path / "copy"
    copy.mkdir()
    operator.run("backup", str(copy / "embergate.db"))
    (copy / "secret.key").write_bytes(Path(operator.environment["EMBERGATE_DATA_DIR"], "secret.key").read_bytes())
    database = sqlite3.connect(copy / "embergate.db")
    with database:
        database.execute("DROP TRIGGER audit_entries_refuse_update")
        database.execute("UPDATE audit_entries SET principal = 'nobody' WHERE account_id = 'acme' AND sequence = 1")
    database.close()
    (report,) = Operator.of(copy).json("audit", "verify", "acme", expect=1)
    assert (report["is_intact"], report["bad_sequence"]) == (False, 1)
    assert "acme" in Operator.of(copy).run("audit", "verify", expect=1).stdout
    assert "resource not found" in Operator.of(copy).refused("audit", "verify", "nobody")


def test_what_fails_on_the_database_stands_in_the_platforms_trail(acme_key: str, operator: Operator) -> None:
    operator.refused("users", "create", "no-such-account", "--email", "a@b.example")
    (entry,) = operator.json("audit", "list", "--filter", 'resource="accounts/no-such-account/users"')
    assert (entry["method"], entry["status"]["code"]) == ("/gateway.Gateway/CreateUser", "NOT_FOUND")
    reports = {report["account_id"] for report in operator.json("audit", "verify")}
    assert "no-such-account" not in reports


def test_other_secret_keys_are_noticed(acme_key: str, operator: Operator, data_dir: Path) -> None:
    other = Operator.of(data_dir, secret_keys=base64.b64encode(bytes(32)).decode())
    assert "another secret key" in other.refused("keys", "create", "acme", "admin")


def test_postgresql_is_worked_on_by_its_url(postgresql_url: str, tmp_path: Path) -> None:
    secret = base64.b64encode(bytes(range(32))).decode()
    operator = Operator.of(tmp_path, database_url=postgresql_url, secret_keys=secret)
    made = operator.json("accounts", "create", "acme", "--email", "ops@acme.example")
    assert [key["keyId"] for key in operator.json("keys", "list", "acme", "admin")] == [made["apiKey"]["keyId"]]
    operator.run("credit-codes", "create", "--code", "A", "--amount", "1", "--ends", "2099-01-01")
    assert [code["endTime"] for code in operator.json("credit-codes", "list")] == ["2099-01-01T00:00:00Z"]
    assert operator.json("credits", "check") == []
    assert all(report["is_intact"] for report in operator.json("audit", "verify"))
