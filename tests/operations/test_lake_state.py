"""`asgard state SELECTION` says what is missing, stale or waiting, and why."""

from __future__ import annotations

import json

import dagster as dg
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.following.reads import READS, RECEIPT, reads_of, receipt_of
from asgard_assets.components.partitions import daily
from asgard_assets.lake import Lake
from asgard_assets.operations import sources

DAYS = list(daily().get_partition_keys())
SCHEMA = pa.schema([("id", pa.int64()), ("ds", pa.string())])
BRONZE, SILVER = dg.AssetSpec(["bronze", "x"], partitions_def=daily()), dg.AssetKey(["silver", "x"])


@dg.asset(
    key=SILVER,
    deps=[BRONZE.key],
    partitions_def=daily(),
    automation_condition=on_upstream_change(),
    metadata={READS: {}},
)
def silver() -> None: ...


@dg.asset(
    key=["features", "x"],
    group_name="features",
    deps=[SILVER],
    partitions_def=daily(),
    metadata={READS: {}, RECEIPT: receipt_of("features", "x")},
)
def features() -> None: ...


DEFS = dg.Definitions(assets=[BRONZE, silver, features])


def publish(lake: Lake, key: dg.AssetKey, days: list[str], value: int = 0) -> None:
    specs = {BRONZE.key: BRONZE, **silver.specs_by_key}
    staging = lake.stage(key.path[0], key.path[1], SCHEMA, days)
    lake.write(staging, pa.table([[value] * len(days), days], schema=SCHEMA))
    lake.publish(staging, reads=reads_of(lake, specs[key], specs))


@pytest.fixture
def asked(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    from asgard_assets.cli import app

    monkeypatch.setattr(sources, "load_definitions", lambda: DEFS)

    def ask(*options: str, target: str = "group:default") -> str:
        told = CliRunner().invoke(app, ["state", target, *options])
        assert told.exit_code == 0, told.output
        return told.output

    return ask


def test_it_says_what_is_missing_stale_and_waiting_and_why(lake: Lake, asked):
    publish(lake, BRONZE.key, DAYS[:6])
    publish(lake, SILVER, DAYS[:3])
    publish(lake, BRONZE.key, DAYS[1:2], value=1)
    said = [line.strip() for line in asked().splitlines()]
    assert f"missing     {DAYS[3]}...{DAYS[5]}" in said
    assert any(line.startswith(f"stale       {DAYS[1]}: bronze/x {DAYS[1]} changed at 20") for line in said)
    assert f"waiting     {DAYS[6]}...{DAYS[-1]}: {DAYS[6]} lacks bronze/x {DAYS[6]}" in said


def test_programs_get_the_same(lake: Lake, asked):
    publish(lake, BRONZE.key, DAYS[:2])
    [told] = json.loads(asked("--output", "json"))
    assert told["lake"]["missing"] == DAYS[:2]


def test_what_lies_outside_the_lake_is_counted_by_its_receipts(lake: Lake, asked):
    """Dagster's history may be lost."""
    stage, name = receipt_of("features", "x").split("/")
    lake.publish(lake.stage(stage, name, pa.schema([("ds", pa.string())]), DAYS[:2]))
    assert f"features/x: 2 of {len(DAYS)} partitions" in asked(target="group:features")
