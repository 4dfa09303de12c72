"""dbt models as assets: what stands in dbt's files makes the asset, and only what was published is recorded."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_dbt import DbtProject
from dagster_dbt.components.dbt_component_utils import DagsterDbtComponentTranslatorSettings

from asgard_assets.components.dbt import DbtModels
from asgard_assets.components.dbt import manifest as dbt_manifest
from asgard_assets.components.dbt.manifest import fingerprint, prepare, profiles
from asgard_assets.components.partitions import daily
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from tests.fakes.gold import DAYS, PROJECT, copy_project, put_silver, run_dbt

METRICS, REVENUE = dg.AssetKey(["gold", "customer_metrics"]), dg.AssetKey(["gold", "revenue_daily"])


def definitions(project: Path) -> dg.Definitions:
    settings = DagsterDbtComponentTranslatorSettings(enable_code_references=False)
    component = DbtModels(project=DbtProject(project), translation_settings=settings)
    loaded = component.build_defs(dg.ComponentTree.for_test().load_context)
    return dg.Definitions.merge(loaded, dg.Definitions(resources={"lake": LakeResource(root="unused")}))


def parents(graph: Any, key: dg.AssetKey) -> set[str]:
    return {parent.to_user_string() for parent in graph.get(key).parent_keys}


@pytest.fixture(scope="module")
def gold() -> dg.Definitions:
    return definitions(PROJECT)


def test_every_gold_model_stands_on_the_right_silver_assets(gold):
    graph = gold.resolve_asset_graph()
    silver = {f"silver/{name}" for name in ("customers", "purchases", "usage", "tickets", "invoices")}
    assert parents(graph, METRICS) == silver
    assert parents(graph, REVENUE) == {"gold/customer_metrics", "silver/customers", "silver/invoices"}


def test_what_stands_in_the_yaml_makes_the_asset(gold):
    spec = next(s for s in gold.resolve_all_asset_specs() if s.key == METRICS)
    assert spec.owners == ["team:analytics"]
    assert spec.kinds == {"dbt", "duckdb", "delta"}
    assert spec.group_name == spec.tags["stage"] == "gold"
    assert "churn" in spec.tags
    assert spec.partitions_def == daily()
    assert spec.metadata["key"] == "customer_id"
    assert spec.freshness_policy is not None and spec.automation_condition is not None
    columns = {c.name: c.type for c in spec.metadata["dagster/column_schema"].columns}
    assert columns["event_timestamp"] == "timestamptz" and columns["ds"] == "varchar"


def test_tests_are_checks_that_block_where_their_severity_is_error(gold):
    graph = gold.resolve_asset_graph()
    blocking = {key.name: graph.get(key).blocking for key in graph.asset_check_keys}
    assert blocking["customer_metrics_key_is_unique"] is True
    assert blocking["at_least_revenue_daily_paid_amount__0"] is False


def test_a_load_with_a_current_manifest_runs_no_dbt():
    prepare(PROJECT)
    code = (
        "import sys\n"
        "from tests.components.dbt.test_component import definitions, PROJECT\n"
        "import subprocess; subprocess.run = None\n"
        "definitions(PROJECT)\n"
        "print(sorted({'dbt.cli', 'dbt.parser', 'duckdb', 'deltalake'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_fingerprint_sees_every_file_that_dbt_reads_and_none_that_it_makes(tmp_path):
    project = copy_project(tmp_path / "project")
    before = fingerprint(project)
    (project / "target").mkdir()
    (project / "target" / "manifest.json").write_text("{}")
    assert fingerprint(project) == before
    (project / "models" / "gold" / "new.sql").write_text("select 1 as a")
    assert fingerprint(project) != before


def test_the_fingerprint_passes_over_what_other_tools_make_and_links_that_go_in_a_circle(tmp_path):
    project = copy_project(tmp_path / "project")
    (project / "packages").mkdir()
    before = fingerprint(project)
    (project / "packages" / "itself").symlink_to(project)
    for made, marker in (("build", "partial_parse.msgpack"), ("venv", "pyvenv.cfg")):
        (project / made / "inside").mkdir(parents=True)
        (project / made / marker).touch()
        (project / made / "inside" / "compiled.sql").write_text("select 1")
    assert fingerprint(project) == before


def test_the_profile_is_the_one_that_is_named(tmp_path, monkeypatch):
    (tmp_path / "dbt_project.yml").write_text(
        "name: shop\nprofile: \"{{ env_var('SHOP_PROFILE', 'mine') }}\"\n"
    )
    folder, said = profiles(tmp_path)
    assert said is None and '\n"mine":\n' in (folder / "profiles.yml").read_text()
    monkeypatch.setenv("SHOP_PROFILE", "ours")
    assert '\n"ours":\n' in (profiles(tmp_path)[0] / "profiles.yml").read_text()
    assert profiles(tmp_path, "theirs", tmp_path / "etc") == (tmp_path / "etc", "theirs")


@pytest.mark.slow
def test_the_profile_is_the_same_in_each_process_so_that_dbt_parses_only_what_changed():
    from dbt.adapters.delta.connections import DeltaCredentials

    said = dict(DeltaCredentials(database="memory", schema="gold").connection_info())
    assert str(os.getpid()) not in str(said)


def test_a_folder_without_a_project_is_named(tmp_path):
    with pytest.raises(ConfigError, match="holds no dbt_project.yml"):
        fingerprint(tmp_path)


def test_in_production_a_changed_project_does_not_load_and_says_what_to_run(tmp_path, monkeypatch):
    project = copy_project(tmp_path / "project")
    monkeypatch.setenv("ASGARD_ENV", "production")
    with pytest.raises(ConfigError, match="run `python -m asgard_assets.components.dbt .*project`"):
        definitions(project)


def test_no_source_is_an_orphan():
    from asgard_assets.definitions import defs

    made = defs().resolve_asset_graph().materializable_asset_keys
    component = DbtModels(project=DbtProject(PROJECT))
    sources = {dg.AssetKey([s["schema"], s["identifier"]]) for s in component.manifest["sources"].values()}
    assert sources and sources <= made


PLANS = "select plan, count(*) as customers, ds from {{ ref('customer_metrics') }} group by plan, ds"
PLANS_YAML = """
models:
  - name: plans
    description: Customers by plan.
    config: {partition_by: ds, unique_key: [plan]}
    columns:
      - {name: plan, data_type: varchar, data_tests: [not_null]}
"""
TOTAL = "select count(*) as tickets from {{ source('silver', 'tickets') }}"
# A folder below, the name of a Silver table, an alias, a model in between that is no table, a package's own name.
OTHERS = {
    "models/gold/finance/year/tickets.sql": "select * from {{ source('silver', 'tickets') }}",
    "models/gold/between.sql": "{{ config(materialized='ephemeral') }} select t.* from {{ ref('tickets') }} as t "
    "join {{ source('silver', 'invoices') }} using (customer_id)",
    "models/elsewhere/Owing.sql": "{{ config(alias='who_owes', materialized='table') }} "
    "select * from {{ ref('between') }} join {{ ref('gold', 'plans') }} using (ds)",
    "models/elsewhere/last.sql": "{{ config(materialized='view', schema='marts') }} select * from {{ ref('Owing') }}",
}


@pytest.mark.servers
def test_a_manifest_is_made_for_the_target_and_by_the_command_that_the_component_names(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.sql").write_text("select {{ var('asked') }} as a, '{{ target.name }}' as b")
    (tmp_path / "dbt_project.yml").write_text("name: shop\nversion: '1.0'\nprofile: shop\n")
    outputs = "{dev: {type: delta}, prod: {type: delta}}"
    (tmp_path / "profiles.yml").write_text(f"shop: {{target: dev, outputs: {outputs}}}\n")
    command = ["parse", "--vars", "asked: 7"]
    component = DbtModels(
        project=DbtProject(tmp_path, target="prod", prepare_project_cli_args=command),
        cli_args=["build", {"--vars": {"asked": 7}}],
        translation_settings=DagsterDbtComponentTranslatorSettings(enable_code_references=False),
    )
    monkeypatch.setenv("ASGARD_ENV", "production")
    with pytest.raises(ConfigError) as told:
        component.build_defs(dg.ComponentTree.for_test().load_context)
    said = shlex.split(str(told.value).split("`")[1])
    dbt_manifest.main(said[said.index("asgard_assets.components.dbt") + 1 :])
    assert len(component.build_defs(dg.ComponentTree.for_test().load_context).assets or []) == 1


@pytest.mark.servers
def test_a_new_sql_file_and_its_yaml_are_an_asset_without_any_python(tmp_path):
    files = {
        "models/gold/plans.sql": PLANS,
        "models/gold/plans.yml": PLANS_YAML,
        "models/gold/total.sql": TOTAL,
        **OTHERS,
    }
    graph = definitions(copy_project(tmp_path / "project", files)).resolve_asset_graph()
    plans, total = graph.get(dg.AssetKey(["gold", "plans"])), graph.get(dg.AssetKey(["gold", "total"]))
    assert parents(graph, plans.key) == {"gold/customer_metrics"}
    assert parents(graph, total.key) == {"silver/tickets"}
    assert plans.partitions_def == daily() and total.partitions_def is None
    assert {key.name for key in plans.check_keys} == {"not_null_plans_plan"}
    gold, last = dg.AssetKey(["gold", "who_owes"]), dg.AssetKey(["marts", "last"])
    assert parents(graph, dg.AssetKey(["gold", "tickets"])) == {"silver/tickets"}
    assert parents(graph, gold) == {"gold/tickets", "silver/invoices", "gold/plans"}
    assert parents(graph, last) == {"gold/who_owes"} and not graph.has(dg.AssetKey(["gold", "between"]))


@pytest.mark.servers
def test_a_project_that_dbt_cannot_parse_says_why(tmp_path):
    project = copy_project(
        tmp_path / "project", {"models/gold/bad.sql": "select * from {{ ref('nowhere') }}"}
    )
    with pytest.raises(ConfigError, match="depends on a node named 'nowhere' which was not found"):
        definitions(project)


@pytest.mark.servers
def test_a_profile_of_another_warehouse_is_named_and_what_to_write_instead(tmp_path):
    (tmp_path / "dbt_project.yml").write_text("name: shop\nversion: '1.0'\nprofile: shop\n")
    (tmp_path / "profiles.yml").write_text(
        "shop: {target: dev, outputs: {dev: {type: snowflake, account: x}}}"
    )
    with pytest.raises(ConfigError, match="adapter type snowflake!\nGive the profile in .* `type: delta`"):
        definitions(tmp_path)


def materialize(lake: Lake, instance: dg.DagsterInstance, gold: dg.Definitions) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        list(gold.assets or []),
        instance=instance,
        resources={"lake": LakeResource(root=lake.root)},
        tags={
            "dagster/asset_partition_range_start": DAYS[0],
            "dagster/asset_partition_range_end": DAYS[-1],
        },
        raise_on_error=False,
    )


@pytest.mark.servers
def test_a_range_is_one_run_with_the_rows_of_each_day_and_every_check(lake, gold):
    put_silver(lake)
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(lake, instance, gold)
    assert result.success
    counts = {
        event.partition: event.materialization.metadata["dagster/partition_row_count"].value
        for event in result.get_asset_materialization_events()
        if event.asset_key == METRICS
    }
    assert counts == dict(zip(DAYS, (2, 2, 3), strict=True))
    checks = result.get_asset_check_evaluations()
    assert len(checks) == 8 and all(check.passed for check in checks)
    assert lake.version("gold", "customer_metrics") == 1


@pytest.mark.servers
def test_a_model_that_was_not_published_is_not_recorded_and_its_failing_test_is_named(lake, gold):
    put_silver(lake, subscription="paused")
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(lake, instance, gold)
    assert not result.success
    assert result.get_asset_materialization_events() == []
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    assert failed == ["accepted_values_customer_metrics_subscription__active__cancelled"]
    failure = next(event for event in result.all_events if event.is_step_failure)
    message = failure.step_failure_data.error.message
    span = f"for {DAYS[0]} to {DAYS[-1]}"
    assert f"gold/customer_metrics not published {span}: a blocking test failed: accepted_values" in message
    assert lake.version("gold", "customer_metrics") == -1


@pytest.mark.servers
def test_an_upstream_that_was_never_published_is_named(lake, tmp_path):
    code, output = run_dbt(
        lake, tmp_path / "target", "build", "--exclude-resource-type", "unit_test", days=DAYS[:2]
    )
    assert code != 0
    assert "silver/customers was never published" in output
