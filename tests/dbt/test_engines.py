"""One project, two engines over one S3 server: DuckDB and Trino give the same rows, by dbt and by Dagster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_dbt import DbtProject
from dagster_dbt.components.dbt_component_utils import DagsterDbtComponentTranslatorSettings

from asgard_assets.components.dbt import DbtModels
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from tests.fakes.gold import DAYS, copy_project, put_silver, rows, run_dbt
from tests.servers.s3 import S3, s3
from tests.servers.trino import trino

pytestmark = pytest.mark.servers
ENGINES = ["duckdb", "trino"]
TABLES = ("customer_metrics", "revenue_daily")
BUILD = ("build", "--exclude-resource-type", "unit_test")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server, and a Trino whose catalog lies on it; both in the environment of what is started."""
    folder = tmp_path_factory.mktemp("servers")
    (folder / "trino").mkdir()
    with s3(folder / "s3", "lake") as server, trino(folder / "trino", server, "s3://lake") as port:
        given = {**server.environment, "ASGARD_TRINO_PORT": str(port)}
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        yield server
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def built(server: S3, engine: str, root: str, target: Path, *days: str) -> Lake:
    lake = Lake(root, server.endpoint, server.region)
    code, output = run_dbt(lake, target, *BUILD, "--target", engine, days=(days[0], days[-1]))
    assert code == 0, output
    return lake


@pytest.fixture(scope="module")
def by_dagster(servers: S3, tmp_path_factory: pytest.TempPathFactory) -> dg.ExecuteInProcessResult:
    """The three days built by Trino, as assets: one run over the range."""
    project = copy_project(tmp_path_factory.mktemp("dagster") / "project")
    settings = DagsterDbtComponentTranslatorSettings(enable_code_references=False)
    component = DbtModels(project=DbtProject(project, target="trino"), translation_settings=settings)
    loaded = component.build_defs(dg.ComponentTree.for_test().load_context)
    lake = LakeResource(root="s3://lake/trino", endpoint=servers.endpoint, region=servers.region)
    put_silver(lake.lake)
    span = {"dagster/asset_partition_range_start": DAYS[0], "dagster/asset_partition_range_end": DAYS[-1]}
    return dg.materialize(list(loaded.assets or []), resources={"lake": lake}, tags=span)


@pytest.fixture(scope="module")
def lakes(servers: S3, by_dagster: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lake]:
    """For each engine a lake in which it built three days, and then the second of them again by plain dbt."""
    target = tmp_path_factory.mktemp("target")
    put_silver(Lake("s3://lake/duckdb", servers.endpoint, servers.region))
    built(servers, "duckdb", "s3://lake/duckdb", target, *DAYS)
    return {engine: built(servers, engine, f"s3://lake/{engine}", target, DAYS[1]) for engine in ENGINES}


def test_trino_makes_assets_with_the_rows_of_each_day_and_every_check(by_dagster):
    events = by_dagster.get_asset_materialization_events()
    metadata = {(e.asset_key.path[-1], e.partition): e.materialization.metadata for e in events}
    assert set(metadata) == {(table, day) for table in TABLES for day in DAYS}
    counts = [metadata["customer_metrics", day]["dagster/partition_row_count"].value for day in DAYS]
    assert counts == [2, 2, 3]
    checks = by_dagster.get_asset_check_evaluations()
    assert len(checks) == 8 and all(check.passed for check in checks)


@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_knows_every_customer_on_each_day(lakes, engine):
    found = rows(lakes[engine], "customer_metrics", "ds, customer_id, plan, orders, open_invoices", "1, 2")
    assert found == [
        (DAYS[0], 1, "basic", 1, 1),
        (DAYS[0], 3, "basic", 0, 0),
        (DAYS[1], 1, "premium", 2, 1),
        (DAYS[1], 3, "basic", 0, 0),
        (DAYS[2], 1, "premium", 2, 1),
        (DAYS[2], 2, "basic", 0, 0),
        (DAYS[2], 3, "basic", 0, 0),
    ]


@pytest.mark.parametrize("table", TABLES)
def test_both_engines_publish_the_same_columns_and_rows(lakes, table):
    names = [lakes[engine].table("gold", table) for engine in ENGINES]
    schemas = [[(f.name, str(f.type)) for f in t.schema().fields] for t in names if t is not None]
    assert schemas[0] == schemas[1]
    columns = ", ".join(name for name, _ in schemas[0])
    duckdb, trino_rows = (rows(lakes[engine], table, columns) for engine in ENGINES)
    assert duckdb and duckdb == trino_rows


def test_one_engine_goes_on_where_the_other_stopped(servers, lakes, tmp_path):
    """DuckDB replaces a day of tables that Trino made, in the same commit protocol."""
    lake = lakes["trino"]
    before = {table: rows(lake, table) for table in TABLES}
    built(servers, "duckdb", lake.root, tmp_path, DAYS[2])
    assert {table: rows(lake, table) for table in TABLES} == before
