"""What `asgard state` says of partitions: failing ones with the next try, held ones, open ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import pyarrow as pa

from asgard_assets.cli.options import Output
from asgard_assets.cli.reports import state_report
from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.following.asking import TRIES, Attempt
from asgard_assets.components.following.outlook import outlooks
from asgard_assets.components.following.reads import READS
from asgard_assets.components.partitions import daily, windows
from asgard_assets.lake import Lake
from asgard_assets.operations.state import TableState

DAYS = list(daily().get_partition_keys()[:5])
SCHEMA = pa.schema([("id", pa.int64()), ("ds", pa.string())])
BRONZE = dg.AssetSpec(["bronze", "x"], partitions_def=daily())


@dg.asset(
    key=["silver", "x"],
    deps=[BRONZE.key],
    partitions_def=daily(),
    automation_condition=on_upstream_change(),
    metadata={READS: {}},
)
def silver() -> None: ...


@dg.asset(
    key=["silver", "h"],
    deps=[dg.AssetKey(["bronze", "h"])],
    partitions_def=windows("hour"),
    automation_condition=on_upstream_change(),
    metadata={READS: {}},
)
def hourly() -> None: ...


def publish(lake: Lake, name: str, keys: list[str]) -> None:
    staging = lake.stage("bronze", name, SCHEMA, keys)
    lake.write(staging, pa.table([[0] * len(keys), keys], schema=SCHEMA))
    lake.publish(staging)


def test_it_says_what_fails_what_is_held_and_what_is_open(lake: Lake, capsys):
    publish(lake, "x", DAYS)
    repository = dg.Definitions(assets=[BRONZE, silver]).get_repository_def()
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(
            repository.get_implicit_global_asset_job_def(),
            asset_selection=frozenset({silver.key}),
            tags={
                "dagster/asset_partition_range_start": DAYS[2],
                "dagster/asset_partition_range_end": DAYS[3],
            },
            status=dg.DagsterRunStatus.STARTED,
        )
        instance.report_run_canceled(run)
        [first] = outlooks(lake, repository, instance, [silver.key], {})
        reads, at = first.state.reads, datetime(2026, 12, 1, tzinfo=UTC).timestamp()
        memory = {
            "silver/x": {
                DAYS[0]: Attempt(reads[DAYS[0]], 2, at),
                DAYS[1]: Attempt(reads[DAYS[1]], TRIES, at, told=True),
                DAYS[4]: Attempt(1, 3, at),  # of inputs as they were before
            }
        }
        [found] = outlooks(lake, repository, instance, [silver.key], memory)
    assert found.held == (DAYS[2], DAYS[3])
    assert {key: (each.tries, each.next) for key, each in found.failed.items()} == {
        DAYS[0]: (2, "2026-12-01T00:00:00+00:00"),
        DAYS[1]: (TRIES, ""),
    }
    found = replace(found, state=replace(found.state, open=(DAYS[4],)))
    table = TableState("silver/x", len(DAYS), 0, len(DAYS), 0, None)
    state_report.show([], [table], False, Output.text, {"silver/x": found})
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert f"failed      {DAYS[0]}: asked for 2 times, again at 2026-12-01T00:00:00+00:00" in said
    assert f"failed      {DAYS[1]}: asked for {TRIES} times, again once an input changes" in said
    assert f"open        {DAYS[4]}" in said
    assert any(line.startswith(f"held        {DAYS[2]}...{DAYS[3]}: ") for line in said)


def test_hours_are_told_in_ranges_too(lake: Lake, capsys):
    hours = list(windows("hour").get_partition_keys()[1:4])
    publish(lake, "h", hours)
    repository = dg.Definitions(assets=[hourly]).get_repository_def()
    with dg.DagsterInstance.ephemeral() as instance:
        [found] = outlooks(lake, repository, instance, [hourly.key], {})
    table = TableState("silver/h", 3, 0, 3, 0, None)
    state_report.show([], [table], False, Output.text, {"silver/h": found})
    assert f"missing     {hours[0]}...{hours[2]}" in capsys.readouterr().out
