"""`embergate embed` as a process: formats, errors, and a run that is killed and goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.server import DEADLINE_S, MODEL
from tests.random_models import cases_of, write_model

NUM_ROWS = 1000


def command(output: Path, source: Path, *more: str) -> list[str]:
    program = [sys.executable, "-m", "embergate.cli.main", "embed", "--model", MODEL, "--precision", "f32"]
    return [*program, "--batch-rows", "64", "--output", str(output), *more, str(source)]


def run(output: Path, source: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(output, source, *more), capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    lines = [json.dumps({"id": f"d{number}", "text": f"text {number} about a river"}) for number in range(NUM_ROWS)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_killed_run_goes_on_and_gives_the_same_bytes(tmp_path: Path, source: Path, ending: str) -> None:
    whole, broken = tmp_path / f"whole.{ending}", tmp_path / f"broken.{ending}"
    assert run(whole, source).returncode == 0
    process = subprocess.Popen(command(broken, source), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + DEADLINE_S
    partial_bytes = 0
    while partial_bytes < 20_000 and process.poll() is None:  # some chunks are there, not all
        assert time.monotonic() < deadline
        files = [file for file in tmp_path.rglob("*") if file.is_file() and "broken" in str(file)]
        partial_bytes = sum(file.stat().st_size for file in files)
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not broken.exists()
    resumed = run(broken, source)
    assert resumed.returncode == 0, resumed.stderr
    assert broken.read_bytes() == whole.read_bytes()


def test_vectors_are_in_the_inputs_order(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "vectors.jsonl"
    assert run(output, source).returncode == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"d{number}" for number in range(NUM_ROWS)]
    assert np.linalg.norm(rows[0]["embedding"]) == pytest.approx(1.0, abs=1e-5)


def test_pooling_of_a_bare_folder_is_named_on_the_command_line(tmp_path: Path) -> None:
    write_model(cases_of("bert")[0], tmp_path / "bare", 0)
    (tmp_path / "bare" / "modules.json").unlink()
    source, output = tmp_path / "in.txt", tmp_path / "out.npy"
    source.write_text("the fox\n")
    refused = run(output, source, "--model", str(tmp_path / "bare"))
    assert refused.returncode == 1
    assert "--pooling mean" in refused.stderr
    vectors = []
    for pooling in ("mean", "cls"):
        done = run(output, source, "--restart", "--model", str(tmp_path / "bare"), "--pooling", pooling)
        assert done.returncode == 0, done.stderr
        vectors.append(np.load(output))
    assert not np.allclose(*vectors)


def test_changed_input_is_not_mixed_with_what_was_done(tmp_path: Path) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.npy"
    source.write_text("one\ntwo\n" * 2000)
    process = subprocess.Popen(command(output, source), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + DEADLINE_S
    while not any("out.npy" in file.name for file in tmp_path.iterdir()):
        assert time.monotonic() < deadline
    time.sleep(0.5)
    process.kill()
    process.wait()
    source.write_text("three\nfour\n" * 2000)
    done = run(output, source, "--restart")
    assert done.returncode == 0, done.stderr
    assert np.load(output).shape == (4000, 384)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.jsonl", '{"text": "a"}\n{"text": 5}\n', "2"),
        ("in.jsonl", '{"text": "a"}\n{oops\n', "2"),
        ("in.csv", "id,body\n1,a\n", "text"),
        ("in.txt", "a\n\nb\n", "2"),
        ("in.txt", "word " * 400, "256"),
    ],
    ids=["text that is a number", "broken JSON", "missing column", "empty line", "too long"],
)
def test_bad_row_is_named_and_nothing_is_written(tmp_path: Path, name: str, content: str, said: str) -> None:
    source, output = tmp_path / name, tmp_path / "out.npy"
    source.write_text(content)
    done = run(output, source)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not output.exists()
