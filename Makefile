.DEFAULT_GOAL := help
BIN := .venv/bin

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup:  ## Make the environment from the lock file and fetch the Spark jars (done by the others when needed)
	@bash deployments/local/setup.sh

demo: setup  ## Churn prediction from sources to predictions on this machine, no server needed
	@$(BIN)/asgard demo

dev: setup  ## Dagster UI on the demo's data and history, http://127.0.0.1:3000
	@$(BIN)/asgard dev

test: setup  ## All tests, those that start real servers included
	@$(BIN)/python -m pytest -m "not soak"

test-fast: setup  ## The unmarked tests: no servers
	@$(BIN)/python -m pytest -m "not soak and not servers"

soak: setup  ## Kill every stage ten times and compare the tables
	@$(BIN)/python -m pytest -m soak

docs: setup  ## dbt's docs site over the lake, .asgard/docs/dbt/index.html
	@$(BIN)/python -m asgard_assets.components.dbt_manifest --docs dbt_project

check: setup  ## ruff, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports

lock: setup  ## Resolve pyproject.toml into requirements.lock again
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" -q -o requirements.lock

.PHONY: help setup demo dev test test-fast soak docs check lock
