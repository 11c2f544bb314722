# make demo and make test need nothing but Python 3.11+ (with venv and pip), make, and a package index.
#
#   PYTHON=python3.12      the interpreter that .venv is made from
#   TORCH_INDEX=URL        where torch is taken from, such as https://download.pytorch.org/whl/cpu
#   PYTEST_ARGS="-x -n 2"  further arguments of pytest

PYTHON ?= python3
TORCH_INDEX ?=
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
CONSTRAINTS := -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test nightly lint format docs bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.package  ## install into .venv and check torch.nn:LSTM
	$(BIN)/rnn-props check torch.nn:LSTM

test: $(VENV)/.dev  ## install what the tests need and run them
	$(BIN)/python -m pytest -m "not nightly and not gpu" $(PYTEST_ARGS)

nightly: $(VENV)/.real  ## install published modules too and run what is too long for every push
	$(BIN)/python -m pytest -m "nightly and not gpu" $(PYTEST_ARGS)

lint: $(VENV)/.dev  ## ruff, mypy, and the order of the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## write the code in ruff's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs  ## write the generated pages and build the site into site/
	$(BIN)/python docs/make_checks.py
	$(BIN)/python docs/make_faults.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.dev  ## time the default profile beside a hand-written test
	$(BIN)/python benchmarks/lstm_default.py

clean:  ## remove .venv and everything that was built
	rm -rf $(VENV) site build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# -- installing: one stamp a step, so that a second call installs nothing ---------------------------------------------

$(VENV)/.venv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch goes first and by itself: the version of the constraints, from the index of your choice. What is installed
# after it is content with the torch that it finds, and pulls in no other build.
$(VENV)/.torch: constraints.txt $(VENV)/.venv
	$(PIP) install --quiet $(CONSTRAINTS) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.package: pyproject.toml $(VENV)/.torch
	$(PIP) install --quiet $(CONSTRAINTS) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.package
	$(PIP) install --quiet $(CONSTRAINTS) -e '.[dev]'
	@touch $@

# Without their dependencies: several name versions of torch of their own.
$(VENV)/.real: tests/real/requirements.txt $(VENV)/.dev
	$(PIP) install --quiet --no-deps -r tests/real/requirements.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.package
	$(PIP) install --quiet $(CONSTRAINTS) -e '.[docs]'
	@touch $@
