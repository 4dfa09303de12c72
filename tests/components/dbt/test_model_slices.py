"""Models that a region cuts beside time: a run builds, tests and replaces its own slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.components.dbt.component import slices_of
from asgard_assets.components.following.zones import between_zones
from asgard_assets.components.partitions import partitions_of
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from tests.components.dbt.test_component import definitions
from tests.fakes.gold import copy_project

DAYS, REGIONS = ("2026-10-05", "2026-10-06"), {"region": ["eu", "us"]}
HEAD = "{{ config(materialized='delta', partition_by='ds', meta={'dagster': {'partitions': {'region': ['eu', 'us']}}}) }}\n"
MODELS = {
    "sales": HEAD
    + "select ds, count(*) as n from {{ source('silver', 'sales') }} where {{ in_windows() }} and region = '{{ partition_value() }}' group by 1",
    "shares": HEAD
    + "select ds, region, n * 10 as n from {{ ref('sales') }} where {{ in_windows() }} and region = '{{ partition_value() }}'",
    "strays": HEAD
    + "select ds, region, count(*) as n from {{ source('silver', 'sales') }} where {{ in_windows() }} group by 1, 2",
    "totals": "{{ config(materialized='delta', partition_by='ds') }}\n"
    + "select ds, sum(n) as n from {{ ref('sales') }} where {{ in_windows() }} group by 1",
}
YAML = """version: 2
sources:
  - name: silver
    tables: [{name: sales}]
models:
  - name: sales
    columns:
      - name: n
        data_tests: [{accepted_values: {name: few, values: [2, 3], quote: false}}]
"""
SCHEMA = pa.schema([("id", pa.int64()), ("region", pa.string()), ("ds", pa.string())])


def put(lake: Lake, keys: list[str], count: int) -> None:
    rows = [(number, key[11:], key[:10]) for key in keys for number in range(count)]
    staging = lake.stage("silver", "sales", SCHEMA, keys, dimension="region")
    lake.write(staging, pa.table([*map(list, zip(*rows, strict=True))], schema=SCHEMA))
    lake.publish(staging)


def build(loaded: dg.Definitions, lake: Lake, name: str, first: str, last: str) -> Any:
    key = dg.AssetKey(["gold", name])
    asset = next(a for a in loaded.assets or [] if isinstance(a, dg.AssetsDefinition) and key in a.keys)
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [asset], selection=[key], instance=instance, tags=tags, raise_on_error=False,
            resources={"lake": LakeResource(root=lake.root)},
        )  # fmt: skip


def rows(lake: Lake, name: str) -> list[tuple[Any, ...]]:
    return lake.connect().execute(f"select * from gold.{name} order by all").fetchall()


@pytest.mark.servers
def test_a_run_builds_tests_and_replaces_its_own_slice(lake: Lake, tmp_path: Path):
    files = {f"models/gold/{name}.sql": text for name, text in MODELS.items()}
    project = copy_project(tmp_path / "project", {**files, "models/gold/sliced.yml": YAML})
    silver = dg.AssetSpec(["silver", "sales"], partitions_def=partitions_of("day", "", REGIONS))
    loaded = between_zones(dg.Definitions.merge(definitions(project), dg.Definitions(assets=[silver])))
    keys = [f"{day}|{region}" for day in DAYS for region in REGIONS["region"]]
    put(lake, keys, 2)

    for region in REGIONS["region"]:
        done = build(loaded, lake, "sales", f"{DAYS[0]}|{region}", f"{DAYS[1]}|{region}")
        assert done.success
        assert {e.partition for e in done.get_asset_materialization_events()} == {
            f"{d}|{region}" for d in DAYS
        }
    assert build(loaded, lake, "shares", keys[0], keys[0]).success
    assert build(loaded, lake, "totals", *DAYS).success
    put(lake, [keys[0]], 3)
    assert build(loaded, lake, "sales", keys[0], keys[0]).success
    put(lake, [keys[1]], 9)  # breaks the test, which looks at this slice alone
    assert not build(loaded, lake, "sales", keys[1], keys[1]).success
    assert not build(loaded, lake, "strays", keys[0], keys[0]).success

    assert rows(lake, "sales") == [
        (DAYS[0], 2, "us"), (DAYS[0], 3, "eu"), (DAYS[1], 2, "eu"), (DAYS[1], 2, "us")
    ]  # fmt: skip
    assert [sorted(map(str, row)) for row in rows(lake, "shares")] == [["20", DAYS[0], "eu"]]
    assert rows(lake, "totals") == [(DAYS[0], 4), (DAYS[1], 4)]
    assert lake.epochs("gold", "sales", keys) == {keys[0]: 2, keys[1]: 1, keys[2]: 1, keys[3]: 1}
    assert lake.table("gold", "strays") is None


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"materialized": "table"}, "needs config"),
        ({"incremental_strategy": "merge"}, "does not go with partitions"),
        ({"meta": {"dagster": {"partitions": ["eu"]}}}, "write {'region'"),
        ({"meta": {"dagster": {"partitions": {"region": ["e u"]}}}}, "cannot name a partition"),
    ],
)
def test_a_model_that_cannot_be_cut_is_refused_with_its_file(config: dict[str, Any], why: str):
    given = {
        "materialized": "delta",
        "partition_by": "ds",
        "meta": {"dagster": {"partitions": REGIONS}},
    } | config
    node = {"name": "sales", "config": given, "original_file_path": "models/gold/sales.sql"}
    every = "day" if given["materialized"] == "delta" else None
    with pytest.raises(ConfigError, match="models/gold/sales.sql") as raised:
        slices_of(node, every, "delta")
    assert why in str(raised.value)
