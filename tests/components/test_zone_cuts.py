"""Spark cuts the rows of another zone's days where the table's own days end."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow as pa

from asgard_assets.lake import Lake
from asgard_assets.resources.lake import LakeResource
from tests.components.test_silver import _Session
from tests.components.test_zones import BERLIN, TOKYO, calendar, midnight, project

__all__ = ["calendar"]


def moments(first: datetime, hours: int) -> list[datetime]:
    return [first + timedelta(hours=n, minutes=59 * (n % 2)) for n in range(hours)]


def test_days_of_berlin_are_made_of_the_rows_of_tokyo_that_happened_in_them(lake: Lake, spark):
    """Over the end of summer time: each row once, in the day in which it happened in Berlin."""
    happened = moments(midnight("2026-10-23", TOKYO), 24 * 5)
    days = [moment.astimezone(ZoneInfo(TOKYO)).date().isoformat() for moment in happened]
    schema = pa.schema([("id", pa.int64()), ("sold_at", pa.timestamp("us", "UTC")), ("ds", pa.string())])
    staging = lake.stage("bronze", "tokyo", schema, sorted(set(days)))
    lake.write(staging, pa.table([list(range(len(happened))), happened, days], schema=schema))
    lake.publish(staging)
    asked = ["2026-10-24", "2026-10-25", "2026-10-26"]
    resources = {
        "lake": LakeResource(root=lake.root),
        "spark": dg.ResourceDefinition.hardcoded_resource(_Session(spark)),
        "step_launcher": dg.ResourceDefinition.none_resource(),
    }
    made = dg.with_resources(
        [each for each in project().assets if isinstance(each, dg.AssetsDefinition)], resources
    )
    with dg.DagsterInstance.ephemeral() as instance:
        tags = {
            "dagster/asset_partition_range_start": asked[0],
            "dagster/asset_partition_range_end": asked[-1],
        }
        chosen = [dg.AssetKey(["silver", "sales"])]
        assert dg.materialize(made, selection=chosen, tags=tags, instance=instance).success
    with lake.connect() as connection:
        found = connection.execute("select id, ds from silver.sales order by id").fetchall()
    expected = [
        (n, moment.astimezone(ZoneInfo(BERLIN)).date().isoformat()) for n, moment in enumerate(happened)
    ]
    assert found == [(n, day) for n, day in expected if day in asked]
    assert len([day for _, day in found if day == "2026-10-25"]) == 25
