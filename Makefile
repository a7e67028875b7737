# make quickstart    one multi-rate VAE against four dedicated beta-VAEs on digits, with a report (a minute or two)
# make test          the tests, but for the trials of the harnesses, which `make torture` begins with;  make test-fast: without the slow ones
# make test-integrations   the tests of scvi-tools, pythae, CompressAI and trackers, each in an environment of its own
# make test-package  wheel and sdist built, installed in clean environments, used;  make test-extras: each extra alone
# make docs          the documentation site, in site/
# make lint          ruff and mypy
# make torture       kills, damaged files, hostile requests, load, mutants: some hours; see docs/reliability.md
# make audit         compares the versions of constraints.txt with the known vulnerabilities; fails on any, or if it cannot tell
# make clean         remove the environment, the caches and runs/
#
# Everything is installed in .venv, with the versions of constraints.txt. Another interpreter: make PYTHON=python3.12 ...

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/quickstart
WORKERS ?= 2
# The explorer's runtime for the tests that run it in a browser, where npm has fetched it.
RUNTIME = $(wildcard $(CURDIR)/$(VENV)/onnxruntime-web-1.30.0.tgz)
PYTEST = OMP_NUM_THREADS=1 MPLBACKEND=Agg $(if $(RUNTIME),MULTIRATE_ONNXRUNTIME_WEB=$(RUNTIME)) $(BIN)/python -m pytest -n $(WORKERS)

.DELETE_ON_ERROR:
.PHONY: quickstart install dev test test-fast test-integrations test-package test-extras docs lint format audit torture torture-tests clean
.SECONDARY:

quickstart: install
	$(BIN)/multirate quickstart --out $(OUT)

install: $(VENV)/installed
dev: $(VENV)/installed-dev

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit("multirate needs Python 3.11 or newer: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@command -v npm > /dev/null && cd $(VENV) && npm pack --silent onnxruntime-web@1.30.0 > /dev/null || echo "no npm: tests of the explorer in a browser will be skipped"
	@touch $@

test: dev
	$(PYTEST) -m "not torture"

test-fast: dev
	$(PYTEST) -m "not slow and not torture"

# Libraries whose versions clash with others', or that are too large for every developer: an environment each, with the
# versions of constraints/NAME.txt. `make test-integration-scvi` is one of them alone.
INTEGRATIONS := compressai pythae scvi trackers
ENVIRONMENTS := .venv-integrations

test-integrations: $(INTEGRATIONS:%=test-integration-%)

test-integration-%: $(ENVIRONMENTS)/%/installed
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(ENVIRONMENTS)/$*/bin/python tests/integrations/environments.py run $*

$(ENVIRONMENTS)/%/installed: pyproject.toml constraints/%.txt
	$(PYTHON) -m venv $(ENVIRONMENTS)/$*
	$(ENVIRONMENTS)/$*/bin/python -m pip install --quiet -c constraints/$*.txt "$$(grep '^torch==' constraints/$*.txt)"
	$(ENVIRONMENTS)/$*/bin/python -m pip install --quiet -c constraints/$*.txt -e ".[$$($(PYTHON) tests/integrations/environments.py extras $*)]" pytest hypothesis sybil
	@touch $@

test-package: dev
	$(BIN)/python tests/package_check.py

test-extras: dev
	$(BIN)/python tests/package_check.py --extras

docs: dev
	$(BIN)/python -m sphinx -W --keep-going -b html docs site

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src

# Each of them alone: make torture-fuzz. Each writes torture/results/NAME.json. Before them: do the harnesses find planted faults?
TORTURE := server requests mapped members fuzz kills mutants

torture: torture-tests $(TORTURE:%=torture-%)

torture-tests: dev
	$(PYTEST) -m torture

torture-%: dev
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m torture.$*

# Asks the index of Python packages about every pinned version. AUDIT='--vulnerability-service osv' asks osv.dev instead.
AUDIT ?=

audit: .venv-audit/installed
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt $(AUDIT)

.venv-audit/installed: constraints/audit.txt
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet -c constraints/audit.txt pip-audit
	@touch $@

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(ENVIRONMENTS) .venv-audit runs site build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
