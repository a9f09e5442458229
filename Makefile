# Two commands matter: `make demo` (from nothing to a dream) and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-runs test-rest check format docs lock clean

# Tests that run whole commands take half of the time: they go beside all others.
RUNS := tests/training tests/evaluation tests/studies tests/cli tests/test_readme.py

demo: .venv/installed
	$(BIN)/worldmodels demo

test: .venv/installed-dev
	$(MAKE) --jobs 2 --output-sync=target test-runs test-rest

# Shapes are checked in the other half, where every line of the models is met: checks would add half
# of the time again to whole runs.
test-runs: .venv/installed-dev
	$(BIN)/python -m pytest -o addopts=-q $(RUNS)

test-rest: .venv/installed-dev
	$(BIN)/python -m pytest $(RUNS:%=--ignore=%) tests

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/bin/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "worldmodels needs Python 3.11 or newer: make PYTHON=python3.11 demo")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv

.venv/installed: requirements.lock pyproject.toml | .venv/bin/uv
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --quiet -r requirements.lock
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	touch $@

.venv/installed-dev: requirements-dev.lock .venv/installed
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --quiet -r requirements-dev.lock
	touch $@

# Names and versions only: no registry host ever enters a tracked file.
lock: | .venv/bin/uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	  --all-extras pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	  -c requirements-dev.lock pyproject.toml -o requirements.lock

clean:
	rm -rf .venv runs/demo
