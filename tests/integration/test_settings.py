"""Settings from the environment and a file: which source wins, and what a wrong one is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embergate.engine.loading.spec import PoolingMode, Precision
from embergate.errors import ConfigurationError
from embergate.model_setting import POOLINGS, PRECISIONS, ModelSetting
from embergate.settings import Settings, load_settings
from embergate.web.caller import MAX_CREDENTIAL_CHARACTERS

BAD_VARIABLES = {
    "port that is no number": ("EMBERGATE_PORT", "abc", "valid integer"),
    "port beyond 65535": ("EMBERGATE_PORT", "65536", "65535"),
    "negative port": ("EMBERGATE_PORT", "-1", "greater than or equal to 0"),
    "key of 15 characters": ("EMBERGATE_BOOTSTRAP_API_KEY", "a" * 15, "at least 16 characters"),
    "key that no credential can be as long as": (
        "EMBERGATE_BOOTSTRAP_API_KEY",
        "a" * (MAX_CREDENTIAL_CHARACTERS + 1),
        f"{MAX_CREDENTIAL_CHARACTERS} at most",
    ),
    "key of 15 characters and spaces": ("EMBERGATE_BOOTSTRAP_API_KEY", " " + "a" * 15 + "\n", "at least 16 characters"),
    "key that is not ASCII": ("EMBERGATE_BOOTSTRAP_API_KEY", "a" * 16 + "é", "printable ASCII"),
    "key of two lines": ("EMBERGATE_BOOTSTRAP_API_KEY", "a" * 16 + "\n" + "b" * 16, "printable ASCII"),
    "data directory without a name": ("EMBERGATE_DATA_DIR", "", "must name a folder"),
    "data directory of nobody": ("EMBERGATE_DATA_DIR", "~nobody-here/x", "~nobody-here/x begins with a home directory"),
    "settings file of nobody": ("EMBERGATE_CONFIG", "~nobody-here/x", "~nobody-here/x begins with a home directory"),
    "model with an option that is none": (
        "EMBERGATE_MODELS",
        "a/b:int9",
        "'a/b:int9': behind a colon stands a precision",
    ),
    "model with two precisions": ("EMBERGATE_MODELS", "a/b:int8:f32", "'a/b:int8:f32' names a precision twice"),
    "model with options and no name": ("EMBERGATE_MODELS", ":int8", "at least 1 character"),
    "empty key": ("EMBERGATE_BOOTSTRAP_API_KEY", "", "at least 16 characters"),
    "account with capitals": ("EMBERGATE_BOOTSTRAP_ACCOUNT", "Me", "must begin with a letter, and hold only"),
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
    "unknown key": ("prot = 1", "/embergate.toml: prot is not a setting; did you mean port?"),
    "key like no other": ("xyzzy_quux = 1", "/embergate.toml: xyzzy_quux is not a setting; docs/reference/settings.md"),
    "wrong value": ('precision = "f16"', "/embergate.toml: precision: Input should be 'f32', 'bf16', 'int8' or 'auto'"),
    "wrong type": ("port = [8000]", "/embergate.toml: port: Input should be a valid integer"),
    "not TOML": ("port: 8000", "EMBERGATE_CONFIG: {file}: Expected '='"),
    "not UTF-8": ("# \udcff", "EMBERGATE_CONFIG: {file}: 'utf-8' codec"),
    "unknown key of a model": (
        '[[models]]\nname = "a/b"\nprecison = "int8"',
        "/embergate.toml: models[0].precison is not a setting; did you mean precision?",
    ),
    "wrong value of a model": (
        'models = ["a/b", {name = "c/d", pooling = "sum"}]',
        "/embergate.toml: models[1].pooling: ",
    ),
    "model without a name": ('[[models]]\nprecision = "int8"', "/embergate.toml: models[0].name: Field required"),
    "model that is a number": ("models = [1]", "/embergate.toml: models[0]: "),
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
    ("name", "hint"),
    [("EMBERGATE_PROT", "did you mean EMBERGATE_PORT?"), ("EMBERGATE_XYZZY_QUUX", "docs/reference/settings.md")],
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
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert said.format(file=file) in caught.value.message


def test_wrong_value_is_told_by_the_source_that_it_came_from(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('precision = "f16"\nport = 1')
    monkeypatch.setenv("EMBERGATE_PORT", "abc")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(models=("a/b", "c/d:int9"))
    told = caught.value.message.removeprefix("bad settings: ").split("; ")
    assert sorted(problem.split(": ")[0] for problem in told if ": " in problem) == [
        "--model",
        str(file),
        "EMBERGATE_PORT",
    ]


@pytest.mark.parametrize("is_folder", [False, True], ids=["missing", "a folder"])
def test_file_that_is_none_is_named(file: Path, is_folder: bool) -> None:
    if is_folder:
        file.mkdir()
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(file) in caught.value.message


def names(settings: Settings) -> list[str]:
    return [model.name for model in settings.models]


def test_command_line_wins_over_environment_wins_over_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('host = "10.0.0.1"\nport = 1\nmodels = ["from/file"]\n')
    monkeypatch.setenv("EMBERGATE_PORT", "2")
    monkeypatch.setenv("EMBERGATE_MODELS", "from/environment, another/one")
    settings = load_settings(models=("from/command-line",), host=None)
    assert (settings.host, settings.port, names(settings)) == ("10.0.0.1", 2, ["from/command-line"])
    assert names(load_settings()) == ["from/environment", "another/one"]
    monkeypatch.delenv("EMBERGATE_MODELS")
    assert names(load_settings()) == ["from/file"]


def test_key_is_not_shown_with_the_settings() -> None:
    assert "a-key-of-an-operator" not in repr(Settings.model_validate({"bootstrap_api_key": "a-key-of-an-operator"}))


@pytest.mark.parametrize("key", ["a-key-of-an-operator\n", "  a-key-of-an-operator", "a-key-of-an-operator\r\n"])
def test_key_is_taken_without_the_spaces_around_it(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("EMBERGATE_BOOTSTRAP_API_KEY", key)
    found = load_settings().bootstrap_api_key
    assert found is not None
    assert found.get_secret_value() == "a-key-of-an-operator"


def test_variables_that_kubernetes_sets_for_a_service_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in ("", "_CANARY"):
        monkeypatch.setenv(f"EMBERGATE{service}_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setenv(f"EMBERGATE{service}_SERVICE_PORT", "80")
        monkeypatch.setenv(f"EMBERGATE{service}_SERVICE_PORT_HTTP", "80")
        monkeypatch.setenv(f"EMBERGATE{service}_PORT", "tcp://10.0.0.1:80")
        for end in ("", "_PROTO", "_PORT", "_ADDR"):
            monkeypatch.setenv(f"EMBERGATE{service}_PORT_80_TCP{end}", "x")
    assert load_settings().port == 8000
    assert load_settings(port=1).port == 1


def test_tilde_is_the_home_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "embergate.toml").write_text('data_dir = "~/data"')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EMBERGATE_CONFIG", "~/embergate.toml")
    assert load_settings().data_dir == tmp_path / "data"
    monkeypatch.setenv("XDG_DATA_HOME", "~/other")
    monkeypatch.delenv("EMBERGATE_CONFIG")
    assert load_settings().data_dir == tmp_path / "other" / "embergate"


def test_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "~nobody-here/share")
    with pytest.raises(ConfigurationError, match="EMBERGATE_DATA_DIR is not set"):
        load_settings()


FORMS = {
    "org/name": ("org/name", None, None),
    "org/name@main:int8": ("org/name@main", "int8", None),
    "fireworks/slug:mean": ("fireworks/slug", None, "mean"),
    "./my-model:bf16:lasttoken": ("./my-model", "bf16", "lasttoken"),
    "my-model:cls:f32": ("my-model", "f32", "cls"),
    "./my:model/": ("./my:model/", None, None),
    "./my:models/int8": ("./my:models/int8", None, None),
    "./int8/": ("./int8/", None, None),
}


@pytest.mark.parametrize(("text", "fields"), FORMS.items(), ids=FORMS.keys())
def test_model_in_a_line_of_text_may_name_its_precision_and_pooling(
    monkeypatch: pytest.MonkeyPatch, text: str, fields: tuple[str, str | None, str | None]
) -> None:
    monkeypatch.setenv("EMBERGATE_MODELS", f"{text}, other/one")
    model, other = load_settings().models
    assert (model.name, model.precision, model.pooling) == fields
    assert str(other) == "other/one"
    assert ModelSetting.model_validate(str(model)) == model


def test_tables_of_models_stand_beside_plain_names(file: Path) -> None:
    file.write_text('models = ["a/b", "c/d:int8", {name = "e:f", precision = "f32", pooling = "mean"}]')
    assert [str(model) for model in load_settings().models] == ["a/b", "c/d:int8", "e:f:f32:mean"]
    file.write_text('[[models]]\nname = "a/b"\n[[models]]\nname = "c/d"\nprecision = "int8"\n')
    assert [str(model) for model in load_settings().models] == ["a/b", "c/d:int8"]
    assert load_settings().models[0] == ModelSetting(name="a/b")


def test_words_for_a_model_are_the_engines() -> None:
    assert set(PRECISIONS) == set(Precision)
    assert set(POOLINGS) == set(PoolingMode)
    assert not set(PRECISIONS) & set(POOLINGS)
