# make train | test | test-fast | check: each sets up .venv first, from the pinned requirements.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test test-fast check clean

train: .venv/ready
	$(BIN)/accelerate launch --config_file accelerate_configs/cpu.yaml train_loop.py

test: .venv/ready-dev
	$(BIN)/python -m pytest

test-fast: .venv/ready-dev
	$(BIN)/python -m pytest -m "not slow"

check: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv .pytest_cache .ruff_cache

# seqeval is source-only and builds with setuptools; torch first, so that nothing pulls another.
.venv/ready: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tagloop needs Python 3.11+")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

.venv/ready-dev: requirements-dev.txt .venv/ready
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@
