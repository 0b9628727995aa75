# `make` alone says what there is. Everything happens in $(VENV), which is made on first use.
#
#   make test PYTHON=python3.13 VENV=.venv-3.13     another Python
#   make test ARGS='-k cursor -p no:randomly'       some tests, in the order of the files
#   make test WORKERS=0 ARGS=--pdb                  in one process, and stop at what fails
#   make run URL=https://example.com/               any URL
#   make fuzz SECONDS=3600                          an hour of it

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
WORKERS ?= auto
SECONDS ?= 600
URL ?=
NAME ?=
VERSION ?=
IDEA ?= Not described yet

BIN := $(VENV)/bin
READY := $(VENV)/.ready
WHEELS := $(VENV)-wheels

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test check format coverage wheels test-wheels site docs bench costs fuzz soak recipe version release-check figures clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## make the virtual environment, again if what it holds has changed

$(READY): requirements-dev.txt constraints.txt $(wildcard packages/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv '$(VENV)'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv hatchling editables
	$(BIN)/python tools/install.py --constraint constraints.txt --no-build-isolation --requirement requirements-dev.txt
	@touch $@

run: $(READY) ## do the main job against a server on this machine, or GET the URL given
	$(if $(URL),,$(BIN)/python examples/six_functions.py)
	$(BIN)/python examples/composed.py $(URL)

test: $(READY) ## run the tests, in random order, on all processors; ARGS goes to pytest
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 8 $(ARGS)

check: $(READY) ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

coverage: $(READY) ## run the tests and demand that they reach every line and branch
	$(MAKE) test ARGS='$(ARGS) --cov --cov-report='
	$(BIN)/coverage report

wheels: $(READY) ## build the packages into dist/
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist $(wildcard packages/*)

test-wheels: wheels ## run the tests on the wheels, in a copy of this folder without the source tree
	$(PYTHON) -m venv --clear '$(WHEELS)'
	grep -v '^-e ' requirements-dev.txt > $(WHEELS)/tools.txt
	$(WHEELS)/bin/python -m pip install --quiet --constraint constraints.txt uv
	$(WHEELS)/bin/python tools/install.py --constraint constraints.txt --requirement $(WHEELS)/tools.txt
	$(WHEELS)/bin/python -m pip install --quiet --no-index --no-deps dist/*.whl
	mkdir $(WHEELS)/copy
	tar --create --exclude='./.?*' --exclude=__pycache__ --exclude='./packages/*/src' --exclude='./benchmarks/.venvs' --exclude=./dist --exclude=./site . | tar --extract --directory $(WHEELS)/copy
	cd $(WHEELS)/copy && ../bin/python -m pytest --numprocesses $(WORKERS) --maxprocesses 8 $(ARGS)

version: ## give all packages the VERSION, and the changelog its heading
	$(PYTHON) tools/version.py '$(VERSION)'

release-check: ## everything that has to hold before a release; uploads nothing
	$(MAKE) check coverage site test-wheels

site: $(READY) ## build the documentation into site/; every warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: site ## build the documentation and serve it on this machine
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict

bench: $(READY) ## measure against other clients; see benchmarks/README.md
	$(BIN)/python benchmarks/run.py $(ARGS)

costs: $(READY) ## renew what a request is known to cost on this Python, in tests/costs.json
	PYTHONPATH=tests $(BIN)/python -m support.costs

fuzz: $(READY) ## fuzz what reads bytes, for SECONDS; see docs/reliability.md
	PYTHONPATH=tests $(BIN)/python fuzz/run.py --seconds $(SECONDS) $(ARGS)

soak: $(READY) ## load the pool for some minutes; see docs/reliability.md
	PYTHONPATH=tests $(BIN)/python soak/run.py $(ARGS)

recipe: ## begin the recipe NAME: its package, test, page and rows; IDEA is its sentence
	$(PYTHON) tools/recipe.py '$(NAME)' '$(IDEA)'

figures: $(READY) ## count the vectors, faults and cancellations of the tests; see docs/reliability.md
	PYTHONPATH=tests $(BIN)/python -m pytest -p support.figures --quiet $(addprefix tests/test_,$(addsuffix .py,wire fault_proxy cancellation conformance))

clean: ## remove all that the other commands have made
	rm -rf .venv* dist site .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis benchmarks/.venvs
	find . -name __pycache__ -prune -exec rm -rf {} +
