#!/usr/bin/env bash
# Materialize one partition of one asset as a CI job does: an empty Dagster history, no UI, no daemon.
set -euo pipefail
cd "$(dirname "$0")/../.."
export DAGSTER_HOME="${DAGSTER_HOME:?name an empty folder}" DAGSTER_DISABLE_TELEMETRY=yes
export ASGARD_PARTITION_START=2026-10-05 ASGARD_PARTITION_END=2026-11-02
mkdir -p "$DAGSTER_HOME"
.venv/bin/python -m deployments.local.demo.landing --days 2026-10-05..2026-10-06 --root "${ASGARD_HOME:-.asgard}/landing"
.venv/bin/dagster asset materialize -m asgard_assets.definitions --select "key:bronze/invoices" --partition 2026-10-05
(. .venv/bin/activate && dg launch --assets "key:bronze/invoices" --partition 2026-10-06)
.venv/bin/python - <<'PYTHON'
from asgard_assets.lake import Lake

with Lake.from_settings().connect() as connection:
    found = connection.sql("select ds, count(*) from bronze.invoices group by 1 order by 1").fetchall()
assert [day for day, _ in found] == ["2026-10-05", "2026-10-06"], found
print("materialized from an empty history:", found)
PYTHON
