"""The glue between staged files and Dagster's events."""

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.components.tables import asset_spec, check_specs, days_of, publish
from asgard_assets.lake import Lake
from asgard_assets.quality.tables import Check, Column, TableSpec
from asgard_assets.resources.lake import LakeResource

DAYS = dg.DailyPartitionsDefinition("2026-10-05", end_date="2026-10-09")
RANGE = {
    "dagster/asset_partition_range_start": "2026-10-05",
    "dagster/asset_partition_range_end": "2026-10-07",
}
KEY = dg.AssetKey(["silver", "orders"])
SPEC = TableSpec(
    stage="silver",
    name="orders",
    description="Orders, one row each.",
    key=("id",),
    columns={"id": Column(type="bigint", description="The order.")},
    checks=(
        Check(name="id_is_positive", sql="id > 0"),
        Check(name="few_rows", sql="count(*) < 2", aggregate=True, severity="warn"),
    ),
)


def orders(rows: dict[str, list[int]]):
    @dg.multi_asset(
        name="orders",
        specs=[asset_spec(SPEC, partitions_def=DAYS)],
        check_specs=check_specs(SPEC),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def orders(context: dg.AssetExecutionContext, lake: LakeResource):
        days = days_of(context)
        found = pa.table(
            {
                "id": pa.array([i for day in days for i in rows.get(day, [])], pa.int64()),
                "ds": pa.array([day for day in days for _ in rows.get(day, [])], pa.string()),
            }
        )
        staging = lake.lake.stage("silver", "orders", found.schema, days)
        lake.lake.write(staging, found)
        yield from publish(context, lake.lake, SPEC, staging)

    return orders


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def run(rows, lake: Lake, instance, **how):
    return dg.materialize(
        [orders(rows)],
        resources={"lake": LakeResource(root=lake.root)},
        instance=instance,
        raise_on_error=False,
        **how,
    )


def test_a_range_reports_each_days_own_row_count(lake: Lake, instance):
    result = run({"2026-10-05": [1, 2], "2026-10-07": [3]}, lake, instance, tags=RANGE)
    assert result.success
    counts = {
        event.partition: event.materialization.metadata["dagster/partition_row_count"].value
        for event in result.get_asset_materialization_events()
    }
    assert counts == {"2026-10-05": 2, "2026-10-06": 0, "2026-10-07": 1}
    assert lake.version(*SPEC.asset_key) == 1


def test_a_bad_day_fails_alone_and_the_good_days_are_published(lake: Lake, instance):
    result = run({"2026-10-05": [1], "2026-10-06": [-1], "2026-10-07": [3]}, lake, instance, tags=RANGE)
    assert not result.success
    message = result.failure_data_for_node("orders").user_failure_data.description
    assert "2026-10-06 (id_is_positive)" in message
    assert instance.get_materialized_partitions(KEY) == {"2026-10-05", "2026-10-07"}
    with lake.connect() as connection:
        assert connection.sql("select id from silver.orders order by 1").fetchall() == [(1,), (3,)]


def test_a_failed_check_leaves_the_published_day_as_it_was(lake: Lake, instance):
    assert run({"2026-10-05": [1]}, lake, instance, partition_key="2026-10-05").success
    version = lake.version(*SPEC.asset_key)
    assert not run({"2026-10-05": [7, 7]}, lake, instance, partition_key="2026-10-05").success
    assert lake.version(*SPEC.asset_key) == version


def test_a_warning_is_published_and_shown(lake: Lake, instance):
    result = run({"2026-10-05": [1, 2]}, lake, instance, partition_key="2026-10-05")
    assert result.success
    failed = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert [(e.check_name, e.severity) for e in failed] == [("few_rows", dg.AssetCheckSeverity.WARN)]


def test_what_is_staged_of_a_bad_day_does_not_stay_behind(lake: Lake, instance):
    run({"2026-10-05": [1], "2026-10-06": [-1]}, lake, instance, tags=RANGE)
    lying = {str(path) for path in Path(lake.path("silver", "orders")).rglob("*.parquet")}
    assert lying == set(lake.files("silver", "orders"))
    assert len(lying) == 1
