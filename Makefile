# make train | test | test-fast | test-corpora | check | bench: each sets up .venv first, from the pinned requirements.
# make test-lowest sets up .venv-lowest, from the lowest versions that pyproject.toml allows.
PYTHON ?= python3
BIN := .venv/bin
# By file, so that a file's fixtures are made once; two, for many tests launch processes themselves.
WORKERS := --numprocesses 2 --dist loadfile --no-loadscope-reorder
PYTEST := $(BIN)/python -m pytest $(WORKERS)

.PHONY: train test test-fast test-lowest test-corpora check bench clean

train: .venv/ready
	$(BIN)/accelerate launch --config_file accelerate_configs/cpu.yaml train_loop.py

test: .venv/ready-dev
	$(PYTEST)

test-fast: .venv/ready-dev
	$(PYTEST) -m "not slow and not medium"

# What reads data, trains, predicts and launches; the other rooms use no library of other people.
LOWEST := $(addprefix tests/,batches data models outcome output processes report tasks training \
    test_api.py test_predict.py test_train_loop.py)
LAUNCHED := tests/test_launch.py tests/test_fsdp.py
test-lowest: .venv-lowest/ready
	.venv-lowest/bin/python -m pytest $(WORKERS) -m "not slow" $(LOWEST)
	.venv-lowest/bin/python -m pytest $(WORKERS) $(LAUNCHED)

test-corpora: .venv/ready-dev
	$(PYTEST) -m corpora

check: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The quick benchmarks, under 20 minutes on two cores; benchmarks/README.md has the others.
BENCH := $(BIN)/python benchmarks
MULTILINGUAL := tagloop "tagloop, whole vocabulary" "Trainer, tuned" "course loop"
bench: .venv/ready-bench
	$(BENCH)/throughput.py --batch_sizes 16 --updates 15
	$(BENCH)/throughput.py --batch_sizes 16 --updates 10 --multilingual --no-fresh \
	    --variants $(MULTILINGUAL)
	$(BENCH)/roofline.py --updates 15
	$(BENCH)/scaling.py --updates 15
	$(BENCH)/evaluation.py
	$(BENCH)/startup.py --repeats 3
	$(BENCH)/equivalence.py --dropout 0.1

clean:
	rm -rf .venv .venv-lowest .pytest_cache .ruff_cache .mypy_cache

# seqeval is source-only and builds with setuptools; torch first, so that nothing pulls another.
.venv/ready: requirements.txt requirements-report.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tagloop needs Python 3.11+")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt \
	    --requirement requirements-report.txt
	touch $@

.venv/ready-dev: requirements-dev.txt requirements-summarization.txt requirements-speech.txt requirements-lora.txt .venv/ready
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

.venv-lowest/ready: requirements-lowest.txt pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint requirements-lowest.txt \
	    --editable ".[report,summarization,speech,lora]" $(shell grep -E "^(pytest|tensorboard)" requirements-dev.txt)
	touch $@

.venv/ready-bench: benchmarks/requirements.txt .venv/ready-dev
	$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	touch $@
