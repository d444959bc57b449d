"""The command line, as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.random_models import cases_of, write_model

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
HEAVY_MODULES = ("openvino", "numpy", "fastapi", "pydantic", "tokenizers", "huggingface_hub", "sqlalchemy")


def run(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "embergate.cli.main", *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == expect, done.stderr
    return done


def facts(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_help_imports_nothing_heavy() -> None:
    program = f"import sys, embergate.cli.main; print([m for m in {HEAVY_MODULES} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_command() -> None:
    listed = run("--help").stdout
    operating = ("accounts", "users", "keys", "credit-codes", "credits", "audit", "secrets", "migrate", "backup")
    for command in ("serve", "embed", "models", "bench", "openapi", *operating):
        assert command in listed


def test_catalogue_lists_the_default_model_as_built_in() -> None:
    (entry,) = [entry for entry in facts("models", "list") if entry["id"] == MINILM]
    assert entry["built_in"] is True
    assert entry["dimensions"] == 384


def test_inspect_reads_the_files_without_weights() -> None:
    found = facts("models", "inspect", MINILM, "--offline")
    assert (found["architecture"], found["pooling"], found["max_tokens"]) == ("bert", "mean", 256)
    assert found["weights_dtypes"] == ["F32", "I64"]


@pytest.mark.parametrize(("precision", "least"), [("bf16", 0.9998), ("int8", 0.995)])
def test_check_reports_the_cosine_to_f32(precision: str, least: float) -> None:
    found = facts("models", "check", MINILM, "--precision", precision)
    assert least <= found["min_cosine_to_f32"] <= 1.0001
    assert found["tokens_per_s"] > 0


def test_check_reports_what_the_model_costs_in_memory() -> None:
    found = facts("models", "check", MINILM, "--precision", "f32")
    assert 80e6 < found["weights_bytes"] < 100e6
    assert found["peak_bytes"] >= found["resident_bytes"] >= found["anonymous_bytes"] > 0


@pytest.mark.parametrize(("model", "said"), [("no-such-model", "models list"), ("~nobody-here/x", "whole path")])
def test_name_of_no_model_is_one_line_with_the_mend(model: str, said: str) -> None:
    done = run("models", "inspect", model, expect=1)
    assert said in done.stderr
    assert repr(model) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("size", "said"), [(10**9, "hidden_size is 1000000000"), (64, "the weights in model do not fit")]
)
def test_folder_that_lies_is_one_line_and_no_traceback(tmp_path: Path, size: int, said: str) -> None:
    write_model(cases_of("bert")[0], tmp_path / "model", 0)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "hidden_size": size}))
    done = run("models", "check", str(tmp_path / "model"), expect=1)
    assert done.stderr.startswith("embergate: ")
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_unreachable_model_names_the_mend() -> None:
    done = run("models", "inspect", "BAAI/bge-m3", "--offline", expect=1)
    assert "models pull" in done.stderr


def test_wrong_precision_is_a_usage_error() -> None:
    assert "f32, bf16, int8, auto" in run("models", "check", MINILM, "--precision", "f16", expect=2).stderr


def test_openapi_document_describes_every_route_and_its_key() -> None:
    document = json.loads(run("openapi").stdout)
    assert document["openapi"].startswith("3.1")
    for prefix in ("/inference/v1", "/v1"):
        operation = document["paths"][f"{prefix}/embeddings"]["post"]
        assert operation["security"]
        assert operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert "security" not in document["paths"]["/health/live"]["get"]
    references = {line for line in json.dumps(document).split('"') if line.startswith("#/components/schemas/")}
    assert {reference.rsplit("/", 1)[1] for reference in references} <= set(document["components"]["schemas"])


def test_bench_prints_a_line_a_precision(tmp_path: Path) -> None:
    write_model(cases_of("bert")[0], tmp_path / "model", 0)
    lines = run("bench", "--model", str(tmp_path / "model"), "--precision", "f32,int8").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["precision", "f32", "int8"]


def test_database_is_made_migrated_and_backed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBERGATE_DATA_DIR", str(tmp_path / "data"))
    copy = tmp_path / "copy.db"
    assert "there is no database" in run("backup", str(copy), expect=1).stderr
    assert run("migrate").returncode == 0
    assert run("migrate").stdout == "nothing to do\n"
    assert "bytes" in run("backup", str(copy)).stdout
    assert copy.is_file()
    assert "exists" in run("backup", str(copy), expect=1).stderr


def test_database_url_that_is_none_is_one_line_that_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBERGATE_DATABASE_URL", "mysql://user:s3cret@host/name")
    for arguments in (["migrate"], ["backup", "copy.db"]):
        done = run(*arguments, expect=1)
        assert done.stderr.count("\n") == 1
        assert "s3cret" not in done.stderr
