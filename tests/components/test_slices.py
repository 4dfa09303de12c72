"""Tables that are cut by a region or a tenant beside time: as assets, in the lake, in SQL, and by themselves."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.components.following.conditions import with_automation
from asgard_assets.components.following.sensor import following
from asgard_assets.components.partitions import daily, partitions_of
from asgard_assets.components.python import table
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.operations.partitions import Span
from asgard_assets.operations.runs import launches
from asgard_assets.resources.environment import resources

DAYS = ("2026-10-05", "2026-10-06")
SCHEMA = pa.schema([("id", pa.int64()), ("ds", pa.string())])
COMMON: dict[str, Any] = {"key": ["id"], "columns": {"id": "bigint"}, "description": "Sales."}


@table("silver/sales", deps=["bronze/x"], partitions={"region": ["eu", "us"]}, **COMMON)
def sales(lake: Lake, days: list[str], region: str) -> pa.Table:
    ids = [1, 2] if region == "eu" else [3]
    return pa.table([[id for _ in days for id in ids], [day for day in days for _ in ids]], schema=SCHEMA)


@table("silver/tenants", deps=["bronze/x"], partitions={"tenant": "dynamic"}, **COMMON)
def tenants(lake: Lake, days: list[str], tenant: str) -> pa.Table:
    return pa.table([[len(tenant)] * len(days), days], schema=SCHEMA)


@table("gold/regions", deps=["silver/sales"], partitions={"region": ["eu", "us"]}, **COMMON)
def regions(lake: Lake, days: list[str], region: str) -> pa.Table:
    return pa.table([[1] * len(days), days], schema=SCHEMA)


@table("gold/sums", deps=["silver/sales"], **COMMON)
def sums(lake: Lake, days: list[str]) -> pa.Table:
    return pa.table([[1] * len(days), days], schema=SCHEMA)


class Project:
    def __init__(self, lake: Lake, instance: dg.DagsterInstance) -> None:
        self.lake, self.instance, self.now, self.cursor = lake, instance, 1_800_000_000.0, None
        bronze = dg.AssetSpec(["bronze", "x"], partitions_def=daily())
        sensor = following(clock=lambda: self.now)
        assets = [bronze, sales, tenants, regions, sums]
        self.defs = with_automation(dg.Definitions(assets=assets, sensors=[sensor], resources=resources()))
        self.repository, self.sensor = self.defs.get_repository_def(), sensor

    def tick(self) -> list[tuple[str, str]]:
        """What is asked for, and done at once: assets and partitions."""
        self.now += 3600
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=self.repository
        ) as context:
            found = self.sensor.evaluate_tick(context)
        self.cursor = found.cursor
        asked = []
        for request in found.run_requests or []:
            tags = dict(request.tags)
            keys = (
                [request.partition_key]
                if request.partition_key
                else [tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]]
            )
            asked += [("/".join(asset.path), key) for asset in request.asset_selection or [] for key in keys]
            assert self.run(list(request.asset_selection or []), request.partition_key, tags)
        return sorted(asked)

    def run(
        self, assets: list[dg.AssetKey], partition: str | None, tags: dict[str, str] | None = None
    ) -> bool:
        return dg.materialize(
            [sales, tenants, regions, sums], selection=assets, partition_key=partition, tags=tags,
            instance=self.instance, resources=resources(), raise_on_error=False,
        ).success  # fmt: skip

    def load(self, *days: str, value: int = 0) -> None:
        staging = self.lake.stage("bronze", "x", SCHEMA, days)
        self.lake.write(staging, pa.table([[value] * len(days), days], schema=SCHEMA))
        self.lake.publish(staging)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path))
    monkeypatch.setenv("ASGARD_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("ASGARD_PARTITION_END", "2026-10-10")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Project(Lake(str(tmp_path / "lake")), instance)


def test_each_slice_is_an_asset_partition_and_follows_by_itself(project: Project):
    project.load(*DAYS)
    slices = [("silver/sales", f"{day}|{region}") for day in DAYS for region in ("eu", "us")]
    assert project.tick() == slices
    below = [*(("gold/regions", key) for _, key in slices), *(("gold/sums", day) for day in DAYS)]
    assert project.tick() == below and project.tick() == []
    with project.lake.connect() as connection:
        found = connection.execute(
            "select ds, region, id from silver.sales where region = 'us' order by all"
        ).fetchall()
    assert found == [(day, "us", 3) for day in DAYS]
    project.load(DAYS[1], value=5)
    assert project.tick() == slices[2:]
    assert project.tick() == [], "no row of them changed"


def test_a_day_waits_for_all_of_its_regions_and_a_region_for_itself(project: Project):
    project.load(DAYS[0])
    assert project.run([dg.AssetKey(["silver", "sales"])], f"{DAYS[0]}|eu")
    asked = project.tick()
    assert ("gold/regions", f"{DAYS[0]}|eu") in asked and ("silver/sales", f"{DAYS[0]}|us") in asked
    assert not [asset for asset, _ in asked if asset == "gold/sums"]
    assert ("gold/sums", DAYS[0]) in project.tick()


def test_a_tenant_that_is_added_gets_its_partitions(project: Project):
    project.load(DAYS[0])
    while project.tick():
        pass
    project.instance.add_dynamic_partitions("tenant", ["acme"])
    assert project.tick() == [("silver/tenants", f"{DAYS[0]}|acme")]
    with project.lake.connect() as connection:
        assert connection.execute("select tenant, ds, id from silver.tenants").fetchall() == [
            ("acme", DAYS[0], 4)
        ]


@pytest.mark.parametrize(
    ("partitions", "why"),
    [
        ({"region": [str(number) for number in range(900)]}, "more than 25,000 are too many for Dagster: take longer"),
        ({"region": ["eu"], "tenant": ["a"]}, "one column beside time"),
        ({"ds": ["eu"]}, "no name for a second column"),
        ({"region": []}, "needs a list of different values"),
        ({"region": ["e/u"]}, "cannot name a partition"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_advice(partitions, why):
    with pytest.raises(ConfigError, match=why):
        partitions_of("day", "", partitions)


def test_the_command_line_runs_slices_of_one_value_at_a_time(project: Project):
    graph = project.defs.resolve_asset_graph()
    slices = [f"{day}|{region}" for day in (*DAYS, "2026-10-09") for region in ("eu", "us")][:5]
    found = launches(graph, {"silver/sales": slices})
    assert [each.partitions for each in found] == [
        (f"{DAYS[0]}|eu", f"{DAYS[1]}|eu"), ("2026-10-09|eu",), (f"{DAYS[0]}|us", f"{DAYS[1]}|us"),
    ]  # fmt: skip
    span = Span.parse(DAYS[0])
    assert span is not None
    assert span.keys(partitions_of("day", "", {"region": ["eu", "us"]})) == slices[:2]
    project.instance.add_dynamic_partitions("tenant", ["acme"])
    dynamic = partitions_of("day", "", {"tenant": "dynamic"})
    assert span.keys(dynamic, project.instance) == [f"{DAYS[0]}|acme"]
    project.load(*DAYS)
    for tags in (one.tags for one in found if one.partitions[0] in slices[:2]):
        assert project.run([dg.AssetKey(["silver", "sales"])], None, dict(tags))
    there = project.lake.epochs("silver", "sales", slices)
    assert there == {**dict.fromkeys(slices[:4], 1), slices[4]: 0}
    made = project.instance.get_materialized_partitions(dg.AssetKey(["silver", "sales"]))
    assert made == {*slices[:4]}
