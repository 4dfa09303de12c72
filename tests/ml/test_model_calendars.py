"""Models that are trained once a day, an hour or a month, or when somebody asks; and those of another zone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from asgard_assets.components.feast import feature_view_asset
from asgard_assets.components.following.reads import inputs_of
from asgard_assets.components.following.zones import between_zones
from asgard_assets.components.model import model_assets
from asgard_assets.components.partitions import cut_offs
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.ml.moments import cut_off, cut_off_name, day_ends, last_day
from asgard_assets.ml.registry import Registry
from asgard_assets.resources.environment import resources
from asgard_assets.resources.features import FeatureStoreResource
from asgard_assets.settings import Settings
from tests.ml.demand import DAYS, Shop, demand, expected, project, publish

TOKYO, HOUR = "Asia/Tokyo", timedelta(hours=1)
Run = Callable[..., dg.ExecuteInProcessResult]


def runner(shop: Shop, settings: Settings, instance: dg.DagsterInstance) -> Run:
    assets = [*map(feature_view_asset, shop.definition.views.values()), *model_assets(shop.definition)]
    store = FeatureStoreResource(folder=str(shop.repository.folder), views=str(shop.repository.views))
    bound = resources(settings) | {"features": store}
    mapped: Any = between_zones(dg.Definitions(assets=assets, resources=bound)).assets

    def run(key: str, *keys: str) -> dg.ExecuteInProcessResult:
        span = (
            {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
            if keys
            else {}
        )
        return dg.materialize(
            mapped, selection=[dg.AssetKey(key.split("/"))], resources=bound, instance=instance, tags=span
        )

    return run


def stored(lake: Lake) -> list[dict[str, Any]]:
    with lake.connect() as connection:
        return connection.sql("select * from model.demand_training_set").to_arrow_table().to_pylist()


def values(row: dict[str, Any]) -> tuple[Any, ...]:
    features = (row[f"product_demand__{name}"] for name in ("units_7d", "units_28d", "price"))
    return (row["units_next_7d"], row["label_known_at"], *features)


@pytest.mark.servers
def test_a_model_of_another_zone_trained_each_day_means_the_ends_of_days_there(
    tmp_path: Path, settings: Settings, lake: Lake
):
    zone = f"\n  time_zone: {TOKYO}"
    shop = project(tmp_path / "shop", entity=f"product{zone}", horizon_days=f"7\n  every: day{zone}")
    rows = demand()
    there = [
        {
            **row,
            "event_timestamp": row["event_timestamp"] - 9 * HOUR,
            "created_at": row["created_at"] - 9 * HOUR,
        }
        for row in rows
    ]
    publish(lake, there)
    with dg.DagsterInstance.ephemeral() as instance:
        run = runner(shop, settings, instance)
        assert run("features/product_demand", *DAYS).success
        for day in ("2026-10-25", "2026-11-01"):
            assert run("model/demand_training_set", day).success
        assert run("model/demand_model", "2026-11-01").success
        assert run("model/demand_predictions", *DAYS[-2:]).success
    found = {
        (row["product_id"], row["snapshot"] + 9 * HOUR): values(row)
        for row in stored(lake)
        if row["ds"] == "2026-10-25"
    }
    wanted = expected(rows, "2026-10-19", ["product_id"])  # whose week ends with the 25th
    assert found == {key: (value[0], value[1] - 9 * HOUR, *value[2:]) for key, value in wanted.items()}
    assert {row["cut_off"] for row in stored(lake)} == {
        datetime(2026, 11, 1, 15, tzinfo=UTC),
        datetime(2026, 10, 25, 15, tzinfo=UTC),
    }
    assert Registry.from_settings("demand", settings).champion().cut_off == "2026-11-01"


@pytest.mark.servers
def test_a_model_without_windows_is_trained_whenever_somebody_asks(
    tmp_path: Path, settings: Settings, lake: Lake
):
    shop, rows = project(tmp_path / "shop", horizon_days="7\n  every: none"), demand()
    publish(lake, rows)
    training_set, model, _ = model_assets(shop.definition)
    assert training_set.partitions_def is None and model.partitions_def is None
    with dg.DagsterInstance.ephemeral() as instance:
        run = runner(shop, settings, instance)
        assert run("features/product_demand", *DAYS).success
        assert run("model/demand_training_set").success and run("model/demand_model").success
        assert run("model/demand_training_set").success and run("model/demand_model").success
        assert run("model/demand_predictions", DAYS[-1]).success
    end = datetime(2026, 11, 2, tzinfo=UTC)  # the demo's calendar ends there
    assert {row["cut_off"] for row in stored(lake)} == {end} and {row["ds"] for row in stored(lake)} == {
        "2026-11-01"
    }
    [version] = Registry.from_settings("demand", settings).versions()
    assert version.cut_off == "2026-11-02", "the same rows and code are the same version"


def test_the_first_cut_off_of_each_length_has_two_weeks_behind_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASGARD_PARTITION_START", "2026-08-05")
    monkeypatch.setenv("ASGARD_PARTITION_END", "2027-01-01")
    begin = datetime(2026, 8, 5, tzinfo=UTC)
    for every in ("hour", "day", "week", "month"):
        key = cut_offs(every).get_first_partition_key()
        assert key is not None and cut_off(key, every) - begin >= timedelta(14), every
    assert cut_offs("hour", TOKYO).timezone == TOKYO


def test_cut_offs_of_hours_lie_within_days():
    end = cut_off("2026-10-25T13", "hour", TOKYO)
    assert end == datetime(2026, 10, 25, 5, tzinfo=UTC) and cut_off_name(end, "hour") == "2026-10-25T05:00"
    assert (
        last_day(end, TOKYO) == "2026-10-24"
        and last_day(day_ends(end, end + 24 * HOUR, TOKYO)[0], TOKYO) == "2026-10-25"
    )
    assert cut_off_name(end) < cut_off_name(end, "hour")
    now = datetime(2026, 10, 25, 16, tzinfo=UTC)
    assert cut_off("", "none", TOKYO, now) == datetime(2026, 10, 25, 15, tzinfo=UTC)
    assert cut_off("", "none", "", now) == datetime(2026, 10, 25, tzinfo=UTC)


def test_a_cut_off_of_an_hour_reads_the_features_of_its_window(tmp_path: Path):
    shop = project(tmp_path / "shop", horizon_days="7\n  every: hour")
    assets = [*map(feature_view_asset, shop.definition.views.values()), *model_assets(shop.definition)]
    specs = {spec.key: spec for asset in assets for spec in asset.specs}
    [found] = inputs_of(specs[dg.AssetKey(["model", "demand_training_set"])], specs)
    first, last = found.edge.bounds("2026-10-30T13")
    assert last == "2026-10-30" and date.fromisoformat(last) - date.fromisoformat(first) == timedelta(
        shop.definition.spec.window_days
    )


def test_a_model_and_its_table_have_one_zone(tmp_path: Path):
    with pytest.raises(ConfigError, match="write time_zone: Asia/Tokyo"):
        project(tmp_path / "shop", entity=f"product\n  time_zone: {TOKYO}")
