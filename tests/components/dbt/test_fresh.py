"""`dbt source freshness` as checks, a full refresh from Dagster, and models whose names are nearly alike."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster_dbt import DbtProject
from dagster_dbt.components.dbt_component_utils import DagsterDbtComponentTranslatorSettings

from asgard_assets.components.dbt import DbtModels
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from tests.fakes.dbt_process import write_project

pytestmark = pytest.mark.servers
FILES = {
    "models/sources.yml": """
sources:
- name: crm
  meta: {external_location: "(select now() - interval 2 day as loaded)"}
  loaded_at_field: loaded
  tables:
  - {name: fresh, freshness: {error_after: {count: 3, period: day}}}
  - {name: late, freshness: {warn_after: {count: 1, period: day}, error_after: {count: 3, period: day}}}
  - {name: lost, freshness: {error_after: {count: 1, period: day}}}
  - {name: asleep, freshness: {error_after: {count: 1, period: hour}}, meta: {external_location: "(select nothing)"}}
""",
    "macros/schema.sql": "{% macro generate_schema_name(custom, node) %}{{ custom or 'gold' }}{% endmacro %}",
    "models/grows.sql": "{{ config(materialized='incremental') }} select 1 as id",
    "models/mart__dim.sql": "{{ config(materialized='table') }} select 1 as id",
    "models/dim.sql": "{{ config(materialized='table', schema='gold__mart') }} select 2 as id",
}


def test_freshness_is_a_check_and_a_full_refresh_is_an_option_of_the_run(lake: Lake, tmp_path: Path):
    settings = DagsterDbtComponentTranslatorSettings(enable_code_references=False)
    project = DbtProject(write_project(tmp_path / "shop", FILES))
    loaded = DbtModels(project=project, translation_settings=settings).build_defs(
        dg.ComponentTree.for_test().load_context
    )
    resources = {"lake": LakeResource(root=lake.root)}
    graph = dg.Definitions.merge(loaded, dg.Definitions(resources=resources)).resolve_asset_graph()
    chosen = dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks()
    job = dg.define_asset_job("whole", chosen).resolve(asset_graph=graph)

    def run(**config: object) -> dg.ExecuteInProcessResult:
        asked = {"ops": {"shop_whole": {"config": config}}} if config else None
        with dg.DagsterInstance.ephemeral() as instance:
            return job.execute_in_process(asked, instance=instance, resources=resources)

    done = run()
    told = {each.asset_key.path[-1]: each for each in done.get_asset_check_evaluations()}
    assert {name: (each.passed, each.severity.value) for name, each in told.items()} == {
        "fresh": (True, "ERROR"), "late": (False, "WARN"), "lost": (False, "ERROR"), "asleep": (False, "ERROR")
    }  # fmt: skip
    assert told["late"].metadata["max_loaded_at_time_ago_in_s"].value > 86400
    made = {each.asset_key.to_user_string() for each in done.get_asset_materialization_events()}
    assert made == {"gold/grows", "gold/mart__dim", "gold__mart/dim"}
    for config, rows in (({}, 2), ({"full_refresh": True}, 1)):
        run(**config)
        with lake.connect() as connection:
            assert connection.execute("select count(*) from gold.grows").fetchone() == (rows,)
