"""The seed of a live run: fresh every time, printed, and repeatable."""

from __future__ import annotations

import secrets

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--oracle-seed", type=int, default=None, help="repeat a live run with the seed it printed")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.oracle_seed is None:
        config.option.oracle_seed = secrets.randbelow(10**6)
    # Warnings of torch and transformers about themselves are not ours to mend.
    config.addinivalue_line("filterwarnings", "default")


def pytest_report_header(config: pytest.Config) -> str:
    return f"random weights: --oracle-seed={config.option.oracle_seed} repeats this run"


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.option.oracle_seed)
