"""What many partitions cost: load the project, let the sensor `following` tick, ask for the state. CPU seconds.

python -m tests.benchmarks.partitions            28 days and 10 years, all of Bronze there, nothing else
python -m tests.benchmarks.partitions hours      a table of 3 years of hours, and one of days that reads it
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta

SOURCES = ("users", "contacts", "purchases", "usage", "tickets", "invoices", "products")


class Watch:
    def __init__(self) -> None:
        self.at = time.process_time()

    def tell(self, what: str) -> None:
        print(f"  {what}: {time.process_time() - self.at:.2f} CPU s", flush=True)
        self.at = time.process_time()


def days(count: int) -> None:
    import dagster as dg
    import pyarrow as pa

    watch = Watch()
    from asgard_assets.components.following.outlook import outlooks
    from asgard_assets.definitions import defs
    from asgard_assets.lake import Lake
    from asgard_assets.windows import days_after

    repository = defs().get_repository_def()
    watch.tell("the code location loads")
    lake, first = Lake.from_settings(), os.environ["ASGARD_PARTITION_START"]
    schema = pa.schema([("id", pa.int64()), ("ds", pa.string())])
    for name in SOURCES:
        lake.publish(lake.stage("bronze", name, schema, [days_after(first, n) for n in range(count)]))
    watch.tell("(Bronze is written)")
    sensor = repository.get_sensor_def("following")
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = None
        for number in range(3):
            with dg.build_sensor_context(
                instance=instance, repository_def=repository, cursor=cursor, sensor_name=sensor.name
            ) as context:
                found = sensor.evaluate_tick(context)
            cursor = found.cursor
            watch.tell(f"tick {number + 1}, which asks for {len(found.run_requests or [])} runs")
        keys = list(repository.asset_graph.materializable_asset_keys)
        outlooks(lake, repository, instance, keys)
        watch.tell("asgard state")


def hours() -> None:
    from asgard_assets.components.following.reads import Input
    from asgard_assets.components.following.staleness import Partitions, Table, state_of
    from asgard_assets.lake.numbers import publish_id
    from asgard_assets.lake.reads import Edge
    from asgard_assets.windows import Calendar

    import dagster as dg  # isort: skip

    zone, begin = "Europe/Berlin", datetime(2026, 1, 1, tzinfo=UTC)
    keys = {each: [w.key for w in Calendar.named(zone, each).overlapping(begin, begin + timedelta(1096))] for each in ("hour", "day")}  # fmt: skip
    bronze, watch = Table("1", {publish_id(key): 1 for key in keys["hour"]}), Watch()
    for every in ("hour", "day"):
        edge = Edge("bronze/x", 0, 0, every, zone, "hour", zone)
        spec, there = dg.AssetSpec(["silver", "x"]), Partitions(tuple(keys[every]))
        state_of(
            spec, [Input(edge)], Table("2"), there, {"bronze/x": bronze}, datetime(2030, 1, 1, tzinfo=UTC)
        )
        watch.tell(f"the state of {len(there.keys)} {every}s that read {len(keys['hour'])} hours")


def main() -> None:
    if sys.argv[1:] == ["hours"]:
        hours()
    elif sys.argv[1:]:
        days(int(sys.argv[1]))
    else:
        for count in (28, 3650):
            print(f"{count} days", flush=True)
            with tempfile.TemporaryDirectory(prefix="asgard-partitions-") as home:
                first = (date.today() - timedelta(count)).isoformat()
                told = {"HOME": home, "PARTITION_START": first, "PARTITION_END": ""}
                env = {**os.environ, **{f"ASGARD_{name}": value for name, value in told.items()}}
                subprocess.run(
                    [sys.executable, "-m", "tests.benchmarks.partitions", str(count)], env=env, check=True
                )


if __name__ == "__main__":
    main()
