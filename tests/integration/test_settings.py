"""Settings from the environment and a file: which source wins, and what a wrong one is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embergate.errors import ConfigurationError
from embergate.settings import Settings, load_settings

BAD_VARIABLES = {
    "port that is no number": ("EMBERGATE_PORT", "abc", "valid integer"),
    "port beyond 65535": ("EMBERGATE_PORT", "65536", "65535"),
    "negative port": ("EMBERGATE_PORT", "-1", "greater than or equal to 0"),
    "key of 15 characters": ("EMBERGATE_BOOTSTRAP_API_KEY", "a" * 15, "at least 16 characters"),
    "empty key": ("EMBERGATE_BOOTSTRAP_API_KEY", "", "at least 16 characters"),
    "account with capitals": ("EMBERGATE_BOOTSTRAP_ACCOUNT", "Me", "pattern"),
    "precision that is none": ("EMBERGATE_PRECISION", "f16", "bf16"),
    "log level that is none": ("EMBERGATE_LOG_LEVEL", "loud", "warning"),
    "no model": ("EMBERGATE_MODELS", " , ", "at least 1"),
    "truth value that is none": ("EMBERGATE_OFFLINE", "maybe", "boolean"),
    "no inputs": ("EMBERGATE_MAX_INPUTS", "0", "greater than or equal to 1"),
    "time limit of zero": ("EMBERGATE_REQUEST_TIMEOUT_S", "0", "greater than 0"),
    "time limit that is no number": ("EMBERGATE_REQUEST_TIMEOUT_S", "nan", "greater than 0"),
    "negative grace": ("EMBERGATE_SHUTDOWN_GRACE_S", "-1", "greater than or equal to 0"),
}
BAD_FILES = {
    "unknown key": ("prot = 1", "EMBERGATE_PROT"),
    "wrong value": ('precision = "f16"', "EMBERGATE_PRECISION"),
    "wrong type": ("port = [8000]", "EMBERGATE_PORT"),
    "not TOML": ("port: 8000", "EMBERGATE_CONFIG"),
    "not UTF-8": ("# \udcff", "EMBERGATE_CONFIG"),
}


@pytest.fixture(autouse=True)
def _only_our_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("EMBERGATE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "embergate.toml"
    monkeypatch.setenv("EMBERGATE_CONFIG", str(path))
    return path


@pytest.mark.parametrize(("name", "value", "said"), BAD_VARIABLES.values(), ids=BAD_VARIABLES.keys())
def test_wrong_variable_is_named_with_what_it_must_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert f"{name}: " in caught.value.message
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_every_wrong_setting_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBERGATE_PRECISION", "f16")
    monkeypatch.setenv("EMBERGATE_PORT", "abc")
    with pytest.raises(ConfigurationError, match=r"EMBERGATE_PORT: .+; EMBERGATE_PRECISION: "):
        load_settings()


def test_wrong_key_is_not_repeated_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBERGATE_BOOTSTRAP_API_KEY", "hunter2")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("name", "hint"), [("EMBERGATE_PROT", "did you mean EMBERGATE_PORT?"), ("EMBERGATE_XYZZY_QUUX", "--help")]
)
def test_variable_that_is_no_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.message.startswith(name)
    assert hint in caught.value.message


@pytest.mark.parametrize(("content", "said"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_wrong_file_is_told_by_what_is_wrong_in_it(file: Path, content: str, said: str) -> None:
    file.write_text(content, errors="surrogateescape")
    with pytest.raises(ConfigurationError, match=said):
        load_settings()


@pytest.mark.parametrize("is_folder", [False, True], ids=["missing", "a folder"])
def test_file_that_is_none_is_named(file: Path, is_folder: bool) -> None:
    if is_folder:
        file.mkdir()
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(file) in caught.value.message


def test_command_line_wins_over_environment_wins_over_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('host = "10.0.0.1"\nport = 1\nmodels = ["from/file"]\n')
    monkeypatch.setenv("EMBERGATE_PORT", "2")
    monkeypatch.setenv("EMBERGATE_MODELS", "from/environment, another/one")
    settings = load_settings(models=("from/command-line",), host=None)
    assert (settings.host, settings.port, settings.models) == ("10.0.0.1", 2, ("from/command-line",))
    assert load_settings().models == ("from/environment", "another/one")
    monkeypatch.delenv("EMBERGATE_MODELS")
    assert load_settings().models == ("from/file",)


def test_key_is_not_shown_with_the_settings() -> None:
    assert "a-key-of-an-operator" not in repr(Settings.model_validate({"bootstrap_api_key": "a-key-of-an-operator"}))
