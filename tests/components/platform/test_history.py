"""Dagster's history stays bounded, and what it says of each partition stays as it was."""

# No `from __future__ import annotations`: Dagster wants types, not their names.

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import time_machine
import yaml
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from asgard_assets.components.partitions import daily
from asgard_assets.components.platform.history import Purged, purge
from asgard_assets.components.platform.maintenance import history_maintenance
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar
from tests.servers.postgres import postgres

START = datetime(2026, 10, 5, 1, tzinfo=UTC)
DAYS = list(daily().get_partition_keys()[:8])
_NO_OUTPUT = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}
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

    def cached(self) -> set[str] | None:
        """What Dagster has summed up for the page."""
        found = self.instance.get_asset_records([LATE])[0].asset_entry.cached_status
        return found and {*found.deserialize_materialized_partition_subsets(daily()).get_partition_keys()}

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


def test_each_night_the_partitions_are_summed_up_for_the_pages(daemon: Daemon):
    daemon.run(DAYS[0])
    assert daemon.cached() is None
    night = [daemon.asset, history_maintenance]
    assert dg.materialize(night, partition_key=DAYS[1], instance=daemon.instance).success
    assert DAYS[0] in (daemon.cached() or ())
    daemon.fails(DAYS[2])
    assert daemon.statuses() == {DAYS[0]: "MATERIALIZED", DAYS[1]: "MATERIALIZED", DAYS[2]: "FAILED"}


def test_more_runs_than_are_kept_go_the_oldest_first(daemon: Daemon):
    runs = [daemon.run(day) for day in DAYS]
    assert purge(daemon.instance, START, 3).runs == 5
    assert {run.run_id for run in daemon.instance.get_runs()} == {*runs[5:]}
    assert set(daemon.statuses()) == {*DAYS}


def test_of_runs_that_went_well_the_newest_keep_their_logs(daemon: Daemon):
    runs = [daemon.run(day) for day in DAYS[:4]]
    bad = daemon.fails(DAYS[4])
    before = daemon.statuses()
    assert purge(daemon.instance, START, NEVER, 2).logs == 2
    assert purge(daemon.instance, START, NEVER, 2) == Purged()
    told = {run: len(daemon.instance.all_logs(run)) for run in (*runs, bad)}
    assert not told[runs[0]] and not told[runs[1]] and all(told[run] for run in (*runs[2:], bad))
    assert {run.run_id for run in daemon.instance.get_runs()} == {*runs, bad}
    assert daemon.statuses() == before and daemon.events() == 4
    checks = daemon.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(LATE, "good"), limit=10
    )
    assert [check.status.value for check in checks].count("SUCCEEDED") == 4


@pytest.mark.servers
def test_on_postgres_what_is_known_of_assets_stays_when_a_log_goes(tmp_path: Path):
    with postgres(tmp_path / "postgres") as server:
        (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"storage": server.storage}))
        with (
            dg.DagsterInstance.from_config(str(tmp_path)) as instance,
            time_machine.travel(START) as traveller,
        ):
            daemon = Daemon(instance, traveller)
            runs = [daemon.run(day) for day in DAYS[:3]]
            bad, before = daemon.fails(DAYS[3]), daemon.statuses()
            told = [len(instance.all_logs(run)) for run in (*runs, bad)]
            assert purge(instance, START, NEVER, 1).logs == 2 and purge(instance, START, NEVER, 1) == Purged()
            left = [len(instance.all_logs(run)) for run in (*runs, bad)]
            assert left[2:] == told[2:] and 0 < left[0] < told[0] and 0 < left[1] < told[1]
            assert daemon.statuses() == before and daemon.events() == 3


def page_seconds(instance: dg.DagsterInstance) -> float:
    """What the page of an asset asks the storage for, of the newest 60 days, five times; CPU seconds."""
    began = time.process_time()
    for _ in range(5):
        instance.get_status_by_partition(LATE, daily().get_partition_keys()[-60:], daily())
        instance.fetch_materializations(LATE, limit=100)
        instance.get_latest_materialization_event(LATE)
        instance.get_asset_records([LATE])
    return time.process_time() - began


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_year_takes_no_more_room_than_its_partitions_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One of 200 tables with its share of the runs and logs that are kept by default: the whole stays below a gigabyte, and
    the page of the asset costs what it did after 60 days."""
    monkeypatch.setenv("ASGARD_PARTITION_START", f"{START:%Y-%m-%d}")
    monkeypatch.setenv("ASGARD_PARTITION_END", "")
    runs, logs = math.ceil(Settings().history_runs / 200), math.ceil(Settings().history_logs / 200)
    sizes, costs = dict[int, int](), dict[int, float]()
    with time_machine.travel(START, tick=False) as traveller:
        with dg.DagsterInstance.local_temp(str(tmp_path), overrides=_NO_OUTPUT) as instance:
            daemon, empty = Daemon(instance, traveller), size_of(tmp_path)
            for number in range(1, 366):
                daemon.run(Calendar().key_at(datetime.now(UTC)))
                purge(instance, START, runs, logs)  # their number alone bounds them
                if number in (60, 365):
                    sizes[number] = size_of(tmp_path) - empty
                    costs[number] = min(page_seconds(instance) for _ in range(3))
    print({"bytes": sizes, "page": costs})
    assert 200 * sizes[365] < 2**30
    assert costs[365] <= 1.1 * costs[60]


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


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
