"""`embergate batches` on a running server: a file of requests in, a folder of answers out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.server import KEY, Server
from tests.e2e.test_operator import Operator

ROWS = [{"custom_id": name, "body": {"input": f"the {name}"}} for name in ("fox", "dog", "cat")]
BAD = {"custom_id": "bad", "body": {"input": [10**9]}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("data") / "data", self_check="false", models=tiny_model) as started:
        yield started.ready()


def operator_of(server: Server, tmp_path: Path) -> Operator:
    operator = Operator.of(tmp_path / "other")
    operator.environment.update(EMBERGATE_SERVER=server.base, EMBERGATE_API_KEY=KEY)
    return operator


@pytest.fixture
def operator(server: Server, tmp_path: Path) -> Operator:
    return operator_of(server, tmp_path)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, BAD]))
    return path


def test_file_becomes_a_folder_of_answers(server: Server, operator: Operator, rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    made = operator.run(
        "batches", "create", "default", str(rows), "--model", server.model(), "--job", "first", "--output", str(folder)
    )
    assert sorted(made.stdout.split()) == [str(folder / name) for name in ("BIJOutputSet.jsonl", "error-data")]
    assert "the job first is made" in made.stderr
    assert "Completed: 3 requests answered, 1 failed" in made.stderr
    answered = [json.loads(line)["custom_id"] for line in (folder / "BIJOutputSet.jsonl").read_text().splitlines()]
    assert answered == ["fox", "dog", "cat"]
    assert json.loads((folder / "error-data").read_text())["custom_id"] == "bad"
    shown = operator.json("batches", "show", "default", "first")
    assert operator.json("batches", "get", "default", "first") == shown
    assert shown["inputDatasetId"] == "accounts/default/datasets/first-input"
    assert "batchInferenceJobs/first" in operator.run("batches", "list", "default").stdout
    again = tmp_path / "again"
    fetched = operator.run("batches", "download", "default", "first", "--output", str(again)).stdout.split()
    assert [Path(name).read_bytes() for name in fetched] == [
        (folder / Path(name).name).read_bytes() for name in fetched
    ]


def test_answers_come_as_a_matrix_on_request(server: Server, operator: Operator, rows: Path, tmp_path: Path) -> None:
    begun = operator.json(
        "batches",
        "create",
        "default",
        str(rows),
        "--model",
        server.model(),
        "--job",
        "npy",
        "--format",
        "npy",
        "--no-wait",
    )
    assert (begun["name"], begun["outputFormat"]) == ("accounts/default/batchInferenceJobs/npy", "NPY")
    ended = operator.json("batches", "wait", "default", "npy", "--output", str(tmp_path / "out"))
    assert ended["state"] == "JOB_STATE_COMPLETED"
    assert len(np.load(tmp_path / "out" / "BIJOutputSet.npy")) == len(ROWS)
    operator.run("batches", "cancel", "default", "npy")
    assert "resource not found" in operator.refused("batches", "show", "default", "npy")


def test_job_that_fails_says_why(server: Server, operator: Operator, tmp_path: Path) -> None:
    twice = tmp_path / "twice.jsonl"
    twice.write_text(2 * (json.dumps(ROWS[0]) + "\n"))
    said = operator.run("batches", "create", "default", str(twice), "--model", server.model(), expect=1).stderr
    assert "has failed: Dataset has a syntax error: twice.jsonl line 2 custom_id 'fox' was there before" in said


def test_what_cannot_be_is_refused_with_the_mend(operator: Operator, rows: Path, tmp_path: Path) -> None:
    alone = Operator.of(tmp_path / "alone")
    refused = alone.refused("batches", "create", "default", str(rows), "--model", "x", expect=2)
    assert "batch jobs are made on a running server: give --server" in refused
    unknown = operator.refused("batches", "create", "default", str(rows), "--model", "no/model", "--job", "no-model")
    assert "no model 'no/model' is served" in unknown
    assert unknown.endswith("its input was uploaded: embergate datasets delete default no-model-input")
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{\n")
    assert "bad.jsonl line 1 column" in operator.refused(
        "batches", "create", "default", str(bad), "--model", "x", expect=2
    )
    assert operator.json("datasets", "list", "default", "--filter", "displayName = bad.jsonl") == []


def test_jobs_are_looked_after_on_the_database_too(tmp_path: Path) -> None:
    operator = Operator.of(tmp_path / "other")
    operator.run("accounts", "create", "acme", "--email", "ops@acme.example")
    assert operator.json("batches", "list", "acme") == []
    assert "resource not found" in operator.refused("batches", "cancel", "acme", "none")
    assert "resource not found" in operator.refused("batches", "wait", "acme", "none")


def test_interrupted_wait_leaves_the_job_and_says_how_to_come_back(tmp_path: Path, rows: Path, tiny_model: str) -> None:
    settings = {"self_check": "false", "models": tiny_model, "batch_slots": "0"}  # nothing is ever done
    with Server(tmp_path / "idle", **settings) as idle:
        operator = operator_of(idle.ready(), tmp_path)
        command = ["batches", "create", "default", str(rows), "--model", idle.model(), "--job", "slow"]
        waiting = subprocess.Popen(
            [sys.executable, "-m", "embergate.cli.main", *command],
            env=operator.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waiting.stderr is not None
        with waiting, waiting.stderr as said:
            assert "the job slow is made" in said.readline()
            waiting.send_signal(signal.SIGINT)
            assert said.readline().strip() == (
                "embergate: the job slow goes on; to come back: embergate batches wait default slow"
            )
            assert waiting.wait(timeout=60) == 130
        assert operator.json("batches", "show", "default", "slow")["state"] == "JOB_STATE_VALIDATING"
        refused = operator.refused("batches", "download", "default", "slow")
        assert "the job slow has not ended (Validating): embergate batches wait default slow" in refused
