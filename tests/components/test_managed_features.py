"""Feature views sent to the API as assets: they serve the newest values, or say which key names no row."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.components.platform.features import managed_features
from asgard_assets.lake import Lake
from asgard_assets.ml.managed.views import ManagedView, columns, views
from asgard_assets.resources.lake import LakeResource
from asgard_assets.settings import Settings


@dg.asset(key=["features", "own"])
def own() -> None: ...


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path / "home"))
    found = Lake.from_settings(Settings())
    rows = pa.table({"id": [1, 2, 2], "code": ["a", "b", "c"], "x": [1.0, 2.0, 3.0]})
    staging = found.stage("gold", "things", rows.schema, whole=True)
    found.write(staging, rows)
    found.publish(staging)
    return found


def keep(lake: Lake, name: str, key: str) -> None:
    described = columns(lake, "gold", "things").described("gold.things", [key], ())
    views(lake).save(ManagedView.model_validate({"name": name, "table": "gold/things", **described}))


def run(lake: Lake, name: str) -> dg.ExecuteInProcessResult:
    assets = managed_features(dg.Definitions(), lake).assets or ()
    [asset] = [one for one in assets if isinstance(one, dg.AssetsDefinition) and one.key.path[-1] == name]
    return dg.materialize(
        [dg.AssetSpec(["gold", "things"]), asset],
        selection=[asset],
        resources={"lake": LakeResource(root=lake.root)},
        raise_on_error=False,
    )


def test_a_view_is_an_asset_below_its_table_that_serves_its_keys(lake: Lake):
    keep(lake, "things", "code")
    done = run(lake, "things")
    assert done.success
    [made] = done.asset_materializations_for_node("features_things")
    assert made.metadata["dagster/row_count"].value == 3
    [check] = done.get_asset_check_evaluations()
    assert check.passed


def test_a_key_that_names_several_rows_fails_and_serves_nothing(lake: Lake):
    keep(lake, "things", "id")
    done = run(lake, "things")
    [check] = done.get_asset_check_evaluations()
    assert not done.success and not check.passed
    assert not done.asset_materializations_for_node("features_things")


def test_a_view_of_the_projects_own_files_stays_theirs(lake: Lake):
    keep(lake, "own", "code")
    assert not managed_features(dg.Definitions(assets=[own]), lake).assets


def test_a_lake_that_cannot_be_read_does_not_take_the_project_down(
    lake: Lake, caplog: pytest.LogCaptureFixture
):
    lake.put_new("_managed/features/x.1.json", b"{}")
    assert not managed_features(dg.Definitions(), lake).assets
    assert "x.1.json" in caplog.text
