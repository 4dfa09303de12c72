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
	@bash tests/run.sh

test-fast: setup  ## The unmarked tests: no servers, nothing slow, under three minutes
	@$(BIN)/python -m pytest -m "not soak and not servers and not cluster and not slow"

soak: setup  ## The full counts: kills of every stage, faults and a million requests (hours)
	@$(BIN)/python -m pytest -m "soak and not cluster"

soak-cluster: setup  ## The full counts on the test cluster: 50 steps ended in five ways, 200 applications at once
	@trap 'bash deployments/cluster/down.sh' EXIT; $(BIN)/python -m pytest tests/cluster -m "cluster and soak" --timeout 7200 -s

cluster: setup  ## A real one-node Kubernetes with the Spark operator on this machine (root; built once, kept)
	@bash deployments/cluster/up.sh

cluster-down:  ## End that cluster and remove all that it made
	@bash deployments/cluster/down.sh

test-cluster: setup  ## Spark steps on that cluster, each failure provoked once; the cluster is ended afterwards
	@trap 'bash deployments/cluster/down.sh' EXIT; $(BIN)/python -m pytest tests/cluster -m "cluster and not soak" --timeout 1500

image: setup  ## The Spark image without Docker, as an OCI archive (asgard-spark.oci.tar)
	@$(BIN)/python -m deployments.images.build --output asgard-spark.oci.tar asgard

docs: setup  ## dbt's docs site over the lake, .asgard/docs/dbt/index.html
	@$(BIN)/python -m asgard_assets.components.dbt.manifest --docs dbt_project

check: setup  ## ruff, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports

lock: setup  ## Resolve pyproject.toml into requirements.lock again, and the Spark image's part of it
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" -q -o requirements.lock
	@$(BIN)/uv pip compile deployments/images/spark.in -c requirements.lock --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o deployments/images/spark.lock

.PHONY: help setup demo dev test test-fast soak soak-cluster cluster cluster-down test-cluster image docs check lock
