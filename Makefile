# Every target makes its own environment first: nothing but Python 3.11+ and make is needed.

PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/.ready
export DBT_SEND_ANONYMOUS_USAGE_STATS := false

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: $(READY) ## the whole story on this machine: a database's changes become proven tables (under 3 minutes)
	@$(BIN)/cdc demo

.PHONY: up
up: $(READY) ## start PostgreSQL, local DMS, a workload and Dagster's UI; Ctrl-C stops all, again resumes
	@exec $(BIN)/cdc up

.PHONY: test
test: $(READY) ## run every test (about 15 minutes on 2 cores)
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile

.PHONY: check
check: $(READY) ## lint, format, types and the examples in the docstrings
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pytest -q --doctest-modules cdc_platform

.PHONY: format
format: $(READY) ## write the format and the lint's own mends
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

.PHONY: validate
validate: $(READY) ## load the code location as Dagster does, and check it
	@$(BIN)/cdc prepare-manifest
	@$(BIN)/dg check defs
	@$(BIN)/dagster definitions validate --workspace workspace.yaml

.PHONY: bench
bench: $(READY) bench-env ## measure speed against others: hours; one script at a time: see bench/README.md
	@$(BIN)/python -m bench.data --key bigint uuid pair --rebuild
	@for script in merge_speed full_load growth memory; do $(BIN)/python -m bench.$$script || exit 1; done
	@$(BIN)/python -m bench.report

.PHONY: bench-env
bench-env: .venv-bench/.ready ## the environment of what the bench compares with and the product does not use

.PHONY: lock
lock: ## resolve pyproject.toml again into requirements.lock
	@$(PYTHON) scripts/bootstrap.py --lock

.PHONY: env
env: $(READY) ## only make the environment

.PHONY: down
down: $(READY) ## stop what `cdc local up` left running
	@$(BIN)/cdc local down

.PHONY: clean
clean: ## remove what tests, demo and builds made; the environment stays
	@if [ -x $(BIN)/cdc ] && [ -d .cdc/local ]; then $(BIN)/cdc local down; fi
	@rm -rf .cdc .dagster .tmp_dagster_home* .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
	@rm -rf dbt_project/target dbt_project/logs spark-warehouse metastore_db derby.log
	@find bench cdc_platform cdc_platform_tests scripts -name __pycache__ -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## remove the environment too
	@rm -rf .venv .venv-bench .tools

.venv-bench/.ready: bench/requirements.txt
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check --requirement bench/requirements.txt
	@touch $@

$(READY): requirements.lock pyproject.toml scripts/bootstrap.py
	@$(PYTHON) scripts/bootstrap.py
