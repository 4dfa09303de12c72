"""A project on a simulated clock: real sensors ask, real engines run, and the story does to them what months do."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import time_machine

from asgard_assets.components.following.runs import FIRST, LAST
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.month import engines, tables
from tests.month.engines import OrdersApi
from tests.month.tables import Made, definitions

STEP = timedelta(minutes=5)
SLOTS = 12
"""Runs that end within a step."""
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Killed(Exception):
    """What a run ends with that the story makes fail."""


@dataclass(frozen=True)
class Request:
    """A run that waits in the queue."""

    assets: tuple[dg.AssetKey, ...]
    tags: Mapping[str, str]
    waiting: str
    """The run that stands for it meanwhile."""


@dataclass
class World:
    """One project with its history. `now` moves by `step`."""

    traveller: time_machine.Traveller
    home: Path
    instance: dg.DagsterInstance
    spark: Any
    api: OrdersApi
    all_engines: bool = True
    """With the tables that the API, Spark and dbt make."""
    late: bool = False
    code: str = "1"
    cursors: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    queue: list[Request] = field(default_factory=list[Request])
    faults: dict[str, list[Callable[[], None]]] = field(default_factory=dict[str, list[Callable[[], None]]])
    dead: list[tuple[datetime, str]] = field(default_factory=list[tuple[datetime, str]])
    builds: Counter[str] = field(default_factory=Counter[str])
    runs: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])
    later: list[str] = field(default_factory=list[str])
    """Tables of which the run after the next one fails."""
    down_until: datetime = datetime.min.replace(tzinfo=UTC)

    def __post_init__(self) -> None:
        self.calendar = Settings().calendar()
        self.lake = Lake.from_settings()
        self.looked = self.now
        self.deploy()

    # The project

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    @property
    def made(self) -> list[Made]:
        calendar = self.calendar
        found = tables.tables(lambda day, n: calendar.after(day, -n), self.late, self.code)
        return [made for made in found if self.all_engines or made.engine == "python"]

    def deploy(self) -> None:
        """Load the project as it is now: sensors keep their cursors, and forget what they had in memory."""
        others = dg.Definitions()
        if self.all_engines:
            others = engines.definitions(self.api, self.home / "dbt_project", self.during)
        self.defs = definitions(self.made, others, self.spark, self.during, lambda: self.now.timestamp())
        self.repository = self.defs.get_repository_def()
        mine = {sensor.name for sensor in self.defs.sensors or ()}  # Dagster adds one for conditions
        self.sensors = {each.name: each for each in self.repository.sensor_defs if each.name in mine}

    def during(self, table: str) -> None:
        faults = self.faults.pop(table, [])
        if table in self.later:
            self.later.remove(table)
            self.fail_next(table)
        for fault in faults:
            fault()

    # Time

    def step(self, by: timedelta = STEP) -> bool:
        """Sensors tick, then runs that wait end. Whether anything was done."""
        self.traveller.shift(by)
        for at, run_id in [each for each in self.dead if each[0] <= self.now]:
            self.dead.remove((at, run_id))
            if run := self.instance.get_run_by_id(run_id):
                self.instance.report_run_failed(run, "the run's process is gone")
        if self.now < self.down_until:
            return True
        for pull in engines.pulls(self.calendar, self.looked, self.now) if self.all_engines else ():
            self.pull(pull)
        self.looked = self.now
        for name in self.sensors:
            self.tick(name)
        busy = bool(self.queue)
        self.queue.sort(key=lambda each: -int(each.tags.get("dagster/priority", "0")))
        for _ in range(min(SLOTS, len(self.queue))):
            self.run(self.queue.pop(0))
        return busy

    def tick(self, name: str) -> None:
        sensor = self.sensors[name]
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            repository_def=self.repository,
            sensor_name=name,
        ) as context:
            found = sensor.evaluate_tick(context)
        self.cursors[name] = found.cursor
        self.take(name, found.run_requests or [])

    def pull(self, at: datetime) -> None:
        """The schedule of the API ticks; after the daemon was down, later than it was due."""
        schedule = self.repository.get_schedule_def("pull_orders")
        due = at.astimezone(self.calendar.zone)
        with dg.build_schedule_context(
            instance=self.instance, scheduled_execution_time=due, repository_def=self.repository
        ) as context:
            self.take("pull_orders", schedule.evaluate_tick(context).run_requests or [])

    def take(self, name: str, requests: Sequence[dg.RunRequest]) -> None:
        for request in requests:
            key = request.run_key and f"{name}:{request.run_key}"
            if key and self.instance.get_runs_count(dg.RunsFilter(tags={"dagster/run_key": key})):
                continue
            assets = request.asset_selection or self.targets(name)
            tags = dict(request.tags) | (
                {"dagster/partition": request.partition_key} if request.partition_key else {}
            )
            self.ask(assets, tags | ({"dagster/run_key": key} if key else {}))

    def targets(self, asking: str) -> list[dg.AssetKey]:
        return [dg.AssetKey(["bronze", asking.removesuffix("_files").removeprefix("pull_")])]

    # Runs

    def ask(self, assets: Any, tags: Mapping[str, str]) -> None:
        self.queue.append(
            Request(tuple(assets), tags, self.begun(assets, tags, dg.DagsterRunStatus.NOT_STARTED).run_id)
        )

    def begun(self, assets: Any, tags: Mapping[str, str], status: dg.DagsterRunStatus) -> dg.DagsterRun:
        job = self.repository.get_implicit_global_asset_job_def()
        return self.instance.create_run_for_job(
            job, asset_selection=frozenset(assets), tags=dict(tags), status=status
        )

    def run(self, asked: Request) -> bool:
        if self.instance.get_run_by_id(asked.waiting):
            self.instance.delete_run(asked.waiting)
        names = ["/".join(asset.path) for asset in asked.assets]
        failing = {
            name
            for name in names
            if any(getattr(fault, "fails", False) for fault in self.faults.get(name, []))
        }
        well, why = self.execute(self.instance, asked.assets, asked.tags)
        for name in names:
            if name not in failing:
                self.builds[name] += len(self.keys_of(asked.tags))
                self.runs[name] += 1
        if not (well or failing):
            self.failures.append(f"{self.now:%m-%d %H:%M} {names} {dict(asked.tags)}: {why}")
        return well

    def execute(self, instance: dg.DagsterInstance, assets: Any, tags: Mapping[str, str]) -> tuple[bool, str]:
        job = self.repository.get_implicit_global_asset_job_def().get_subset(asset_selection=set(assets))
        done = job.execute_in_process(
            instance=instance, tags=dict(tags), raise_on_error=False, run_config=_QUIET
        )
        failed = [event for event in done.all_events if event.is_step_failure]
        return done.success, "; ".join(
            str(event.step_failure_data.error_display_string)[:600] for event in failed
        )

    def by_hand(self, table: str, first: str, last: str, instance: dg.DagsterInstance | None = None) -> bool:
        """A person materializes the days, perhaps from another history."""
        key = dg.AssetKey(table.split("/"))
        return self.execute(instance or self.instance, [key], span(first, last))[0]

    def again_by_hand(self, table: str) -> None:
        """All days of a table that were built, in one run."""
        if days := sorted(tables.rows_of(self.lake, table)):
            self.by_hand(table, days[0], days[-1])

    def keys_of(self, tags: Mapping[str, str]) -> list[str]:
        if key := tags.get("dagster/partition"):
            return [key]
        return self.calendar.between(tags[FIRST], tags[LAST])

    # What happens to it

    def drop(self, source: str, key: str, name: str, rows: tables.Rows) -> None:
        """A producer writes a file, whole."""
        folder = Path(Settings().landing_root) / source / f"ds={key}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.csv"
        path.write_text("id,amount\n" + "".join(f"{id},{amount}\n" for id, amount in rows))
        stamp = self.now.timestamp()
        os.utime(path, (stamp, stamp))

    def remove(self, source: str, key: str, name: str) -> None:
        """A file leaves the landing folder."""
        (Path(Settings().landing_root) / source / f"ds={key}" / f"{name}.csv").unlink(missing_ok=True)

    def stream(self, hours: Mapping[str, tables.Rows]) -> None:
        """Another program publishes hours, and tells Dagster."""
        flat = [(id, amount, hour) for hour, rows in hours.items() for id, amount in rows]
        staging = self.lake.stage("bronze", "clicks", tables.SCHEMA, list(hours))
        columns = [list(column) for column in zip(*flat, strict=True)]
        self.lake.write(staging, pa.table(columns, schema=tables.SCHEMA))
        self.lake.publish(staging)
        for hour in hours:
            event = dg.AssetMaterialization(tables.CLICKS.key, partition=hour)
            self.instance.report_runless_asset_event(event)

    def fail_next(self, table: str) -> None:
        """The table's next run fails in its midst."""

        def fault() -> None:
            raise Killed(f"{table}: the driver is gone")

        fault.fails = True  # type: ignore[attr-defined]
        self.faults.setdefault(table, []).append(fault)

    def in_midst_of(self, table: str, happens: Callable[[], None]) -> None:
        self.faults.setdefault(table, []).append(happens)

    def kill(self, table: str, day: str, after: timedelta) -> None:
        """A run of the day has staged rows, and is never heard of again; after a while Dagster gives it up."""
        stage, name = table.split("/")
        run = self.begun(
            [dg.AssetKey([stage, name])], {"dagster/partition": day}, dg.DagsterRunStatus.STARTED
        )
        self.lake.stage(stage, name, tables.SCHEMA, [day])
        self.dead.append((self.now + after, run.run_id))

    def lose_history(self, instance: dg.DagsterInstance) -> None:
        """Dagster begins anew: no runs, no events, no cursors."""
        self.instance = instance
        self.cursors.clear()
        self.dead.clear()
        self.queue.clear()
        self.deploy()

    def settle(self) -> None:
        """Until nothing is asked for any more."""
        idle = 0
        for _ in range(400):
            idle = 0 if self.step(timedelta(hours=1)) else idle + 1
            if idle > 16:
                return
        raise AssertionError(f"it does not come to rest: {self.queue[:3]} {self.failures[-5:]}")


def span(first: str, last: str) -> dict[str, str]:
    return {"dagster/partition": first} if first == last else {FIRST: first, LAST: last}
