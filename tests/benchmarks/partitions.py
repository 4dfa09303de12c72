"""What many partitions cost: load the project, let the sensor `following` tick, ask for the state and for a plan, look at an
asset's page. CPU seconds.

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
    from asgard_assets.ingest.files.landing import Landing
    from asgard_assets.lake import Lake
    from asgard_assets.operations.partitions import Span
    from asgard_assets.operations.plan import make_plan
    from asgard_assets.operations.sources import catalog
    from asgard_assets.operations.targets import find
    from asgard_assets.operations.todo import Finder
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
        definitions = catalog(defs())
        watch.tell("(the code location loads again)")
        finder = Finder(definitions, lake, Landing.from_settings(), instance)
        planned = make_plan(finder, find(definitions, "group:silver"), Span.parse(f"{first}..."))
        watch.tell(f"asgard plan, of {sum(len(each.partitions) for each in planned.assets)} partitions")
    page(count)


def page(count: int) -> None:
    """What an asset's page asks of the webserver, with all of its partitions materialized: its CPU seconds, and its clock."""
    import json
    import urllib.request

    import dagster as dg
    import psutil

    from asgard_assets.resources.home import prepare_home
    from asgard_assets.windows import days_after
    from tests.end_to_end.homes import BIN, free_port, listens
    from tests.patience import ended, wait_until

    os.environ["DAGSTER_HOME"] = f"{os.environ['ASGARD_HOME']}/dagster"
    prepare_home()
    key, first = dg.AssetKey(["silver", "invoices"]), os.environ["ASGARD_PARTITION_START"]
    with dg.DagsterInstance.get() as instance:
        for n in range(count):
            event = dg.AssetMaterialization(key, partition=days_after(first, n))
            instance.report_runless_asset_event(event)
    port = free_port()
    web = subprocess.Popen(
        [str(BIN / "dagster-webserver"), "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: listens(port), 120, "the webserver answers")

        def ask(fields: str) -> int:
            query = (
                f"query($k: AssetKeyInput!){{assetNodeOrError(assetKey:$k){{... on AssetNode{{{fields}}}}}}}"
            )
            body = json.dumps({"query": query, "variables": {"k": {"path": list(key.path)}}}).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=120) as answer:
                return len(answer.read())

        ask("id")
        process, begun = psutil.Process(web.pid), time.monotonic()
        before = sum(process.cpu_times()[:2])
        sizes = [ask(fields) for fields in _PAGE]
        used, passed = sum(process.cpu_times()[:2]) - before, time.monotonic() - begun
        print(
            f"  an asset's page: {used:.2f} CPU s of the webserver, {passed:.2f} s, {sum(sizes)} bytes",
            flush=True,
        )
    finally:
        ended(web, 20, group=True)


_PAGE = (
    "assetPartitionStatuses{... on TimePartitionStatuses{ranges{startKey endKey status}}}",
    "partitionKeysByDimension{name partitionKeys}",
    "partitionStats{numMaterialized numPartitions numFailed} staleStatus staleCauses{key{path} reason category}",
    "assetMaterializations(limit:100){timestamp partition}",
)
"""What the page of an asset asks for."""


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
