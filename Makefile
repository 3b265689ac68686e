# make train | test | test-fast | test-corpora | check | bench: each sets up .venv first, from the pinned requirements.
PYTHON ?= python3
BIN := .venv/bin
# By file, so that a file's fixtures are made once; two, for many tests launch processes themselves.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: train test test-fast test-corpora check bench clean

train: .venv/ready
	$(BIN)/accelerate launch --config_file accelerate_configs/cpu.yaml train_loop.py

test: .venv/ready-dev
	$(PYTEST)

test-fast: .venv/ready-dev
	$(PYTEST) -m "not slow"

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
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache

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

.venv/ready-bench: benchmarks/requirements.txt .venv/ready-dev
	$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	touch $@
