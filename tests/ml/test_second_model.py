"""A second model, about another entity: what docs/own-model.md says, through the same assets."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from asgard_assets.components.feast import feature_view_asset, online_asset
from asgard_assets.components.model import model_assets
from asgard_assets.lake import Lake
from asgard_assets.ml import online, training
from asgard_assets.ml.moments import cut_off
from asgard_assets.ml.registry import Registry
from asgard_assets.ml.store import open_store
from asgard_assets.resources.environment import resources
from asgard_assets.resources.features import FeatureStoreResource
from asgard_assets.settings import Settings
from tests.ml.demand import DAYS, FILES, PRODUCTS, demand, expected, project, publish

pytestmark = pytest.mark.servers
WEEKS = ["2026-10-12", "2026-10-19", "2026-10-26"]


def test_the_page_s_model_takes_at_most_150_lines_of_the_user_s_own():
    assert len(FILES) == 3, "a feature view, a spec, a fit function"
    assert sum(len(text.splitlines()) for text in FILES.values()) <= 150


def test_features_training_model_and_predictions_of_demand_by_product(
    tmp_path: Path, settings: Settings, lake: Lake
):
    shop, rows = project(tmp_path / "shop"), demand()
    publish(lake, rows)
    views = shop.definition.views
    assets = [*map(feature_view_asset, views.values()), online_asset(views), *model_assets(shop.definition)]
    store = FeatureStoreResource(folder=str(shop.repository.folder), views=str(shop.repository.views))
    bound = resources(settings) | {"features": store}

    def run(key: str, *keys: str) -> dg.ExecuteInProcessResult:
        tags = {}
        if keys:
            tags["dagster/asset_partition_range_start"] = keys[0]
            tags["dagster/asset_partition_range_end"] = keys[-1]
        chosen = [dg.AssetKey(key.split("/"))]
        return dg.materialize(assets, selection=chosen, resources=bound, instance=instance, tags=tags)

    with dg.DagsterInstance.ephemeral() as instance:
        assert run("features/product_demand", *DAYS).success
        assert run("features/online").success
        assert run("model/demand_training_set", *WEEKS).success
        assert run("model/demand_model", *WEEKS).success
        assert run("model/demand_predictions", *DAYS).success

    with lake.connect() as connection:
        stored = connection.execute(
            """select ds, product_id, snapshot, units_next_7d, label_known_at, product_demand__units_7d,
            product_demand__units_28d, product_demand__price from model.demand_training_set"""
        ).fetchall()
        predicted = connection.execute(
            """select count(*), count(distinct product_id), min(expected_units), min(model_version),
            corr(expected_units, units_28d) from model.demand_predictions join gold.product_demand using (product_id, ds)"""
        ).fetchall()[0]
    for week in WEEKS:
        found = {(row[1], row[2]): row[3:] for row in stored if row[0] == week}
        assert found == expected(rows, week, ["product_id"])
    assert predicted[:2] == (len(rows), PRODUCTS) and predicted[2] > 0 and predicted[4] > 0.7

    registry = Registry.from_settings("demand", settings)
    champion = registry.champion()
    assert len(registry.versions()) == 3 and predicted[3] == champion.number
    figures = registry.client.get_run(champion.run_id).data.metrics
    assert figures["r2"] > 0.5 and figures["gain_lower_bound"] > 0
    assert figures["rmse"] < min(figures["baseline_rule_rmse"], figures["baseline_average_rmse"])


def test_a_key_of_two_columns_joins_and_serves_by_both(tmp_path: Path, settings: Settings, lake: Lake):
    shop, rows = project(tmp_path / "shop", key="{product_id: bigint, store: string}"), demand(("a", "b'c"))
    publish(lake, rows)
    assert shop.definition.keys == ["product_id", "store"]
    with open_store(settings, shop.repository) as store:
        built = training.build(shop.definition, store, {WEEKS[1]: cut_off(WEEKS[1])}, DAYS[0])
        found = {
            (r["product_id"], r["store"], r["snapshot"]): (
                r["units_next_7d"],
                r["label_known_at"],
                *(r[f"product_demand__{name}"] for name in ("units_7d", "units_28d", "price")),
            )
            for r in built.to_pylist()
        }
        assert found == expected(rows, WEEKS[1], ["product_id", "store"])
        views = shop.definition.views
        latest = online.fill(store, views)
        assert latest.differing == [] and latest.keys == {"product_demand": 2 * PRODUCTS}
        newest = {(r["product_id"], r["store"]): r["units_28d"] for r in rows}
        served = online.read(store, views["product_demand"], list(newest))
        assert {key: values["units_28d"] for key, values in served.items()} == newest
