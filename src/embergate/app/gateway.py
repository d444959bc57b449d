"""From settings to the gateway's parts: the database, the server's own secrets, the first account."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Final

from embergate.aip.paging import PageTokens
from embergate.errors import ConfigurationError
from embergate.gateway.authentication import DatabaseAuthenticator
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.policy_settings.policies import Policies
from embergate.gateway.sessions.tokens import AccessTokens
from embergate.gateway.startup import check_keyring, first_account
from embergate.ids import new_secret_bytes
from embergate.settings import Settings
from embergate.storage.database import Database
from embergate.storage.migrate import require_current, upgrade
from embergate.web.keyring import MIN_MASTER_BYTES, Keyring

DATABASE_FILE: Final = "embergate.db"
SECRET_FILE: Final = "secret.key"  # noqa: S105 - a file's name
VARIABLE: Final = "EMBERGATE_SECRET_KEYS"


def open_database(settings: Settings) -> Database:
    """Return the database that the settings name, the one in the data directory where they name none."""
    if settings.database_url is not None:
        return Database.open(settings.database_url.get_secret_value())
    _make_data_dir(settings.data_dir)
    return Database.open(f"sqlite:///{settings.data_dir / DATABASE_FILE}")


def open_keyring(settings: Settings) -> Keyring:
    """Return the keys that the server signs and encrypts with.

    Raises: ConfigurationError if a key is not 32 bytes or more in base64, or several servers would each make their own.
    """
    if settings.secret_keys is not None:
        texts = [text.strip() for text in settings.secret_keys.get_secret_value().split(",") if text.strip()]
        return Keyring([_decode(text, VARIABLE) for text in texts])
    if settings.database_url is not None and not settings.database_url.get_secret_value().startswith("sqlite"):
        raise ConfigurationError(
            f"{VARIABLE} must be set with a database that several servers may share; make one with "
            "`openssl rand -base64 32`, and give every server the same"
        )
    _make_data_dir(settings.data_dir)
    return Keyring([_secret_of(settings.data_dir / SECRET_FILE)])


def open_gateway(settings: Settings) -> GatewayDeps:
    """Return the gateway's parts; nothing is connected yet. Whoever opens them closes the database."""
    return gateway_over(open_database(settings), open_keyring(settings))


def gateway_over(database: Database, keyring: Keyring) -> GatewayDeps:
    """Return the gateway's parts over a database and the secrets that belong to it."""
    authenticator = DatabaseAuthenticator(database, keyring, AccessTokens(keyring))
    return GatewayDeps(database, keyring, PageTokens(keyring.keys("page-token")), authenticator, Policies(database))


async def prepare_gateway(settings: Settings) -> str | None:
    """Bring the embedded database up to date, or check another; make the first account where there is none.

    Returns the first API key if it was made just now: it is shown once, and known to nobody after.
    Raises: ConfigurationError if the database is not migrated, is newer, or belongs to another secret.
    """
    gateway = open_gateway(settings)
    try:
        if settings.database_url is None:
            await upgrade(gateway.database)
        else:
            await require_current(gateway.database)
        given = settings.bootstrap_api_key
        async with gateway.database.writing() as db:
            await check_keyring(db, gateway.keyring)
            key = given.get_secret_value() if given is not None else None
            return await first_account(db, gateway.keyring, settings.bootstrap_account, key)
    finally:
        await gateway.database.close()


def _make_data_dir(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"EMBERGATE_DATA_DIR: {path} cannot be used: {error.strerror}") from error


def _secret_of(path: Path) -> bytes:
    """Return the secret in the file, which is made, for its owner's eyes only, where there is none."""
    try:
        if not path.exists():
            made = path.with_suffix(".new")
            made.touch(mode=0o600)
            made.write_text(base64.b64encode(new_secret_bytes()).decode() + "\n")
            made.rename(path)
        return _decode(path.read_text().strip(), str(path))
    except OSError as error:
        raise ConfigurationError(f"EMBERGATE_DATA_DIR: {path} cannot be used: {error.strerror}") from error


def _decode(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) < MIN_MASTER_BYTES:
        raise ConfigurationError(
            f"{where}: a secret key is at least {MIN_MASTER_BYTES} random bytes in base64, as `openssl rand -base64 32` prints"
        )
    return key
