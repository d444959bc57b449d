"""Every setting of the server, in one frozen tree: from `EMBERGATE_*` variables, then a TOML file, then the defaults.

Only the composition root reads settings; everything below it is handed what it needs.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from embergate.errors import ConfigurationError
from embergate.model_setting import ModelSetting, PrecisionName
from embergate.settings_sources import (
    CONFIG_VARIABLE,
    ENV_PREFIX,
    config_path,
    expand_home,
    hint_of,
    is_service_link,
    place_of,
)

MIN_KEY_CHARACTERS: Final = 16
MAX_KEY_CHARACTERS: Final = 4096  # a longer credential is refused unread
# Of the operator's commands, which may run where a server does.
CLIENT_VARIABLES: Final = frozenset({"EMBERGATE_SERVER", "EMBERGATE_API_KEY"})
ENV_VARIABLES_OF_OTHERS: Final = CLIENT_VARIABLES | {CONFIG_VARIABLE}


def _default_data_dir() -> Path:
    try:
        return expand_home(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "embergate"
    except ValueError as error:
        raise ConfigurationError(f"{ENV_PREFIX}DATA_DIR is not set, and its default cannot be: {error}") from error


class Settings(BaseSettings):
    """What an operator can set. Each field is `EMBERGATE_<NAME>` in the environment and `<name>` in the TOML file."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(default_factory=_default_data_dir, description="Where the server keeps its own files.")
    database_url: SecretStr | None = Field(
        None,
        description="`postgresql://user:password@host/name`, or `sqlite:///file.db`; migrate it with `embergate migrate`. "
        "Without it, a SQLite file in the data directory, which is migrated at the start.",
    )
    objects_url: str = Field(
        "",
        description="Where files are kept: a folder, or `s3://bucket/prefix`, `gs://…`, `az://container/…` (extra `cloud`; "
        "credentials from the environment). Empty for `objects` in the data directory. Several servers need one that all see.",
    )
    import_endpoints: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        max_length=50,
        description="Stores besides Amazon's, Azure's and the Hub that accounts may have this server import models from, "
        "separated by commas: `https://minio.example:9000`. Redirects of theirs are followed: name none that you do not trust.",
    )
    hub_url: str = Field(
        "https://huggingface.co",
        description="The Hugging Face Hub, or a mirror, that accounts import models from; empty, or with `offline`, for none.",
    )
    import_slots: int = Field(
        1, ge=0, le=16, description="Files of models that this process imports at once; 0 if it imports none."
    )
    public_url: str = Field(
        "",
        description="How clients reach this server, as `https://embeddings.example`, for the URLs of files; fireworks-ai takes "
        "https only. Empty to take the scheme and host of each request.",
    )
    secret_keys: SecretStr | None = Field(
        None,
        description="Keys of 32 random bytes or more in base64, separated by commas: the first signs and encrypts, the others "
        "still verify and decrypt. Without it, one in the data directory, made at the first start. Keep a copy of it.",
    )
    bootstrap_api_key: SecretStr | None = Field(
        None, description="The first API key, 16 characters at least; without it one is generated and printed once."
    )
    bootstrap_account: str = Field("default", description="The account that the first API key belongs to.")
    access_token_lifetime_s: int = Field(
        900, ge=60, le=86_400, description="Seconds that a session's access token is good for; then it is refreshed."
    )
    session_lifetime_s: int = Field(
        2_592_000, ge=300, le=31_536_000, description="Seconds from a login until the session ends for good."
    )
    refresh_leeway_s: int = Field(
        10,
        ge=0,
        le=60,
        description="Seconds in which a refresh token that is shown again is refused only; later, its session is ended.",
    )
    signing_key_age_s: int = Field(
        2_592_000, ge=3_600, description="Seconds after which a new key signs access tokens."
    )
    logins_per_address: int = Field(
        10,
        ge=1,
        le=10_000,
        description="Logins by one address from one client in five minutes, beyond it a 429; from all clients together ten "
        "times as many. Counted by each process.",
    )
    logins_per_client: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Logins from one IP address in five minutes, and refresh tokens that there are not; beyond it a 429. "
        "Counted by each process.",
    )
    oidc_issuer: str = Field(
        "", description="URL of an OpenID Connect provider to log in by, exactly as the provider spells it."
    )
    oidc_client_id: str = Field("", description="What the provider knows this server as.")
    oidc_client_secret: SecretStr | None = Field(None, description="The client's secret, if the provider gave one.")
    oidc_redirect_url: str = Field(
        "", description="Where the provider sends people back to: `https://<this server>/v1/auth/oidc/callback`."
    )
    requests_per_minute: int = Field(
        600_000,
        ge=0,
        description="Requests that an account may make in any minute, unless it has a quota of its own; 0 for any number.",
    )
    prompt_tokens_per_minute: int = Field(
        600_000_000,
        ge=0,
        description="Prompt tokens that an account may send in any minute, unless it has a quota of its own; 0 for any number.",
    )
    requests_per_minute_per_model: int = Field(
        0, ge=0, description="The same, for each model: requests; 0 for any number."
    )
    prompt_tokens_per_minute_per_model: int = Field(
        0, ge=0, description="The same, for each model: prompt tokens; 0 for any number."
    )
    requests_per_minute_per_key: int = Field(
        0, ge=0, description="The same, with each API key: requests; 0 for any number."
    )
    prompt_tokens_per_minute_per_key: int = Field(
        0, ge=0, description="The same, with each API key: prompt tokens; 0 for any number."
    )
    concurrent_requests: int = Field(
        0,
        ge=0,
        description="Requests that an account may have under way at once, unless it has a quota of its own; 0 for any number.",
    )
    batch_inference_jobs: int = Field(
        0,
        ge=0,
        description="Batch jobs that an account may have at once, unless it has a quota of its own; 0 for any number.",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="`redis://host/0`, or `rediss://` with TLS, where several servers count limits together (extra `redis`). "
        "Without it each server counts by itself, so that N of them let through up to N times as much.",
    )
    usage_durability: Literal["before_reply", "after_reply"] = Field(
        "before_reply",
        description="Whether a call's charge is on the disk before its answer leaves, or written at once after: some "
        "milliseconds less for a lone call, and a server that is killed forgets to bill what it has just answered.",
    )
    usage_retention_days: int = Field(
        90,
        ge=32,
        le=3_660,
        description="Days that the record of each call is kept, and that its idempotency key is good for. Sums by quarters of "
        "an hour, from which bills are made, are kept for good.",
    )
    batch_slots: int = Field(
        2,
        ge=0,
        le=64,
        description="Chunks of batch jobs that this process does at once, each of some hundred rows; 0 if it does none.",
    )
    webhook_url: str = Field(
        "", description="Where warnings of a month's spend are sent: https, or of this machine. Empty for nowhere."
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="Signs what is sent: `whsec_` and 16 random bytes or more in base64, or any 16 characters or more.",
    )
    models: Annotated[tuple[ModelSetting, ...], NoDecode] = Field(
        (ModelSetting(name="sentence-transformers/all-MiniLM-L6-v2"),),
        min_length=1,
        description="Models to serve, separated by commas: catalogue names, Hub ids (`org/name@revision`) or folders; each may "
        "go on with `:precision`, `:pooling` or both, as in `org/name:int8`.",
    )
    precision: PrecisionName = Field(
        "auto",
        description="What matrix products are computed in, where a model has no precision of its own; `auto` is bf16 where the "
        "CPU has it, else f32.",
    )
    model_memory_mb: int = Field(
        4096,
        ge=1,
        description="Megabytes that the weights of uploaded models may take in memory together; what was used longest ago "
        "makes room. The models of `models` are not counted, and stay.",
    )
    model_max_tokens: int = Field(
        8192,
        ge=16,
        le=1 << 20,
        description="Most tokens of one input to an uploaded model, whatever its files say. An input is one forward pass, and "
        "others wait for it: its time and memory grow with the square, to some gigabyte at 8,192 and 16 of them at 32,768.",
    )
    model_idle_s: int = Field(
        1800, ge=1, description="Seconds after which an uploaded model that nobody uses is unloaded."
    )
    offline: bool = Field(False, description="Never ask the Hub; serve what is on this machine.")
    self_check: bool = Field(
        True, description="At load, compare the served precision with f32 on a few texts and measure tokens/s."
    )
    num_threads: int = Field(0, ge=0, le=1024, description="Threads for forward passes; 0 takes every core.")
    num_streams: int = Field(
        1,
        ge=1,
        le=64,
        description="Forward passes that run side by side: 1 answers one query soonest, more give more tokens/s.",
    )
    max_batch_tokens: int = Field(2048, ge=64, description="Rows x longest row of one forward pass, at most.")
    max_queued_tokens: int = Field(4_000_000, ge=1, description="Tokens that may wait; beyond it requests get a 503.")
    max_request_bytes: int = Field(16 << 20, ge=1024, description="Largest request body, in bytes; beyond it a 413.")
    max_inputs: int = Field(2048, ge=1, description="Most texts in one request.")
    tokenizer_threads: int = Field(2, ge=1, le=64, description="Threads that tokenise, beside the event loop.")
    request_timeout_s: float = Field(600.0, gt=0, description="Longest time for one request, in seconds; then a 408.")
    shutdown_grace_s: int = Field(
        30, ge=0, description="Seconds that requests in flight have to finish after SIGTERM before they are cut off."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    otlp_endpoint: str = Field(
        "",
        description="Base URL of an OpenTelemetry collector that spans of requests are sent to, by OTLP over HTTP (extra "
        "`otel`): `http://localhost:4318`. Empty for no spans.",
    )

    @field_validator("models", "import_endpoints", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("bootstrap_api_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        key = value.get_secret_value().strip()  # a file's last newline is no part of its key, nor can a header carry it
        if not MIN_KEY_CHARACTERS <= len(key) <= MAX_KEY_CHARACTERS:
            raise ValueError(
                f"must have at least {MIN_KEY_CHARACTERS} characters, and {MAX_KEY_CHARACTERS} at most; leave it unset to "
                "have one generated"
            )
        if not (key.isascii() and key.isprintable()):
            raise ValueError("must be printable ASCII, which is all that an HTTP header carries unchanged")
        return SecretStr(key)

    @field_validator("bootstrap_account")
    @classmethod
    def _check_account(cls, value: str) -> str:
        if not re.fullmatch("[a-z][a-z0-9-]{0,62}", value):
            raise ValueError("must begin with a letter, and hold only a-z, 0-9 and -, 63 characters at most")
        return value

    @field_validator("data_dir", mode="before")
    @classmethod
    def _expand_data_dir(cls, value: Any) -> Any:
        if value == "":
            raise ValueError("must name a folder; leave it unset for the default one")
        return expand_home(value) if isinstance(value, str | Path) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic-settings'
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put command-line values first, then the environment, then the file."""
        assert isinstance(env_settings, EnvSettingsSource), "that is the source it documents. This is a bug."
        ours = {name: value for name, value in env_settings.env_vars.items() if not is_service_link(name, value or "")}
        env_settings.env_vars = ours
        path = config_path()
        file = [TomlConfigSettingsSource(settings_cls, path)] if path else []
        return init_settings, env_settings, *file


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` (from the command line) win, and None means not given.

    Raises: ConfigurationError naming each bad setting, where it is written and what it must be.
    """
    _check_environment()
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = [_told(problem["type"], problem["loc"], problem["msg"], given) for problem in error.errors()]
        raise ConfigurationError("bad settings: " + "; ".join(problems)) from error
    except (OSError, ValueError) as error:  # the TOML file cannot be read, or is not TOML
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{CONFIG_VARIABLE}: {config_path()}: {reason}") from error


def _told(kind: str, loc: tuple[int | str, ...], message: str, given: dict[str, Any]) -> str:
    if kind == "extra_forbidden":  # only the file can hold what is no setting
        known = Settings.model_fields if len(loc) == 1 else ModelSetting.model_fields
        return f"{place_of(loc, given)} is not a setting; {hint_of(str(loc[-1]), known)}"
    return f"{place_of(loc, given)}: {message.removeprefix('Value error, ')}"


def _check_environment() -> None:
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields} | ENV_VARIABLES_OF_OTHERS
    for name, value in os.environ.items():
        if name.startswith(ENV_PREFIX) and name not in known and not is_service_link(name, value):
            ends = [other.removeprefix(ENV_PREFIX) for other in known]
            hint = hint_of(name.removeprefix(ENV_PREFIX), ends, prefix=ENV_PREFIX)
            raise ConfigurationError(f"{name} is not a setting; {hint}")
    try:
        path = config_path()
    except ValueError as error:
        raise ConfigurationError(f"{CONFIG_VARIABLE}: {error}") from error
    if path and not path.is_file():
        raise ConfigurationError(f"{CONFIG_VARIABLE}: there is no file {path}")
