"""Models that scripts train, as assets: a run is a version, and a champion where it predicts every row."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.components.platform.trainings import managed_trainings
from asgard_assets.lake import Lake
from asgard_assets.ml.managed.trainings import Training, trainings
from asgard_assets.ml.managed.views import ManagedView, columns, views
from asgard_assets.ml.registry import Registry
from asgard_assets.resources.lake import LakeResource
from asgard_assets.settings import Settings

ROWS = pa.table(
    {
        "customer_id": [1, 2, 3, 4],
        "total_purchases": [1, 2, 30, 40],
        "lifetime_value": [5.0, 9.0, 800.0, 900.0],
    }
)
SCRIPT = """
import os, pandas
from sklearn.linear_model import LogisticRegression
rows = pandas.read_parquet(os.environ["ASGARD_FEATURES"])
x = rows[["total_purchases", "lifetime_value"]]
model = LogisticRegression().fit(x, rows["lifetime_value"] < 100)
metrics = {"accuracy": model.score(x, rows["lifetime_value"] < 100)}
print("learned from", len(rows), "rows")
"""


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ASGARD_GATEWAY_TRAINING", "true")
    found = Lake.from_settings(Settings())
    staging = found.stage("gold", "metrics", ROWS.schema, whole=True)
    found.write(staging, ROWS)
    found.publish(staging)
    described = columns(found, "gold", "metrics").described("gold.metrics", ["customer_id"], ())
    views(found).save(ManagedView.model_validate({"name": "worth", "table": "gold/metrics", **described}))
    return found


def run(lake: Lake, script: str) -> dg.ExecuteInProcessResult:
    trainings(lake).save(Training(name="churn_predictor", script=script, views=("worth",)))
    [asset] = managed_trainings(dg.Definitions(), lake).assets or ()
    assert isinstance(asset, dg.AssetsDefinition)
    assert {dep.asset_key.path[-1] for spec in asset.specs for dep in spec.deps} == {"worth"}
    resources = {"lake": LakeResource(root=lake.root)}
    return dg.materialize([asset], resources=resources, raise_on_error=False)


def test_a_run_makes_a_version_that_becomes_the_champion(lake: Lake):
    done = run(lake, SCRIPT)
    assert done.success
    [made] = done.asset_materializations_for_node("model_churn_predictor")
    told = {name: value.value for name, value in made.metadata.items()}
    assert (told["model_version"], told["champion"], told["metric/accuracy"]) == (1, 1, 1.0)
    registry = Registry.from_settings("churn_predictor", Settings())
    model = registry.load(registry.champion())
    assert model.feature_names_in_.tolist() == ["total_purchases", "lifetime_value"]
    again = run(lake, SCRIPT)  # the same rows and script: the same version
    assert again.success and len(registry.versions()) == 1


def test_a_model_without_a_value_for_a_row_makes_no_version(lake: Lake):
    nothing = "from sklearn.linear_model import Ridge\nmodel = Ridge().fit(x, x.index)\nmodel.intercept_ = float('nan')"
    done = run(lake, SCRIPT + nothing)
    assert not done.success
    [failed] = [event for event in done.all_events if event.is_step_failure]
    assert "gives no value" in str(failed.step_failure_data)
    assert not Registry.from_settings("churn_predictor", Settings()).versions()


def test_where_scripts_are_off_none_runs(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASGARD_GATEWAY_TRAINING", "false")
    done = run(lake, SCRIPT)
    [failed] = [event for event in done.all_events if event.is_step_failure]
    assert "ASGARD_GATEWAY_TRAINING=true" in str(failed.step_failure_data)
