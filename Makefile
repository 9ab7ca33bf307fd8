# `make run` and `make test` do all the set-up by themselves; the second time it takes no time.
#   PYTHON=python3.12 make test     another interpreter (3.11 or newer)
#   TUNER_DATA_DIR=/data make run   a folder that already holds the reference data
#   make run ARGS="--workers 4"     more options for tuner

PYTHON ?= $(shell command -v python3.11 || command -v python3)
ARGS ?=
JOBS ?= 2

BIN := .venv/bin
STAMP := .venv/installed
REPORT := build/tests.xml

.DEFAULT_GOAL := help
.PHONY: help run test test-fast lint format bench audit lock torch clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

run: $(STAMP)  ## search CNNs for ZBED2 (preset fast, at most 10 minutes once installed)
	$(BIN)/tuner run --study zbed2 --preset fast $(ARGS)

test: lint  ## every check: ruff, mypy --strict, all tests; prints how many were skipped
	@status=0; $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --junitxml=$(REPORT) $(ARGS) || status=$$?; \
	$(BIN)/python tests/skips.py $(REPORT); exit $$status

test-fast: lint  ## ruff, mypy and the tests that are not marked slow: a few minutes
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow" $(ARGS)

lint: $(STAMP)  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## rewrite the sources in house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Those that measure by themselves; rungs, rungs_sampler, whole_search, koo_readout, null_patterns say in --help what they start from.
BENCHMARKS = training_step growth gradient_precision metrics filters attribution modisco report memory storage outage \
	kill_storm recreate_storm match_power motif_null screen_transfer objective_reliability search_quality trial workers

bench: $(STAMP)  ## benchmarks, one after the other; BENCHMARKS="metrics filters" for some
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python "benchmarks/$$name.py"; done

audit:  ## ask the advisory database about every pin of constraints.txt (needs a network)
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet pip-audit==2.10.1
	build/audit/bin/pip-audit --requirement constraints.txt --strict --no-deps --disable-pip --progress-spinner off

lock: $(STAMP)  ## write requirements.lock: the SHA-256 of every wheel that an image may install
	$(BIN)/python deploy/lock.py

TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

torch: $(STAMP)  ## write torch.lock, which `docker build` needs; ARGS="--python 3.12 --machine aarch64"
	$(BIN)/python deploy/lock.py --torch "$(TORCH_INDEX)" $(ARGS)

clean:  ## remove everything that make made; runs/ stays
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find tuner tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# hatchling comes first, pinned, because pip would build with whatever version is newest.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("tuner needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	@echo "Installing into .venv (a few minutes the first time)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev,postgres]'
	@touch $@
