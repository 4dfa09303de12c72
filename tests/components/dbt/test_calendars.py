"""Models by hours, weeks and months: each reads exactly the windows that its own are made of."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from asgard_assets.components.dbt.component import (
    every_of,
    refuse_longer_parents,
    refuse_same_keys,
    refuse_unfit,
)
from asgard_assets.components.following.zones import between_zones
from asgard_assets.components.partitions import windows
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from asgard_assets.windows import Calendar
from tests.components.dbt.test_component import definitions
from tests.fakes.gold import copy_project

CONFIG = "{{ config(materialized='delta', partition_by='ds', meta={'dagster': {'every': '%s'}}) }}\n"
MODELS = {
    "hours": CONFIG % "hour" + "select * from {{ source('silver', 'beats') }} where {{ in_windows() }}",
    "days": CONFIG % "day"
    + "select {{ window_of() }} as ds, sum(n) as n from {{ ref('hours') }} where {{ in_windows() }} group by 1",
    "weeks": CONFIG % "week"
    + "select {{ window_of() }} as ds, sum(n) as n from {{ ref('days') }} where {{ in_windows() }} group by 1",
    "months": CONFIG % "month"
    + "select {{ window_of() }} as ds, sum(n) as n from {{ ref('hours') }} where {{ in_windows() }} group by 1",
}
SOURCE = "version: 2\nsources:\n  - name: silver\n    tables: [{name: beats}]\n"


def put_hours(lake: Lake, keys: list[str], n: int = 1) -> None:
    import pyarrow as pa

    schema = pa.schema([("n", pa.int64()), ("ds", pa.string())])
    staging = lake.stage("silver", "beats", schema, keys)
    lake.write(staging, pa.table({"n": [n] * len(keys), "ds": keys}, schema))
    lake.publish(staging)


def build(loaded: dg.Definitions, lake: Lake, name: str, first: str, last: str) -> None:
    key = dg.AssetKey(["gold", name])
    asset = next(a for a in loaded.assets or [] if isinstance(a, dg.AssetsDefinition) and key in a.keys)
    with dg.DagsterInstance.ephemeral() as instance:
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        done = dg.materialize(
            [asset],
            selection=[key],
            instance=instance,
            resources={"lake": LakeResource(root=lake.root)},
            tags=tags,
        )
        recorded = {event.partition for event in done.get_asset_materialization_events()}
    assert {first, last} <= recorded


@pytest.mark.servers
def test_hours_feed_days_and_days_feed_weeks_and_months_where_clocks_change(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ASGARD_TIME_ZONE", "Europe/Berlin")
    monkeypatch.setenv("ASGARD_PARTITION_START", "2026-10-01")
    monkeypatch.setenv("ASGARD_PARTITION_END", "2026-11-09")
    files = {f"models/gold/{name}.sql": text for name, text in MODELS.items()}
    project = copy_project(tmp_path / "project", {**files, "models/gold/beats.yml": SOURCE})
    loaded = definitions(project)
    hours = Calendar.named("Europe/Berlin", "hour")
    put_hours(lake, hours.between("2026-10-01T00", "2026-11-01T23"))

    build(loaded, lake, "hours", "2026-10-01T00", "2026-10-31T23")
    build(loaded, lake, "days", "2026-10-01", "2026-10-31")
    build(loaded, lake, "weeks", "2026-10-12", "2026-10-19")
    build(loaded, lake, "months", "2026-10-01", "2026-10-01")

    def rows(name: str) -> dict[str, int]:
        return dict(lake.connect().execute(f"select ds, n::bigint from gold.{name}").fetchall())

    days = rows("days")
    assert len(rows("hours")) == 31 * 24 + 1 and rows("hours")["2026-10-25T02+0100"] == 1
    found = lake.table("gold", "hours")
    assert found and found.to_pyarrow_table().num_rows == 31 * 24 + 1
    assert days.pop("2026-10-25") == 25 and {*days.values()} == {24}
    assert rows("weeks") == {"2026-10-12": 7 * 24, "2026-10-19": 7 * 24 + 1}
    assert rows("months") == {"2026-10-01": 31 * 24 + 1}


@pytest.mark.servers
def test_a_model_of_another_zone_takes_the_rows_that_happened_in_its_days(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import pyarrow as pa

    monkeypatch.setenv("ASGARD_TIME_ZONE", "Europe/Berlin")
    monkeypatch.setenv("ASGARD_PARTITION_START", "2026-10-01")
    monkeypatch.setenv("ASGARD_PARTITION_END", "2026-11-09")
    days = Calendar.named("Europe/Berlin").between("2026-10-20", "2026-10-30")
    begin, end = (Calendar.named("Europe/Berlin").window(days[at]) for at in (0, -1))
    moments = [
        begin.start + n * timedelta(hours=1) for n in range((end.end - begin.start) // timedelta(hours=1))
    ]
    schema = pa.schema([("n", pa.int64()), ("moment", pa.timestamp("us", "UTC")), ("ds", pa.string())])
    named = [Calendar.named("Europe/Berlin").key_at(moment) for moment in moments]
    staging = lake.stage("silver", "beats", schema, days)
    lake.write(staging, pa.table([[1] * len(moments), moments, named], schema=schema))
    lake.publish(staging)
    head = "{{ config(materialized='delta', partition_by='ds', meta={'dagster': {'time_zone': 'Asia/Tokyo'}}) }}\n"
    text = "select {{ window_at('moment') }} as ds, count(*) as n, min(moment) as first, max(moment) as last from {{ source('silver', 'beats') }} where "
    where = {"tokyo": "{{ in_windows_at('moment') }}", "berlin": "{{ in_windows() }}"}
    files = {
        f"models/gold/{name}.sql": (head if name == "tokyo" else head.replace("Asia/Tokyo", ""))
        + text
        + found
        + " group by 1"
        for name, found in where.items()
    }
    loaded = definitions(copy_project(tmp_path / "project", {**files, "models/gold/beats.yml": SOURCE}))
    for name in where:
        build(loaded, lake, name, "2026-10-24", "2026-10-26")
    hours = {
        name: dict(lake.connect().execute(f"select ds, n from gold.{name}").fetchall()) for name in where
    }
    assert hours["tokyo"] == {"2026-10-24": 24, "2026-10-25": 24, "2026-10-26": 24}
    assert hours["berlin"] == {"2026-10-24": 24, "2026-10-25": 25, "2026-10-26": 24}, (
        "clocks go back in Berlin"
    )
    [[first, last]] = (
        lake.connect()
        .execute("select epoch(first), epoch(last) from gold.tokyo where ds = '2026-10-25'")
        .fetchall()
    )
    window = Calendar.named("Asia/Tokyo").window("2026-10-25")
    assert (first, last + 3600) == (window.start.timestamp(), window.end.timestamp())
    assets = [asset for asset in loaded.assets or () if isinstance(asset, dg.AssetsDefinition)]
    silver = dg.AssetSpec(["silver", "beats"], partitions_def=windows())
    mapped = between_zones(
        dg.Definitions(assets=[silver, *assets], resources={"lake": LakeResource(root=lake.root)})
    )
    up = mapped.resolve_asset_graph().get_parent_partition_keys_for_child(
        "2026-10-25", silver.key, dg.AssetKey(["gold", "tokyo"])
    )
    assert sorted(up.partitions_subset.get_partition_keys()) == ["2026-10-24", "2026-10-25"]


def node(name: str, every: str | None, **config: object) -> dict[str, object]:
    meta = {"dagster": {"every": every}} if every else {}
    given = {"materialized": "delta", "partition_by": "ds", "meta": meta, **config}
    return {"name": name, "resource_type": "model", "config": given}


def test_what_the_lake_cannot_hold_is_named_when_the_project_loads_and_two_models_of_one_key_are():
    def project(*nodes: dict[str, object], engine: str = "delta") -> dict[str, object]:
        return {"nodes": {f"model.{n['name']}": n for n in nodes}, "metadata": {"adapter_type": engine}}

    column = {"name": "either", "data_type": "UNION(a INTEGER, b VARCHAR)"}
    contract = {"contract": {"enforced": True}, "materialized": "table"}
    bad = [
        node("months", None, partition_by="month"),
        node("odd", None, incremental_strategy="insert_overwrite"),
        {**node("mixed", None, **contract), "columns": {"either": column}},
    ]
    with pytest.raises(
        ConfigError, match="months: delta tables .*; odd: incremental_strategy .*; mixed: column either"
    ):
        refuse_unfit(project(*bad))
    refuse_unfit(project(*bad, engine="duckdb"))
    places = [
        {"unique_id": f"model.{n}", "schema": "gold", "alias": n, **node(n, None)}
        for n in ("a b", "a_b", "c")
    ]
    with pytest.raises(ConfigError, match=r"model.a b and model.a_b would both be the asset gold/a_b"):
        refuse_same_keys(project(*places))
    refuse_same_keys(project(*places[1:]))


def test_what_every_cannot_be_is_said_when_the_project_loads():
    assert every_of(node("a", None)) == "day" and every_of(node("a", "week")) == "week"
    assert every_of(node("a", None, materialized="table")) is None
    with pytest.raises(ConfigError, match="every is 'fortnight'; write hour, day, week, month"):
        every_of(node("a", "fortnight"))
    with pytest.raises(
        ConfigError, match=r"every: week needs config\(materialized='delta', partition_by='ds'\)"
    ):
        every_of(node("a", "week", partition_by=None))
    nodes = {"model.a": node("a", "week"), "model.b": node("b", "day")}
    with pytest.raises(
        ConfigError, match="b has a partition every day and reads a, every week: hours feed days"
    ):
        refuse_longer_parents({"nodes": nodes, "parent_map": {"model.b": ["model.a"]}})
    refuse_longer_parents({"nodes": nodes, "parent_map": {"model.a": ["model.b"]}})
