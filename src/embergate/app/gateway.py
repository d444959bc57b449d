"""From settings to the gateway's parts: the database, the server's own secrets, the first account."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import tempfile
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry

from embergate.aip.paging import PageTokens
from embergate.app.objects import FileOptions, file_options, prepare_objects, signer_of
from embergate.app.uploaded_models import PoolOptions, import_rules, model_parts, pool_options
from embergate.errors import ConfigurationError
from embergate.gateway.authentication import DatabaseAuthenticator
from embergate.gateway.credits.service import MAX_GUESSES
from embergate.gateway.deps import GatewayDeps
from embergate.gateway.metrics import GatewayMetrics
from embergate.gateway.moving_window import MovingWindow
from embergate.gateway.policy_settings.policies import Policies
from embergate.gateway.quotas.known import KNOWN, QuotaDefaults
from embergate.gateway.sessions.attempts import LoginAttempts
from embergate.gateway.sessions.oidc_client import OidcClient
from embergate.gateway.sessions.parts import SessionParts
from embergate.gateway.sessions.passwords import Passwords
from embergate.gateway.sessions.rules import SessionRules
from embergate.gateway.sessions.tokens import AccessTokens
from embergate.gateway.startup import check_keyring, first_account
from embergate.gateway.usage.meter import AccountMeter
from embergate.gateway.usage.repeats import Repeats
from embergate.gateway.usage.suspension import Reviews
from embergate.gateway.usage.terms import TermsBook
from embergate.gateway.usage.watch import AccountWatch
from embergate.gateway.usage.writer import UsageWriter
from embergate.ids import new_secret_bytes
from embergate.settings import Settings
from embergate.storage import locks
from embergate.storage.database import Database
from embergate.storage.migrate import require_current, upgrade
from embergate.web.keyring import MIN_MASTER_BYTES, Keyring
from embergate.web.limits import Limiter
from embergate.web.memory_limits import MemoryLimiter
from embergate.web.redis_metrics import RedisMetrics

if TYPE_CHECKING:
    from embergate.gateway.sessions.oidc import OidcProvider
    from embergate.gateway.webhooks.webhook import Webhook

DATABASE_FILE: Final = "embergate.db"
SECRET_FILE: Final = "secret.key"  # noqa: S105 - a file's name
VARIABLE: Final = "EMBERGATE_SECRET_KEYS"
HTTPS_OR_LOOPBACK: Final = re.compile(r"https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/]")


def database_url(settings: Settings, *, is_made: bool = True) -> str:
    """Return where the database is: where the settings say, or a file in the data directory; both are made, if `is_made`.

    Raises: ConfigurationError if the data directory cannot be used.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    _make_data_dir(settings.data_dir)
    path = settings.data_dir.absolute() / DATABASE_FILE
    try:
        if is_made:
            path.touch(mode=0o600)  # SQLite would let everybody read it; its companions take the mode from it
    except OSError as error:
        raise ConfigurationError(f"EMBERGATE_DATA_DIR: {path} cannot be used: {error.strerror}") from error
    return f"sqlite:///{path}"


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


def open_gateway(settings: Settings, *, statement_timeout_s: float | None = None) -> GatewayDeps:
    """Return the gateway's parts; nothing is connected yet. Whoever opens them closes the database."""
    database = Database.open(database_url(settings), statement_timeout_s=statement_timeout_s)
    registry = CollectorRegistry()
    gateway = gateway_over(
        database,
        open_keyring(settings),
        session_rules(settings),
        oidc_client(settings),
        MeterOptions(
            limiter=open_limiter(settings, registry),
            defaults=quota_defaults(settings),
            answers_first=settings.usage_durability == "after_reply",
            webhook=webhook_of(settings),
            registry=registry,
        ),
        file_options(settings),
        pool_options(settings),
    )
    return replace(
        gateway,
        usage_retention=timedelta(days=settings.usage_retention_days),
        import_rules=import_rules(settings),
    )


@dataclass(frozen=True, slots=True)
class MeterOptions:
    """How calls are counted and charged, and who is told of what they cost; limits are counted in memory by default."""

    limiter: Limiter = field(default_factory=MemoryLimiter)
    defaults: QuotaDefaults = field(default_factory=QuotaDefaults)
    answers_first: bool = False
    webhook: Webhook | None = None
    # Where all metrics are.
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)


def gateway_over(
    database: Database,
    keyring: Keyring,
    rules: SessionRules | None = None,
    oidc: OidcClient | None = None,
    options: MeterOptions | None = None,
    files: FileOptions | None = None,
    pool: PoolOptions | None = None,
) -> GatewayDeps:
    """Return the gateway's parts over a database and the secrets that belong to it."""
    rules, options, files = rules or SessionRules(), options or MeterOptions(), files or FileOptions()
    tokens = AccessTokens(keyring, rules)
    sessions = SessionParts(rules, tokens, Passwords(), LoginAttempts(rules), _oidc_provider(oidc) if oidc else None)
    reviews = Reviews(database, keyring, by_webhook=options.webhook is not None)
    authenticator = DatabaseAuthenticator(database, keyring, tokens)
    models = model_parts(database, files, pool or PoolOptions())
    metrics = GatewayMetrics(options.registry, models.registry)
    writer = UsageWriter(database, AccountWatch(reviews), metrics.usage)
    return GatewayDeps(
        database=database,
        keyring=keyring,
        page_tokens=PageTokens(keyring.keys("page-token")),
        authenticator=authenticator,
        policies=Policies(database),
        meter=AccountMeter(
            TermsBook(database),
            Repeats(database),
            writer,
            options.limiter,
            options.defaults,
            metrics.usage,
            answers_first=options.answers_first,
        ),
        limiter=options.limiter,
        quota_defaults=options.defaults,
        reviews=reviews,
        metrics=metrics,
        sessions=sessions,
        code_guesses=MovingWindow(MAX_GUESSES),
        objects=files.objects,
        signer=signer_of(files, keyring),
        models=models,
        webhook=options.webhook,
    )


def _oidc_provider(client: OidcClient) -> OidcProvider:
    from embergate.gateway.sessions.oidc import OidcProvider  # a tenth of a start, for the few servers that have one

    return OidcProvider(client)


def open_limiter(settings: Settings, registry: CollectorRegistry) -> Limiter:
    """Return what counts limits: Redis where there is one, else this process alone; nothing is connected yet.

    Raises: ConfigurationError if the URL is none, or the client is not installed.
    """
    if settings.redis_url is None:
        return MemoryLimiter()
    try:
        from embergate.web.redis_limits import RedisLimiter  # an extra
    except ModuleNotFoundError:
        raise ConfigurationError("EMBERGATE_REDIS_URL needs the extra: pip install 'embergate[redis]'") from None
    return RedisLimiter(settings.redis_url.get_secret_value(), RedisMetrics(registry))


def quota_defaults(settings: Settings) -> QuotaDefaults:
    """Return what counts for accounts without quotas of their own: settings are named like the quotas."""
    names = {quota_id: quota_id.removeprefix("serverless-").replace("-", "_") for quota_id in KNOWN}
    return QuotaDefaults({quota_id: getattr(settings, name, 0) for quota_id, name in names.items()})


def session_rules(settings: Settings) -> SessionRules:
    """Return how long sessions live, and how often somebody may try to open one."""
    return SessionRules(
        access_lifetime=timedelta(seconds=settings.access_token_lifetime_s),
        session_lifetime=timedelta(seconds=settings.session_lifetime_s),
        refresh_leeway=timedelta(seconds=settings.refresh_leeway_s),
        signing_key_age=timedelta(seconds=settings.signing_key_age_s),
        attempts_per_address=settings.logins_per_address,
        attempts_per_client=settings.logins_per_client,
    )


def oidc_client(settings: Settings) -> OidcClient | None:
    """Return what the OpenID Connect provider knows this server as, None where no provider is set.

    Raises: ConfigurationError if some of the settings are missing, or a URL is not https.
    """
    needed = {
        "EMBERGATE_OIDC_ISSUER": settings.oidc_issuer,
        "EMBERGATE_OIDC_CLIENT_ID": settings.oidc_client_id,
        "EMBERGATE_OIDC_REDIRECT_URL": settings.oidc_redirect_url,
    }
    secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else ""
    if not any(needed.values()) and not secret:
        return None
    for variable, value in needed.items():
        if not value:
            raise ConfigurationError(
                f"{variable} must be set as well: an OpenID Connect provider needs {', '.join(needed)}"
            )
    for variable in ("EMBERGATE_OIDC_ISSUER", "EMBERGATE_OIDC_REDIRECT_URL"):
        if not HTTPS_OR_LOOPBACK.match(needed[variable]):
            raise ConfigurationError(f"{variable} must begin with https://, or be of this machine")
    return OidcClient(settings.oidc_issuer, settings.oidc_client_id, settings.oidc_redirect_url, secret)


def webhook_of(settings: Settings) -> Webhook | None:
    """Return where warnings are sent to, None where no URL is set.

    Raises: ConfigurationError if there is no secret, or what is set cannot be used.
    """
    secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret else ""
    if not settings.webhook_url:
        return None
    if not secret:
        raise ConfigurationError(
            "EMBERGATE_WEBHOOK_SECRET must be set as well: it signs what EMBERGATE_WEBHOOK_URL is sent"
        )
    from embergate.gateway.webhooks.webhook import Webhook  # an HTTP client, for the few servers that have one

    return Webhook(settings.webhook_url, secret)


async def prepare_gateway(settings: Settings) -> str | None:
    """Bring the embedded database up to date, or check another; make the first account where there is none.

    Returns the first API key if it was made just now: it is shown once, and known to nobody after.
    Raises: ConfigurationError if the database is not migrated, is newer, or belongs to another secret.
    """
    prepare_objects(settings)
    gateway = open_gateway(settings)
    try:
        if settings.database_url is None:
            await upgrade(gateway.database)
        else:
            await require_current(gateway.database)
        given = settings.bootstrap_api_key
        async with gateway.database.writing() as db:
            await locks.lock(
                db, locks.START
            )  # of several servers that start on an empty database, one makes the account
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
            _write_secret(path)
        return _decode(path.read_text().strip(), str(path))
    except OSError as error:
        raise ConfigurationError(f"EMBERGATE_DATA_DIR: {path} cannot be used: {error.strerror}") from error


def _write_secret(path: Path) -> None:
    """Make a secret's file, complete or not at all; of two processes that do so at once, one is the first."""
    handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # only its owner may read it
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(new_secret_bytes()) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(made, path)  # unlike a rename, it does not replace the other's
    finally:
        Path(made).unlink()


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
