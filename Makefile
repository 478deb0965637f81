# The front door: `make demo` shows Taskyard at work, `make test` proves it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: docs help demo down test unit integration conformance e2e lint format crds bench bench-quick bench-growth bench-report bench-celery bench-start clean

help: ## Show what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(STAMP): requirements-dev.txt constraints.txt worker/pyproject.toml operator/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Taskyard needs Python 3.11 or newer: set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ test "$$(id -u)" = 0 && echo "installing python3-venv" && apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; } || \
		{ echo "Python has no venv module: run 'apt-get install python3-venv'"; exit 1; }
	@echo "installing the Python packages into $(VENV)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $@

demo: $(STAMP) ## Bring up a cluster, install Taskyard, run 300 tasks through it (KEEP=1 leaves it up)
	@$(PY) -m examples.quickstart.demo $(if $(KEEP),--keep)

down: $(STAMP) ## Remove everything that `make demo` and `make test` made, also after a crash
	@$(PY) -m tests.cluster down --all

test: lint ## Run every test: unit, integration, conformance, e2e on a real cluster
	@$(PY) -m tests.tiers unit integration conformance e2e

unit: $(STAMP) ## Run the unit tests (under a minute)
	@$(PY) -m tests.tiers unit

integration: $(STAMP) ## Run the tests on real brokers
	@$(PY) -m tests.tiers integration

conformance: $(STAMP) ## Run Celery's own suites, the pains and KILLS=n random kills (an hour)
	@$(PY) -c 'from tests.tiers import install_servers; install_servers()'
	@status=0; export KILLS=$(or $(KILLS),100); \
	$(PY) -m pytest tests/conformance --ignore=tests/conformance/test_fast.py -q || status=1; \
	$(PY) -m tests.conformance || status=1; exit $$status

e2e: $(STAMP) ## Run the tests on a real Kubernetes cluster
	@$(PY) -m tests.tiers e2e

lint: $(STAMP) ## Check style, types, import direction and generated files
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy worker/src operator/src tests examples benchmarks
	@$(VENV)/bin/lint-imports
	@$(PY) -m taskyard_operator.api.generate --check

format: $(STAMP) ## Format the code
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

docs: $(STAMP) ## Build the guide into build/site
	@$(PY) -m mkdocs build --strict --quiet --site-dir build/site

crds: $(STAMP) ## Generate crds/ and the chart's copies from the resource models
	@$(PY) -m taskyard_operator.api.generate

bench: $(STAMP) ## Measure Taskyard and seven other task queues side by side (half an hour)
	@$(PY) -m benchmarks.run

bench-quick: $(STAMP) ## The same in three minutes: one round, defaults only
	@$(PY) -m benchmarks.run --quick

bench-growth: $(STAMP) ## Measure how costs grow, beside Celery: queues, backlog, bodies, ETAs, chords
	@$(PY) -m benchmarks.growth

bench-celery: $(STAMP) ## Measure Celery on its own Redis transport and on Taskyard's (a quarter of an hour)
	@$(PY) -m benchmarks.run --name under-celery \
	    --only "celery,celery over taskyard,celery solo,celery solo over taskyard"

bench-report: $(STAMP) ## Write the kept figures into docs/performance.md
	@$(PY) -m benchmarks.report

bench-start: $(STAMP) ## Measure how long a burst on a pool at zero waits for its first task
	@$(PY) -m benchmarks.start_from_zero

clean: ## Remove the virtual environment and the tools' caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build
