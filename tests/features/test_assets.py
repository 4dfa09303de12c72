"""The last two stages as Dagster runs them: ranges as one run, counts by day, the alias behind its check."""

from __future__ import annotations

import dagster as dg
import pytest

from asgard_assets.components.feast import feature_view_asset, online_asset
from asgard_assets.components.model import model_assets
from asgard_assets.lake import Lake
from asgard_assets.ml.project import model_in
from asgard_assets.ml.views import feature_views
from asgard_assets.resources.environment import resources
from asgard_assets.settings import Settings
from tests.checkout import ROOT
from tests.ml.world_gold import DAYS, gold, publish

WEEKS = ["2026-10-12", "2026-10-19", "2026-10-26"]
VIEWS = [feature_view_asset(view) for view in feature_views().values()]
MODEL = model_assets(model_in(ROOT / "asgard_assets" / "defs" / "model" / "churn"))
churn_training_set = MODEL[0]
ASSETS = [*VIEWS, online_asset(feature_views()), *MODEL]


def run(key: str, settings: Settings, instance: dg.DagsterInstance, *keys: str, raises: bool = True):
    tags = {}
    if keys:
        tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    return dg.materialize(
        ASSETS,
        selection=[dg.AssetKey(key.split("/"))],
        resources=resources(settings),
        instance=instance,
        tags=tags,
        raise_on_error=raises,
    )


def counts(key: str, instance: dg.DagsterInstance) -> dict[str, int]:
    """Rows of the newest materialization of each partition."""
    found = {}
    for record in instance.fetch_materializations(dg.AssetKey(key.split("/")), limit=200).records[::-1]:
        metadata = record.asset_materialization.metadata
        if "dagster/partition_row_count" in metadata:
            found[record.partition_key] = metadata["dagster/partition_row_count"].value
    return found


def test_each_asset_of_the_two_stages_has_a_blocking_check_and_the_right_upstreams(settings: Settings):
    graph = dg.Definitions(assets=ASSETS, resources=resources(settings)).resolve_asset_graph()
    for asset in ASSETS:
        assert any(check.blocking for check in asset.check_specs), asset.key
    parents = graph.get(dg.AssetKey(["model", "churn_predictions"])).parent_keys
    assert {key.to_user_string() for key in parents} == {
        "features/customer_value",
        "features/customer_activity",
        "model/churn_model",
    }


def test_a_cut_off_asks_for_the_days_of_its_bounded_window_as_far_as_there_are_any():
    mapping = churn_training_set.get_partition_mapping(dg.AssetKey(["features", "customer_value"]))
    weekly, daily = churn_training_set.partitions_def, VIEWS[0].partitions_def
    assert mapping is not None and weekly is not None and daily is not None
    asked = {}
    for week in WEEKS:
        subset = weekly.empty_subset().with_partition_keys([week])
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, weekly, daily)
        days = sorted(found.partitions_subset.get_partition_keys())
        asked[week] = (days[0], days[-1])
    assert asked == {
        "2026-10-12": ("2026-10-05", "2026-10-18"),
        "2026-10-19": ("2026-10-05", "2026-10-25"),
        "2026-10-26": ("2026-10-12", "2026-11-01"),
    }


@pytest.mark.servers
def test_features_to_predictions_through_dagster(settings: Settings, lake: Lake):
    publish(lake, gold())
    with dg.DagsterInstance.ephemeral() as instance:
        early = run("model/churn_predictions", settings, instance, DAYS[0], raises=False)
        assert not early.success and lake.version("model", "churn_predictions") == -1

        for view in ("customer_value", "customer_activity"):
            assert run(f"features/{view}", settings, instance, *DAYS).success
            assert counts(f"features/{view}", instance) == dict.fromkeys(DAYS, 800)
        assert run("features/online", settings, instance).success

        assert run("model/churn_training_set", settings, instance, *WEEKS).success
        assert lake.version("model", "churn_training_set") == 1, "three cut-offs in one commit"
        assert set(counts("model/churn_training_set", instance)) == set(WEEKS)

        trained = run("model/churn_model", settings, instance, *WEEKS)
        checks = {e.check_name: e for e in trained.get_asset_check_evaluations()}
        assert checks["reloads_and_scores_alike"].passed
        shown = trained.asset_materializations_for_node("churn_model")[-1].metadata
        assert str(shown["roc_curve"].value).startswith("![roc curve](data:image/png;base64,")
        assert counts("model/churn_model", instance) == dict.fromkeys(WEEKS, 1)

        assert run("model/churn_predictions", settings, instance, *DAYS).success
        assert lake.version("model", "churn_predictions") == 1, "28 days in one commit"
        predicted = counts("model/churn_predictions", instance)
        assert list(predicted) == DAYS and 0 < predicted[DAYS[-1]] < predicted[DAYS[0]] <= 800


@pytest.mark.servers
def test_a_day_that_feast_does_not_read_as_declared_fails_alone(settings: Settings, lake: Lake):
    rows = gold(days=DAYS[:3])
    for row in rows:
        if row["ds"] == DAYS[1] and row["customer_id"] == 5:
            row["orders"] = None
    publish(lake, rows, DAYS[:3])
    with dg.DagsterInstance.ephemeral() as instance:
        result = run("features/customer_value", settings, instance, *DAYS[:3], raises=False)
        assert not result.success
        assert set(counts("features/customer_value", instance)) == {DAYS[0], DAYS[2]}
        failed = [e.check_name for e in result.get_asset_check_evaluations() if not e.passed]
        assert failed == ["required_features_are_present"]
