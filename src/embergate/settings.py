"""Every setting of the server, in one frozen tree: from `EMBERGATE_*` variables, then a TOML file, then the defaults.

Only the composition root reads settings; everything below it is handed what it needs.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from embergate.errors import ConfigurationError

ENV_PREFIX: Final = "EMBERGATE_"
CONFIG_VARIABLE: Final = "EMBERGATE_CONFIG"
MIN_KEY_CHARACTERS: Final = 16
ENV_VARIABLES_OF_OTHERS: Final = frozenset({CONFIG_VARIABLE})


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "embergate"


class Settings(BaseSettings):
    """What an operator can set. Each field is `EMBERGATE_<NAME>` in the environment and `<name>` in the TOML file."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(default_factory=_default_data_dir, description="Where the server keeps its own files.")
    bootstrap_api_key: SecretStr | None = Field(
        None, description="The first API key, 16 characters at least; without it one is generated and printed once."
    )
    bootstrap_account: str = Field(
        "default", pattern=r"^[a-z][a-z0-9-]{0,62}$", description="The account that the first API key belongs to."
    )
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        ("sentence-transformers/all-MiniLM-L6-v2",),
        min_length=1,
        description="Models to serve, separated by commas: catalogue names, Hub ids (`org/name@revision`) or folders.",
    )
    precision: str = Field(
        "auto",
        pattern="^(f32|bf16|int8|auto)$",
        description="What matrix products are computed in; `auto` is bf16 where the CPU has it, else f32.",
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
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least level that is logged.")

    @field_validator("models", mode="before")
    @classmethod
    def _split_models(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("bootstrap_api_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_KEY_CHARACTERS:
            raise ValueError(
                f"must have at least {MIN_KEY_CHARACTERS} characters; leave it unset to have one generated"
            )
        return value

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
        sources = [init_settings, env_settings]
        path = os.environ.get(CONFIG_VARIABLE)
        if path:
            sources.append(TomlConfigSettingsSource(settings_cls, Path(path)))
        return tuple(sources)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` (from the command line) win, and None means not given.

    Raises: ConfigurationError naming each bad setting, where it comes from and what it must be.
    """
    _check_environment()
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [
            f"{_variable(problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}" for problem in error.errors()
        ]
        raise ConfigurationError("bad settings: " + "; ".join(lines)) from error
    except (OSError, ValueError) as error:  # the TOML file is missing or not TOML
        raise ConfigurationError(f"{CONFIG_VARIABLE}: {error}") from error


def _variable(loc: tuple[int | str, ...]) -> str:
    return f"{ENV_PREFIX}{str(loc[0]).upper()}" if loc else "settings"


def _check_environment() -> None:
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields} | ENV_VARIABLES_OF_OTHERS
    for name in os.environ:
        if name.startswith(ENV_PREFIX) and name not in known:
            # Compared without the prefix: it is so long that with it every two names are alike.
            ends = [other.removeprefix(ENV_PREFIX) for other in known]
            near = difflib.get_close_matches(name.removeprefix(ENV_PREFIX), ends, n=1)
            hint = (
                f"did you mean {ENV_PREFIX}{near[0]}?" if near else "see `embergate serve --help` for those there are"
            )
            raise ConfigurationError(f"{name} is not a setting; {hint}")
    path = os.environ.get(CONFIG_VARIABLE)
    if path and not Path(path).is_file():
        raise ConfigurationError(f"{CONFIG_VARIABLE}: there is no file {path}")
