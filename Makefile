# Every target sets up .venv by itself from a bare checkout: uv if it is there, else python3 -m venv and pip.

PYTHON ?= python3
VENV   := .venv
READY  := $(VENV)/.ready
RUN    := $(VENV)/bin/python

# The raw public data and the frozen search instances, when they lie beside the checkout.
ifndef FAIRPATH_DATA
ifneq ($(wildcard ../shared/datasets),)
export FAIRPATH_DATA := $(abspath ../shared/datasets)
endif
endif
ifndef FAIRPATH_INSTANCES
ifneq ($(wildcard ../shared/instances),)
export FAIRPATH_INSTANCES := $(abspath ../shared/instances)
endif
endif

.PHONY: help demo test fast lint bench deep setup
.DEFAULT_GOAL := help

help:
	@echo "make demo    train on the simulated lender and show proven plans"
	@echo "make test    the whole test suite"
	@echo "make fast    the tests that take seconds"
	@echo "make lint    ruff, ruff format, mypy"
	@echo "make bench   the frozen search instances and the throughput, into benchmarks/results"
	@echo "make deep    long searches for counterexamples"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "fairpath needs Python 3.11 or later; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@if command -v uv >/dev/null; then \
	  test -x $(RUN) || uv venv --quiet --python $(PYTHON) $(VENV); \
	  uv pip install --quiet --python $(RUN) -c constraints.txt -e '.[dev]'; \
	else \
	  test -x $(RUN) || $(PYTHON) -m venv $(VENV); \
	  $(RUN) -m pip install --quiet -c constraints.txt -e '.[dev]'; \
	fi
	@touch $@

demo: $(READY)
	$(VENV)/bin/recourse demo

# One Numba thread for each of the workers; those tests that need more ask for them.
test: export NUMBA_NUM_THREADS := 1
test: $(READY)
	$(RUN) -m pytest -n 2

fast: export NUMBA_NUM_THREADS := 1
fast: $(READY)
	$(RUN) -m pytest -n 2 -m 'not slow and not deep' --hypothesis-profile fast

deep: $(READY)
	$(RUN) -m pytest -m '' --hypothesis-profile deep

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: $(READY)
	$(RUN) -m benchmarks search --instance all
	$(RUN) -m benchmarks throughput
	$(RUN) -m benchmarks table
