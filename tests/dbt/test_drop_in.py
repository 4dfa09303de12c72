"""dbt projects that know nothing of Asgard: loaded as they are, built by dbt and by Dagster alike."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster.components.resolved.core_models import OpSpec
from dagster_dbt import DbtProject

from asgard_assets.components.dbt import DbtModels
from asgard_assets.components.dbt.manifest import docs
from asgard_assets.components.dbt.sources import with_source_freshness
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from tests.dbt.projects import CORNERS, EVERYTHING, SHOP, SOURCED
from tests.fakes.dbt_process import dbt, write_project

pytestmark = pytest.mark.servers


def definitions(project: Path, **attributes: Any) -> dg.Definitions:
    component = DbtModels(project=DbtProject(project), **attributes)
    loaded = component.build_defs(dg.ComponentTree.for_test().load_context)
    return dg.Definitions.merge(loaded, dg.Definitions(resources={"lake": LakeResource(root="unused")}))


def materialize(lake: Lake, defs: dg.Definitions, *keys: str) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        list(defs.assets or []),
        selection=[dg.AssetKey(k.split("/")) for k in keys] or None,
        resources={"lake": LakeResource(root=lake.root)},
        raise_on_error=False,
    )


def query(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    with lake.connect() as connection:
        return connection.execute(sql).fetchall()


def failure(result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(str(e.step_failure_data.error) for e in result.all_node_events if e.is_step_failure)


def test_a_shop_with_seeds_staging_views_and_marts_builds_by_dbt_and_by_dagster(tmp_path):
    project = write_project(tmp_path / "shop", SHOP)
    by_dbt, by_dagster = Lake(str(tmp_path / "dbt")), Lake(str(tmp_path / "dagster"))
    ok, output = dbt(by_dbt, project, "build")
    assert ok, output
    (project / "profiles.yml").unlink()  # Dagster needs none
    defs = definitions(project)
    result = materialize(by_dagster, defs)
    assert result.success, failure(result)
    wanted = [(1, 2, 33.0), (2, 1, 20.0), (3, None, None)]
    for lake in (by_dbt, by_dagster):
        assert (
            query(
                lake,
                "select customer_id, number_of_orders, customer_lifetime_value "
                "from gold.customers order by 1",
            )
            == wanted
        )
        assert lake.tables() == [
            ("gold", "customers"),
            ("gold", "orders"),
            ("gold", "raw_customers"),
            ("gold", "raw_orders"),
            ("gold", "raw_payments"),
        ]
    checks = result.get_asset_check_evaluations()
    assert {c.check_name for c in checks} >= {"orders_have_customers", "unique_customers_customer_id"}
    assert all(c.passed for c in checks)
    events = {
        e.asset_key.to_user_string(): e.materialization.metadata
        for e in result.get_asset_materialization_events()
    }
    assert events["gold/customers"]["dagster/row_count"].value == 3
    assert events["gold/customers"]["bytes"].value > 0
    lineage = events["gold/customers"]["dagster/column_lineage"].value.deps_by_column
    assert dg.TableColumnDep(dg.AssetKey(["gold", "orders"]), "amount") in lineage["customer_lifetime_value"]
    view = events["gold/stg_orders"]["dagster/column_schema"].value
    assert [column.name for column in view.columns] == ["order_id", "customer_id", "order_date", "status"]
    # One asset alone reads its parents, views among them, as the last run left them.
    alone = materialize(by_dagster, defs, "gold/orders")
    assert alone.success, failure(alone)
    assert by_dagster.version("gold", "orders") == 2
    assert by_dagster.version("gold", "customers") == 1


def test_a_source_that_is_a_seed_is_built_before_what_reads_it(tmp_path):
    project = write_project(tmp_path / "sourced", SOURCED)
    lake = Lake(str(tmp_path / "lake"))
    defs = definitions(project)
    graph = defs.resolve_asset_graph()
    assert (
        dg.AssetKey(["raw", "raw_items"]) in graph.get(dg.AssetKey(["gold_staging", "stg_items"])).parent_keys
    )
    fresh = {
        s.key.to_user_string(): s.freshness_policy
        for s in with_source_freshness(defs).resolve_all_asset_specs()
    }
    assert fresh["raw/raw_items"] == dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=24))
    result = materialize(lake, defs)
    assert result.success, failure(result)
    assert query(lake, "select * from gold.item_totals order by 1") == [("a", 3), ("b", 3)]
    assert query(lake, "select * from gold.all_items") == [(6,)]
    checks = {c.check_name: c.passed for c in result.get_asset_check_evaluations()}
    assert checks == {
        "unique_raw_items_id": True, "relationships_stg_items_item_id__id__ref_raw_items_": True
    }  # fmt: skip
    ok, output = dbt(lake, project, "build")
    assert ok and lake.version("raw", "raw_items") == 2, output
    # A failing test holds its table back; its neighbours are published.
    (project / "seeds" / "raw_items.csv").write_text("id,kind,pieces\n1,a,1\n1,b,3\n")
    result = materialize(lake, definitions(project))
    assert not result.success
    assert "raw/raw_items not published: a blocking test failed: unique_raw_items_id" in failure(result)
    assert query(lake, "select count(*) from raw.raw_items") == [(3,)]


def test_what_public_projects_use_loads_and_builds(tmp_path):
    project = write_project(tmp_path / "everything", EVERYTHING)
    lake = Lake(str(tmp_path / "lake"))
    result = materialize(lake, definitions(project))
    assert result.success, failure(result)
    first = query(lake, "select id, state, dbt_valid_to is null from snapshots.orders_snapshot order by id")
    assert first == [(1, "new", True), (2, "new", True)]
    assert query(lake, 'select id, "Order State" from main."Orders By State" order by 1') == [
        (1, "new"),
        (2, "new"),
    ]
    assert query(lake, "select count(*) from main.dim_v1") == [(2,)]
    assert query(lake, "select count(*) from main.dim_v2") == [(2,)]
    assert query(lake, "select what from main.hooked") == [("pre",), ("post",)]
    assert query(lake, "select day, n from main.spine order by 1")[0][1] == 1
    assert query(lake, "select doubled from main.py_model order by 1") == [(2,), (4,)]
    assert query(lake, "select id, runs from main.events order by 1") == [(1, 1), (2, 1)]
    sources = definitions(project).asset_checks or []
    checked = dg.Definitions(asset_checks=sources, resources={"lake": LakeResource(root=lake.root)})
    done = checked.resolve_implicit_global_asset_job_def().execute_in_process()
    assert [
        (c.asset_key.to_user_string(), c.check_name, c.passed) for c in done.get_asset_check_evaluations()
    ] == [("files/orders", "source_unique_files_orders_id", True)]
    spec = next(s for s in definitions(project).resolve_all_asset_specs() if s.key.path[-1] == "dim_v2")
    assert spec.owners == ["finance@example.com"]

    (project / "data" / "orders.csv").write_text("id,state\n1,done\n2,new\n3,new\n")
    ok, output = dbt(lake, project, "build")
    assert ok, output
    again = query(lake, "select id, state, dbt_valid_to is null from snapshots.orders_snapshot order by 1, 3")
    assert again == [(1, "new", False), (1, "done", True), (2, "new", True), (3, "new", True)]
    assert query(lake, "select id, runs from main.events order by 1") == [(1, 2), (2, 2), (3, 1)]
    assert json.loads((project / "target" / "delta_publish.json").read_text())["unpublished"] == {}


def test_a_project_keeps_its_own_duckdb_file_where_its_profile_says_so(tmp_path):
    project = write_project(
        tmp_path / "shop",
        {**SHOP, "profiles.yml": "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}\n"},
    )
    lake = Lake(str(tmp_path / "lake"))
    result = materialize(lake, definitions(project))
    assert result.success, failure(result)
    made = {e.asset_key.to_user_string() for e in result.get_asset_materialization_events()}
    assert {"main/customers", "main/orders", "main/stg_orders", "main/raw_orders"} <= made
    assert lake.tables() == []
    with duckdb.connect(str(project / "shop.duckdb"), read_only=True) as own:
        assert own.execute("select count(*) from main.customers").fetchall() == [(3,)]


def test_seed_run_and_test_are_commands_of_their_own_and_the_docs_know_the_tables(tmp_path):
    project = write_project(tmp_path / "shop", SHOP)
    lake = Lake(str(tmp_path / "lake"))
    for command in ("seed", "run", "test"):
        ok, output = dbt(lake, project, command)
        assert ok, output
    assert query(lake, "select count(*) from gold.customers") == [(3,)]
    ok, output = dbt(lake, project, "run", "--select", "customers")
    assert ok and lake.version("gold", "customers") == 2 and lake.version("gold", "orders") == 1, output
    ok, output = dbt(lake, project, "docs", "generate")
    assert ok, output
    catalog = json.loads((project / "target" / "catalog.json").read_text())
    assert catalog["nodes"]["model.shop.customers"]["columns"]["customer_lifetime_value"]["type"] == "DOUBLE"
    site = docs(project, tmp_path / "site")
    assert "raw_payments" in site.read_text()


def test_what_the_component_of_dagster_dbt_can_be_told_this_one_can(tmp_path):
    project = write_project(tmp_path / "corners", CORNERS)
    lake = Lake(str(tmp_path / "lake"))
    defs = definitions(
        project,
        cli_args=["build", {"--vars": {"rows": 3}}, "--fail-fast"],
        op=OpSpec(name="corner", pool="dbt", tags={"team": "shop"}),
        exclude="tag:never",
    )
    (asset,) = defs.assets or []
    assert isinstance(asset, dg.AssetsDefinition)
    assert (asset.op.name, asset.op.pool, asset.op.tags["team"]) == ("corner_whole", "dbt", "shop")
    groups = {spec.key.path[-1]: spec.group_name for spec in asset.specs}
    assert groups == {"orders": "gold", "by_day": "sales", "late": "reports", "batches": "gold"}
    # A model is built alone, although a folder has its name, and although its own folder's name has a blank.
    for key, made in (("gold/orders", ("gold", "orders")), ("gold/late", ("gold", "late"))):
        result = materialize(lake, defs, key)
        assert result.success, failure(result)
        assert len(result.get_asset_materialization_events()) == 1 and made in lake.tables()
    assert lake.tables() == [("gold", "late"), ("gold", "orders")]
    assert query(lake, "select count(*) from gold.orders") == [(3,)]


def test_microbatch_replaces_the_batches_of_the_run_and_keeps_the_others(tmp_path):
    project = write_project(tmp_path / "corners", CORNERS)
    lake = Lake(str(tmp_path / "lake"))
    for first, after, rows in (("2026-10-01", "2026-10-03", 5), ("2026-10-02", "2026-10-04", 7)):
        batches = ("--event-time-start", first, "--event-time-end", after)
        ok, output = dbt(lake, project, "build", *batches, rows=rows)
        assert ok, output
    found = query(lake, "select strftime(moment, '%d'), rows from gold.batches order by 1")
    # The first batch makes the table of the whole query, for dbt filters only refs that have an event_time.
    assert dict(found) == {"01": 5, "02": 7, "03": 7, "04": 5, "05": 5, "06": 5, "07": 5, "08": 5}
    assert len(found) == 8


def test_a_hook_that_fails_at_the_end_keeps_nothing_from_being_published(tmp_path):
    settings = SHOP["dbt_project.yml"] + "on-run-end: ['grant usage on schema main to role reporter']\n"
    project = write_project(tmp_path / "shop", {**SHOP, "dbt_project.yml": settings})
    by_dbt, by_dagster = Lake(str(tmp_path / "dbt")), Lake(str(tmp_path / "dagster"))
    ok, output = dbt(by_dbt, project, "build")
    assert not ok and "syntax error at or near" in output
    result = materialize(by_dagster, definitions(project))
    assert not result.success and "syntax error at or near" in failure(result)
    assert len(result.get_asset_materialization_events()) == 8
    assert len(by_dbt.tables()) == len(by_dagster.tables()) == 5


def test_a_source_in_a_database_of_the_warehouse_is_read_from_the_lake(tmp_path):
    files = {
        "models/sources.yml": "sources: [{name: crm, database: Raw, schema: crm, tables: [{name: orders}]}]\n",
        "models/stg.sql": "{{ config(materialized='view') }} select * from {{ source('crm', 'orders') }}\n",
        "models/total.sql": "{{ config(materialized='table') }} select count(*) as n from {{ ref('stg') }}\n",
    }
    project = write_project(tmp_path / "shop", files)
    maker = write_project(
        tmp_path / "maker",
        {"models/orders.sql": "{{ config(materialized='table', schema='crm') }} select 1 as id"},
    )
    (maker / "macros").mkdir()
    (maker / "macros" / "schema.sql").write_text(
        "{% macro generate_schema_name(custom, node) %}{{ custom }}{% endmacro %}"
    )
    lake = Lake(str(tmp_path / "lake"))
    ok, output = dbt(lake, project, "build")
    assert not ok and "crm/orders was never published" in output
    ok, output = dbt(lake, maker, "build")
    assert ok, output
    for args in ((), ("--select", "total")):
        ok, output = dbt(lake, project, "build", *args)
        assert ok and query(lake, "select n from gold.total") == [(1,)], output
    ok, output = dbt(lake, project, "docs", "generate")
    assert ok, output
