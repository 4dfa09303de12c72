"""Tests of dbt as checks of their own; and a manifest that is as old as what it was parsed with."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster_dbt import DbtProject
from dagster_dbt.components.dbt_component_utils import DagsterDbtComponentTranslatorSettings

from asgard_assets.components.dbt import DbtModels
from asgard_assets.components.dbt.manifest import fingerprint
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from tests.fakes.dbt_process import PROFILE, write_project

A, B = dg.AssetKey(["gold", "a"]), dg.AssetKey(["gold", "b"])
TABLE = "{{ config(materialized='table') }} select 1 as id, 99 as b"


def assets(project: Path) -> list[dg.AssetsDefinition]:
    settings = DagsterDbtComponentTranslatorSettings(enable_code_references=False)
    component = DbtModels(project=DbtProject(project), translation_settings=settings)
    loaded = component.build_defs(dg.ComponentTree.for_test().load_context).assets or []
    return [asset for asset in loaded if isinstance(asset, dg.AssetsDefinition)]


@pytest.mark.servers
def test_a_check_alone_runs_its_test_and_builds_nothing(lake: Lake, tmp_path: Path):
    test = "columns: [{name: id, data_tests: [unique]}]"
    files = {
        "models/a.sql": TABLE, "models/b.sql": TABLE,
        "models/m.yml": f"models: [{{name: a, {test}}}, {{name: b, {test}}}]",
    }  # fmt: skip
    found, resources = assets(write_project(tmp_path / "shop", files)), {"lake": LakeResource(root=lake.root)}
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize(found, resources=resources, instance=instance).success
        before = [lake.version("gold", name) for name in "ab"]
        alone = dg.AssetSelection.checks(dg.AssetCheckKey(A, "unique_a_id"))
        done = dg.materialize(found, selection=alone, resources=resources, instance=instance)
    assert done.success and not done.get_asset_materialization_events()
    [told] = done.get_asset_check_evaluations()
    assert (told.asset_key, told.check_name, told.passed) == (A, "unique_a_id", True)
    assert [lake.version("gold", name) for name in "ab"] == before


@pytest.mark.servers
def test_tests_whose_names_are_alike_are_checks_of_their_own(lake: Lake, tmp_path: Path):
    tests = (
        "columns: [{name: id, data_tests: [{unique: {name: id-check}}]}, "
        "{name: b, data_tests: [{accepted_values: {name: id_check, arguments: {values: [98]}, config: {severity: warn}}}]}]"
    )
    files = {"models/a.sql": TABLE, "models/m.yml": f"models: [{{name: a, {tests}}}]"}
    found, resources = assets(write_project(tmp_path / "shop", files)), {"lake": LakeResource(root=lake.root)}
    names = {key.name for asset in found for key in asset.check_keys}
    assert len(names) == 2 and all(name.startswith("id_check_") for name in names)
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(found, resources=resources, instance=instance)
    assert {told.check_name: told.passed for told in done.get_asset_check_evaluations()}.keys() == names
    assert sorted(told.passed for told in done.get_asset_check_evaluations()) == [False, True]


def test_the_manifest_is_as_old_as_the_variables_and_the_profile_it_was_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = (
        "name: shop\nversion: '1.0'\nprofile: shop\nmodels: {+schema: \"{{ env_var('TEAM', 'x') }}\"}\n"
    )
    project = write_project(tmp_path / "shop", {"dbt_project.yml": settings, "models/a.sql": TABLE})
    (project / "profiles.yml").rename(tmp_path / "profiles.yml")
    monkeypatch.setenv("DBT_PROFILES_DIR", str(tmp_path))
    seen = [fingerprint(project)]
    for team in ("red", "blue"):
        monkeypatch.setenv("TEAM", team)
        seen.append(fingerprint(project))
    for schema in ("silver", "{{ env_var('SCHEMA', 'bronze') }}"):
        (tmp_path / "profiles.yml").write_text(PROFILE.format(name="shop", schema=f'"{schema}"'))
        seen.append(fingerprint(project))
    monkeypatch.setenv("SCHEMA", "platinum")
    seen.append(fingerprint(project))
    assert len(set(seen)) == len(seen)
    monkeypatch.setenv("HOST", "another")
    text = PROFILE.format(name="shop", schema="\"{{ env_var('SCHEMA', 'bronze') }}\"")
    (tmp_path / "profiles.yml").write_text(
        text.replace("threads: 4", "threads: 4, host: \"{{ env_var('HOST') }}\"")
    )
    assert fingerprint(project) == seen[-1], "hosts, keys and threads stand in no manifest"


TESTS = {
    "models/a.sql": "{{ config(materialized='table') }} select range as id, 99 as b from range({{ var('rows') }})",
    "models/between.sql": "{{ config(materialized='ephemeral') }} select id from {{ ref('a') }}",
    "models/constant.sql": "{{ config(materialized='ephemeral') }} select 1 as id",
    "models/m.yml": """
sources: [{name: crm, meta: {external_location: (select 1 as id)}, tables: [{name: one}, {name: two}]}]
models:
- {name: between, columns: [{name: id, data_tests: [{unique: {description: Each id once.}}]}]}
- {name: constant, columns: [{name: id, data_tests: [not_null]}]}
- name: a
  columns:
  - name: id
    data_tests:
    - accepted_values: {name: up_to_date, arguments: {values: [0, 1]}, config: {severity: warn}}
    - not_null: {config: {where: id > 1}}
    - accepted_values: {name: few, arguments: {values: [0]}, config: {error_if: '>2', warn_if: '>0', limit: 2}}
    - accepted_values: {name: kept, arguments: {values: [0, 2]}, config: {severity: warn, store_failures: true}}
""",
    "tests/no_model.sql": "{{ config(severity='warn') }} select 7 as bad, null as nothing, date '2026-01-01' as day",
    "tests/no_model_at_all.sql": "select 1 as bad where false",
    "tests/two_sources.sql": "select * from {{ source('crm', 'one') }} join {{ source('crm', 'two') }} using (id) where id > 1",
}  # fmt: skip
NAMES = {
    "gold/a": {"unique_between_id", "not_null_a_id", "few", "kept"},
    "shop/tests": {"no_model", "no_model_at_all", "not_null_constant_id"},
    "crm/two": {"two_sources"},
}


@pytest.mark.servers
def test_each_test_is_a_check_whatever_it_reads_and_shows_the_rows_that_it_found(lake: Lake, tmp_path: Path):
    project = write_project(tmp_path / "shop", TESTS)
    settings = DagsterDbtComponentTranslatorSettings(enable_code_references=False)
    component = DbtModels(
        project=DbtProject(project, prepare_project_cli_args=["parse", "--vars", "rows: 3"]),
        translation_settings=settings,
        cli_args=["build", {"--vars": {"rows": 3}}],
    )
    resources = {"lake": LakeResource(root=lake.root)}
    loaded = component.build_defs(dg.ComponentTree.for_test().load_context)
    defs = dg.Definitions.merge(loaded, dg.Definitions(resources=resources))
    found = dict[str, set[str]]()
    for key in defs.resolve_asset_graph().asset_check_keys:
        found.setdefault(key.asset_key.to_user_string(), set()).add(key.name)
    [reserved] = found["gold/a"] - NAMES["gold/a"]
    assert reserved.startswith("up_to_date_")
    assert found == {**NAMES, "gold/a": NAMES["gold/a"] | {reserved}}

    chosen = dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks()
    whole = dg.define_asset_job("whole", chosen).resolve(asset_graph=defs.resolve_asset_graph())
    with dg.DagsterInstance.ephemeral() as instance:
        done = whole.execute_in_process(instance=instance, resources=resources, raise_on_error=False)
    told = {each.check_name: each for each in done.get_asset_check_evaluations()}
    assert done.success and told.keys() == set().union(*found.values())
    assert {name: each.passed for name, each in told.items() if not each.passed} == {
        reserved: False, "few": False, "kept": False, "no_model": False
    }  # fmt: skip
    assert {told[name].severity for name in ("few", "kept", "no_model")} == {dg.AssetCheckSeverity.WARN}
    rows = {name: told[name].metadata["failing rows"].value.records for name in ("few", "kept", "no_model")}
    assert [record.data for record in rows["no_model"]] == [{"bad": 7, "nothing": None, "day": "2026-01-01"}]
    assert sorted(record.data["value_field"] for record in rows["few"]) == [1, 2]
    assert [record.data["value_field"] for record in rows["kept"]] == [1]
    [unique] = [
        spec for asset in loaded.assets or [] if isinstance(asset, dg.AssetsDefinition) for spec in asset.check_specs
        if spec.name == "unique_between_id"
    ]  # fmt: skip
    assert unique.description == "Each id once."
