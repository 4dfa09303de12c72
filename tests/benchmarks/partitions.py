"""What many partitions cost, all of them built in each stage: load the project, let the sensor `following` tick, `asgard state`
and `asgard plan` as commands, an asset's page. CPU seconds.

python -m tests.benchmarks.partitions            28 days and 10 years of days; 28 days and 3 years of hours
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks import hours_project
from tests.checkout import ROOT
from tests.end_to_end.homes import BIN, free_port, listens
from tests.patience import ended, loop_seconds, wait_until

if TYPE_CHECKING:
    import dagster as dg

    from asgard_assets.lake import Lake

PAGES = {"day": ("bronze/invoices", "silver/invoices"), "hour": ("bronze/orders", "silver/orders")}
"""Of which assets the page is looked at: of the first as nobody has ever done, of the second after a night's maintenance."""


class Watch:
    def __init__(self) -> None:
        self.at = time.process_time()

    def tell(self, what: str) -> None:
        print(f"  {what}: {time.process_time() - self.at:.2f} CPU s", flush=True)
        self.at = time.process_time()


def measure(every: str) -> None:
    """In the project of this process."""
    import dagster as dg

    watch = Watch()
    from asgard_assets import project
    from asgard_assets.lake import Lake
    from asgard_assets.operations.sources import catalog
    from asgard_assets.settings import Settings

    definitions = project.current().definitions()
    repository = definitions.get_repository_def()
    watch.tell("the code location loads")
    for source in catalog(definitions).files.values():
        (Path(Settings().landing_root) / source.path).mkdir(parents=True, exist_ok=True)
    count = fill(Lake.from_settings(), repository)
    watch.tell(f"({count} partitions are published, in all stages)")
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
    first = os.environ["ASGARD_PARTITION_START"]
    command("state")
    command("state", "*")
    command("plan", "*", "--partitions", f"{first}...")
    pages(repository, *map(dg.AssetKey.from_user_string, PAGES[every]))


def fill(lake: Lake, repository: dg.RepositoryDefinition) -> int:
    """Publish each partition of each table, as its runs would: with what it was built from."""
    import pyarrow as pa

    from asgard_assets.components.following.reads import reads_of, table_of
    from asgard_assets.components.following.runs import specs_of
    from asgard_assets.components.following.staleness import follows

    specs, count = specs_of(repository), 0
    for key in repository.asset_graph.toposorted_asset_keys:
        spec = specs.get(key)
        if spec is None or len(key.path) != 2 or not (spec.partitions_def or follows(spec)):
            continue
        reads = reads_of(lake, spec, specs) if follows(spec) else None
        stage, name = table_of(spec).split("/", 1)
        keys = list(spec.partitions_def.get_partition_keys()) if spec.partitions_def else []
        schema = pa.schema([("id", pa.int64()), *([("ds", pa.string())] if keys else [])])
        lake.publish(lake.stage(stage, name, schema, keys), reads=reads)
        count += len(keys)
    return count


def command(*arguments: str) -> None:
    """A command from its start to its end: its CPU seconds, those of the processes that it starts too, and its clock."""
    with used_by_children(f"asgard {' '.join(arguments)}"):
        made = subprocess.run([BIN / "asgard", *arguments], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-2000:]


@contextmanager
def used_by_children(what: str) -> Iterator[None]:
    def seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before, begun = seconds(), time.monotonic()
    yield
    print(f"  {what}: {seconds() - before:.2f} CPU s, {time.monotonic() - begun:.2f} s", flush=True)


def pages(repository: dg.RepositoryDefinition, new: dg.AssetKey, kept: dg.AssetKey) -> None:
    """What an asset's page asks of the webserver, with all of its partitions materialized: its CPU seconds, and its clock."""
    import dagster as dg

    from asgard_assets.components.platform.history import sum_up
    from asgard_assets.resources.home import prepare_home

    os.environ["DAGSTER_HOME"] = f"{os.environ['ASGARD_HOME']}/dagster"
    prepare_home()
    with dg.DagsterInstance.get() as instance:
        for key in (new, kept):
            there = repository.asset_graph.get(key).partitions_def
            keys = list(there.get_partition_keys()) if there else []
            for number, partition in enumerate(keys):
                if key == kept and number == len(keys) - 24:  # the night before the newest ones
                    sum_up(instance, [dg.AssetSpec(key, partitions_def=there)])
                instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))
    for key, what in ((new, "for the first time"), (kept, "on another day")):
        port = free_port()
        web = subprocess.Popen(
            [str(BIN / "dagster-webserver"), "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            wait_until(lambda port=port: listens(port), 120, "the webserver answers")
            look(web.pid, port, key, what)
        finally:
            ended(web, 20, group=True)


def look(pid: int, port: int, key: dg.AssetKey, what: str) -> None:
    import psutil

    ask(port, key, "id")
    process, begun = psutil.Process(pid), time.monotonic()
    before = sum(process.cpu_times()[:2])
    sizes = [ask(port, key, fields) for fields in _PAGE]
    used, passed = sum(process.cpu_times()[:2]) - before, time.monotonic() - begun
    print(
        f"  an asset's page {what}: {used:.2f} CPU s of the webserver, {passed:.2f} s, {sum(sizes)} bytes",
        flush=True,
    )


def ask(port: int, key: Any, fields: str) -> int:
    """How many bytes the webserver answers."""
    query = f"query($k: AssetKeyInput!){{assetNodeOrError(assetKey:$k){{__typename ... on AssetNode{{{fields}}}}}}}"
    body = json.dumps({"query": query, "variables": {"k": {"path": list(key.path)}}}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        found = answer.read()
    assert b'"AssetNode"' in found, found[:500]
    return len(found)


_PAGE = (
    "assetPartitionStatuses{... on TimePartitionStatuses{ranges{startKey endKey status}}}",
    "partitionKeysByDimension{name partitionKeys}",
    "partitionStats{numMaterialized numPartitions numFailed} staleStatus staleCauses{key{path} reason category}",
    "assetMaterializations(limit:100){timestamp partition}",
)
"""What the page of an asset asks for."""


def main() -> None:
    if sys.argv[1:]:
        measure(sys.argv[1])
        return
    print(f"loop {loop_seconds():.2f} s")
    for every, days in (("day", 28), ("day", 3650), ("hour", 28), ("hour", 1096)):
        print(f"{days} days" + (" of hours" if every == "hour" else ""), flush=True)
        with tempfile.TemporaryDirectory(prefix="asgard-partitions-") as home:
            folder = hours_project.write(Path(home)) if every == "hour" else ROOT
            first = (date.today() - timedelta(days)).isoformat()
            told = {
                "HOME": f"{home}/home",
                "PARTITION_START": first,
                "PARTITION_END": "",
                "PROJECT": str(folder),
            }
            env = {**os.environ, **{f"ASGARD_{name}": value for name, value in told.items()}}
            if every == "hour":
                env["ASGARD_LANDING"] = str(folder / "landing")
            env["PYTHONPATH"] = str(ROOT)
            Path(told["HOME"]).mkdir()
            subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.partitions", every], env=env, cwd=folder, check=True
            )


if __name__ == "__main__":
    main()
