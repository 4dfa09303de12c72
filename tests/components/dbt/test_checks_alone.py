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
