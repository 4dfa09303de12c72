"""Dagster's history stays bounded, and what it says of each partition stays as it was."""

# No `from __future__ import annotations`: Dagster wants types, not their names.

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import time_machine
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from asgard_assets.components.partitions import daily
from asgard_assets.components.platform.history import Purged, purge

START = datetime(2026, 10, 5, 1, tzinfo=UTC)
DAYS = list(daily().get_partition_keys()[:8])
LATE, NEVER = dg.AssetKey("late"), 10**6


class Daemon:
    """An asset and its history on a clock of its own."""

    def __init__(self, instance: dg.DagsterInstance, traveller: Any) -> None:
        self.instance, self.traveller, self.broken = instance, traveller, False

        @dg.asset(key=LATE, partitions_def=daily(), check_specs=[dg.AssetCheckSpec("good", asset=LATE)])
        def late() -> dg.MaterializeResult:
            if self.broken:
                raise RuntimeError("not today")
            return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])

        self.asset = late

    def run(self, day: str) -> str:
        self.traveller.shift(timedelta(days=1))
        return dg.materialize(
            [self.asset], partition_key=day, instance=self.instance, raise_on_error=False
        ).run_id

    def fails(self, day: str) -> str:
        self.broken = True
        run = self.run(day)
        self.broken = False
        return run

    def statuses(self) -> dict[str, str]:
        found = self.instance.get_status_by_partition(LATE, DAYS, daily()) or {}
        return {day: status.value for day, status in found.items() if status}

    def events(self) -> int:
        return len(self.instance.fetch_materializations(LATE, limit=1000).records)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with time_machine.travel(START, tick=False) as traveller:
        with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
            yield Daemon(instance, traveller)


def test_of_old_runs_the_last_word_on_each_partition_stays(daemon: Daemon, tmp_path: Path):
    first, again = daemon.run(DAYS[0]), daemon.run(DAYS[0])
    failed, cured = daemon.fails(DAYS[1]), daemon.run(DAYS[1])
    bad = daemon.fails(DAYS[2])
    daemon.traveller.shift(timedelta(days=40))
    new = daemon.run(DAYS[3])
    before = daemon.statuses()
    assert before == {
        DAYS[0]: "MATERIALIZED",
        DAYS[1]: "MATERIALIZED",
        DAYS[2]: "FAILED",
        DAYS[3]: "MATERIALIZED",
    }
    done = purge(daemon.instance, datetime.now(UTC) - timedelta(days=30), NEVER)
    assert done.runs == 4 and done.events and done.checks
    assert {run.run_id for run in daemon.instance.get_runs()} == {bad, new}
    assert daemon.statuses() == before
    assert daemon.events() == 3
    assert daemon.instance.get_materialized_partitions(LATE) == {DAYS[0], DAYS[1], DAYS[3]}
    assert purge(daemon.instance, datetime.now(UTC) - timedelta(days=30), NEVER) == Purged()
    for run in (first, again, failed, cured):
        assert not list(tmp_path.rglob(f"*{run}*")), "its events and logs are gone, too"


def test_more_runs_than_are_kept_go_the_oldest_first(daemon: Daemon):
    runs = [daemon.run(day) for day in DAYS]
    assert purge(daemon.instance, START, 3).runs == 5
    assert {run.run_id for run in daemon.instance.get_runs()} == {*runs[5:]}
    assert set(daemon.statuses()) == {*DAYS}


def test_automation_asks_for_nothing_because_of_it(daemon: Daemon):
    condition = dg.AutomationCondition.eager()
    reader = dg.AssetSpec("reader", deps=[LATE], partitions_def=daily())

    @dg.asset(key=reader.key, deps=[LATE], partitions_def=daily(), automation_condition=condition)
    def made() -> None: ...

    defs = dg.Definitions(assets=[daemon.asset, made])
    at = datetime(2026, 11, 2, 1)
    for day in DAYS[:3]:
        daemon.run(day)
    cursor = dg.evaluate_automation_conditions(defs, daemon.instance, evaluation_time=at).cursor
    daemon.traveller.shift(timedelta(days=40))
    purge(daemon.instance, datetime.now(UTC), 0)
    found = dg.evaluate_automation_conditions(defs, daemon.instance, cursor=cursor, evaluation_time=at)
    assert not found.get_requested_partitions(reader.key)


def test_a_run_that_has_not_ended_stays(daemon: Daemon):
    job = dg.Definitions(assets=[daemon.asset]).get_repository_def().get_implicit_global_asset_job_def()
    run = daemon.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    daemon.traveller.shift(timedelta(days=40))
    assert purge(daemon.instance, datetime.now(UTC), 0).runs == 0
    assert daemon.instance.get_run_by_id(run.run_id)


def test_events_outside_of_runs_and_jobs_that_no_run_has_go_too(daemon: Daemon):
    for count in range(5):
        daemon.instance.report_runless_asset_event(dg.AssetObservation(LATE, metadata={"count": count}))
    for state in (FreshnessState.WARN, FreshnessState.FAIL):
        change = FreshnessStateChange(
            key=LATE, new_state=state, previous_state=FreshnessState.PASS, state_change_timestamp=0.0
        )
        daemon.instance._report_runless_asset_event(change)
    daemon.run(DAYS[0])
    daemon.traveller.shift(timedelta(days=40))
    done = purge(daemon.instance, datetime.now(UTC), 0)
    assert daemon.instance.get_freshness_state_records([LATE])[LATE].freshness_state == FreshnessState.FAIL
    assert done.snapshots and done.events >= 4
    [left] = daemon.instance.fetch_observations(LATE, limit=10).records
    assert left.asset_observation and left.asset_observation.metadata["count"].value == 4
