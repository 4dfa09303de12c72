"""The sensor on a real lake: it asks for what the lake lacks, whatever Dagster knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.following.asking import Ask
from asgard_assets.components.following.reads import READS, RECEIPT, SAME, opened
from asgard_assets.components.following.runs import with_history
from asgard_assets.components.following.sensor import (
    ASK,
    TOGETHER,
    following,
    remembered,
    requests,
    specs_of,
)
from asgard_assets.components.following.staleness import states
from asgard_assets.components.partitions import daily
from asgard_assets.lake import Lake

DAYS = list(daily().get_partition_keys()[:20])
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC).timestamp()
SCHEMA = pa.schema([("id", pa.int64()), ("ds", pa.string())])
BRONZE, SILVER = dg.AssetKey(["bronze", "x"]), dg.AssetKey(["silver", "x"])
FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def rows(lake: Lake, key: dg.AssetKey, days: list[str], value: int = 0, reads=None) -> None:
    staging = lake.stage(key.path[0], key.path[1], SCHEMA, days)
    lake.write(staging, pa.table([[value] * len(days), days], schema=SCHEMA))
    lake.publish(staging, reads=reads)


class Daemon:
    def __init__(self, lake: Lake, instance: dg.DagsterInstance) -> None:
        self.lake, self.instance, self.cursor, self.now, self.broken = lake, instance, None, NOON, False

        @dg.asset(
            key=SILVER, deps=[BRONZE], partitions_def=daily(), automation_condition=on_upstream_change(),
            metadata={READS: {"bronze/x": SAME}}, backfill_policy=dg.BackfillPolicy.single_run(),
        )  # fmt: skip
        def silver(context) -> None:
            reads = opened(context, lake)
            if self.broken:
                raise RuntimeError("the store is away")
            rows(lake, SILVER, list(context.partition_keys), reads=reads)

        self.sensor = following(pace_seconds=0, clock=lambda: self.now)
        bronze = dg.AssetSpec(BRONZE, partitions_def=daily())
        self.defs = dg.Definitions(assets=[bronze, silver], sensors=[self.sensor])
        self.repository = self.defs.get_repository_def()

    def tick(self) -> list[dg.RunRequest]:
        self.now += 60
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=self.repository
        ) as context:
            found = self.sensor.evaluate_tick(context)
        self.cursor = found.cursor
        return list(found.run_requests or [])

    def run(self, asked: dg.RunRequest) -> bool:
        job = self.repository.get_implicit_global_asset_job_def()
        tags = dict(asked.tags) | ({"dagster/partition": asked.partition_key} if asked.partition_key else {})
        return (
            job.get_subset(asset_selection={SILVER})
            .execute_in_process(instance=self.instance, tags=tags, raise_on_error=False)
            .success
        )


@pytest.fixture
def daemon(lake: Lake):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Daemon(lake, instance)


def days_of(asked: list[dg.RunRequest]) -> list[tuple[str, str]]:
    return [(r.partition_key or r.tags[FIRST], r.partition_key or r.tags[LAST]) for r in asked]


def test_assets_that_are_asked_for_the_same_days_share_runs():
    others = [
        dg.AssetSpec(["silver", f"t{number}"], partitions_def=daily()) for number in range(TOGETHER + 2)
    ]
    whole = dg.AssetSpec(["gold", "x"])
    graph = dg.Definitions(assets=[*others, whole]).resolve_asset_graph()
    days = [Ask("/".join(spec.key.path), tuple(DAYS[:2]), 1, True) for spec in others]
    found = requests([*days, replace(days[0], keys=(DAYS[5],)), Ask("gold/x", (), 2, True)], graph)
    assert [len(each.asset_selection or []) for each in found] == [TOGETHER, 2, 1, 1]
    assert [each.partition_key for each in found] == [None, None, DAYS[5], None]
    assert found[0].tags[FIRST] == DAYS[0] and found[0].tags[LAST] == DAYS[1]


def test_what_the_lake_lacks_is_asked_for_in_ranges_and_then_at_rest(daemon: Daemon):
    assert daemon.tick() == []
    rows(daemon.lake, BRONZE, DAYS)
    asked = daemon.tick()
    assert days_of(asked) == [(DAYS[0], DAYS[-1])]
    assert asked[0].tags[ASK] and asked[0].asset_selection == [SILVER]
    assert daemon.run(asked[0])
    assert daemon.tick() == []
    daemon.cursor = None
    assert daemon.tick() == [], "a lost cursor costs nothing"
    with dg.DagsterInstance.ephemeral() as another:
        daemon.instance = another
        assert daemon.tick() == [], "a lost history costs nothing"
        rows(daemon.lake, BRONZE, [DAYS[3]], value=1)
        assert days_of(daemon.tick()) == [(DAYS[3], DAYS[3])]


def test_a_run_that_fails_is_asked_for_again_after_a_pause(daemon: Daemon):
    rows(daemon.lake, BRONZE, DAYS[:1])
    daemon.broken = True
    assert not daemon.run(daemon.tick()[0])
    assert daemon.tick() == []
    daemon.now += 3600
    daemon.broken = False
    assert daemon.run(daemon.tick()[0])
    daemon.now += 7 * 3600
    assert daemon.tick() == [] and remembered(daemon.cursor) == {}


def begun(daemon: Daemon, day: str) -> dg.DagsterRun:
    return daemon.instance.create_run_for_job(
        daemon.repository.get_implicit_global_asset_job_def(),
        asset_selection=frozenset({SILVER}),
        tags={"dagster/partition": day},
        status=dg.DagsterRunStatus.STARTED,
    )


def test_what_is_running_is_not_asked_for(daemon: Daemon):
    rows(daemon.lake, BRONZE, DAYS[:1])
    run = begun(daemon, DAYS[0])
    assert daemon.tick() == []
    daemon.instance.report_run_failed(run)
    assert days_of(daemon.tick()) == [(DAYS[0], DAYS[0])]


def test_what_a_person_cancelled_waits_until_an_input_changes(daemon: Daemon):
    rows(daemon.lake, BRONZE, DAYS[:2])
    daemon.instance.report_run_canceled(begun(daemon, DAYS[0]))
    assert days_of(daemon.tick()) == [(DAYS[1], DAYS[1])]
    daemon.now += 7 * 3600
    daemon.cursor = None
    assert days_of(daemon.tick()) == [(DAYS[1], DAYS[1])], "also after the cursor was lost"
    rows(daemon.lake, BRONZE, DAYS[:1], value=1)
    assert (DAYS[0], DAYS[0]) in [(first, first) for first, _ in days_of(daemon.tick())]


def test_what_was_built_before_there_were_receipts_is_not_built_again(daemon: Daemon):
    rows(daemon.lake, BRONZE, DAYS[:3])
    features = dg.AssetSpec(
        ["features", "x"],
        deps=[BRONZE],
        partitions_def=daily(),
        metadata={READS: {}, RECEIPT: "receipts/features.x"},
    )
    specs = {BRONZE: dg.AssetSpec(BRONZE, partitions_def=daily()), features.key: features}
    [found] = states(daemon.lake, specs, [features.key])
    assert found.missing == tuple(DAYS[:3])
    daemon.instance.report_runless_asset_event(dg.AssetMaterialization(features.key, partition=DAYS[1]))
    known = with_history(found, features, daemon.instance)
    assert (known.missing, known.current) == ((DAYS[0], DAYS[2]), (DAYS[1],))


def test_it_knows_every_asset_of_the_location(daemon: Daemon):
    assert set(specs_of(daemon.repository)) == {BRONZE, SILVER}
