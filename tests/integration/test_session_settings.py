"""From the settings of sessions to their rules and their provider."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from embergate.app.gateway import oidc_client, session_rules
from embergate.errors import ConfigurationError
from embergate.gateway.sessions.oidc_client import OidcClient
from embergate.gateway.sessions.rules import SessionRules
from embergate.settings import Settings

ISSUER = "https://login.example/realm"
REDIRECT = "https://embeddings.example/v1/auth/oidc/callback"
GIVEN: dict[str, Any] = {"oidc_issuer": ISSUER, "oidc_client_id": "embergate", "oidc_redirect_url": REDIRECT}


def test_defaults_of_the_settings_are_those_of_the_rules() -> None:
    assert session_rules(Settings()) == SessionRules()


def test_settings_reach_the_rules() -> None:
    settings = Settings(
        access_token_lifetime_s=60,
        session_lifetime_s=3600,
        refresh_leeway_s=0,
        signing_key_age_s=7200,
        logins_per_address=5,
        logins_per_client=6,
    )
    assert session_rules(settings) == SessionRules(
        access_lifetime=timedelta(minutes=1),
        session_lifetime=timedelta(hours=1),
        refresh_leeway=timedelta(0),
        signing_key_age=timedelta(hours=2),
        attempts_per_address=5,
        attempts_per_client=6,
    )


def test_no_provider_is_set_by_default() -> None:
    assert oidc_client(Settings()) is None


@pytest.mark.parametrize("secret", [None, "the client's secret"])
def test_provider_is_what_the_settings_say_and_shows_no_secret(secret: str | None) -> None:
    client = oidc_client(Settings(**GIVEN, oidc_client_secret=secret))
    assert client == OidcClient(ISSUER, "embergate", REDIRECT, secret or "")
    assert "secret" not in repr(client).replace("client_secret", "")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"oidc_issuer": ""}, "EMBERGATE_OIDC_ISSUER must be set as well"),
        ({"oidc_client_id": ""}, "EMBERGATE_OIDC_CLIENT_ID must be set as well"),
        ({"oidc_redirect_url": ""}, "EMBERGATE_OIDC_REDIRECT_URL must be set as well"),
        ({"oidc_issuer": "http://login.example"}, "EMBERGATE_OIDC_ISSUER must begin with https://"),
        ({"oidc_issuer": "http://localhost.example/"}, "EMBERGATE_OIDC_ISSUER must begin with https://"),
        ({"oidc_issuer": "login.example"}, "EMBERGATE_OIDC_ISSUER must begin with https://"),
        ({"oidc_redirect_url": "http://embeddings.example/"}, "EMBERGATE_OIDC_REDIRECT_URL must begin with https://"),
    ],
)
def test_half_a_provider_stops_the_start(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        oidc_client(Settings(**(GIVEN | changes)))
    assert refused.value.message.startswith(says)


def test_secret_alone_is_half_a_provider_too() -> None:
    with pytest.raises(ConfigurationError):
        oidc_client(Settings(oidc_client_secret="a secret"))


@pytest.mark.parametrize("issuer", ["http://localhost:9000", "http://127.0.0.1:9000/realm", "http://[::1]/"])
def test_provider_on_this_machine_needs_no_https(issuer: str) -> None:
    assert oidc_client(Settings(**(GIVEN | {"oidc_issuer": issuer}))) is not None
