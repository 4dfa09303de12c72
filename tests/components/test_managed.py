"""Tables made through the API as assets of the code location."""

from __future__ import annotations

import logging
from pathlib import Path

import dagster as dg
import pytest

from asgard_assets.components.platform.transforms import managed_transforms
from asgard_assets.lake.store import Store
from asgard_assets.transforms.managed import FOLDER, Size, Step, Transform, View, save


@dg.asset(key=["silver", "usage"], required_resource_keys={"lake"})
def usage() -> None: ...


OWN = dg.Definitions(assets=[usage, dg.AssetSpec(["gold", "metrics"])])


def made(name: str, stage: str = "silver", engine: str = "spark") -> Transform:
    return Transform.model_validate(
        {
            "stage": stage, "name": name, "sql": "select 1", "steps": [Step(sql="SELECT 1 AS `n`")], "engine": engine,
            "reads": [View(name="o", folder="data-lake/bronze/orders"), View(name="u", table="silver/usage")],
            "size": Size(executor_instances=4), "key": ["n"],
            "workspace": "größe / x",
        }
    )  # fmt: skip


@pytest.mark.parametrize("engine", ["spark", "dbt"])
def test_a_definition_is_an_asset_with_its_lineage(tmp_path: Path, engine: str):
    store = Store(str(tmp_path))
    save(store, made("daily", engine=engine))
    [asset] = managed_transforms(OWN, store).assets or ()
    assert isinstance(asset, dg.AssetsDefinition)
    [spec] = asset.specs
    assert spec.key == dg.AssetKey(["silver", "daily"])
    upstream = {dep.asset_key.to_user_string() for dep in spec.deps}
    assert upstream == {"landing/data-lake/bronze/orders", "silver/usage"}
    assert {check.name for check in asset.check_specs} >= {"key_is_unique"}


def test_a_table_of_the_projects_own_files_stays_theirs(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    store = Store(str(tmp_path))
    save(store, made("usage"))
    save(store, made("metrics", "gold"))
    with caplog.at_level(logging.WARNING):
        assert not managed_transforms(OWN, store).assets
    assert "silver/usage is made by the project's own files" in caplog.text


def test_a_definition_that_cannot_be_read_does_not_take_the_project_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    store = Store(str(tmp_path))
    store.put_new(f"{FOLDER}/daily.1.json", b"{}")
    with caplog.at_level(logging.WARNING):
        assert not managed_transforms(OWN, store).assets
    assert "daily.1.json" in caplog.text
