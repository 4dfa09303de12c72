"""How long a Silver step waits for its first Spark job: on a warm Spark Connect server, and with a Spark of its own.

python -m tests.benchmarks.warm_spark --runs 3

Spark's own event log says when the first job was submitted; Dagster's says when the step started. Both runs must leave the same
table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from asgard_assets.lake import Lake
from tests.checkout import ROOT
from tests.components.bronze_frames import put_usage, usage_body
from tests.patience import loop_seconds
from tests.servers.spark_connect import connect_server

DAY, ROWS = "2026-10-05", 200


def home(folder: Path) -> Path:
    """A home whose Bronze has one day of answers."""
    put_usage(Lake(str(folder / "lake")), {DAY: [usage_body(number, DAY) for number in range(1, ROWS + 1)]})
    (folder / "dagster").mkdir(parents=True, exist_ok=True)
    return folder


def run(folder: Path, **env: str) -> dict[str, float]:
    """Seconds of `silver/usage`: from the step's start to its first Spark job, to its end, and of the whole process."""
    logs = Path(env.pop("LOGS"))
    before = set(job_times(logs))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASGARD_")}
    settings = {"ASGARD_HOME": str(folder), "DAGSTER_HOME": str(folder / "dagster"), **env}
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "asgard_assets.definitions"]
    done = subprocess.run(
        [*command, "--select", "silver/usage", "--partition", DAY],
        env=kept | settings, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    with dg.DagsterInstance.from_config(str(folder / "dagster")) as instance:
        log = instance.all_logs(instance.get_runs(limit=1)[0].run_id)
    events = [(e.dagster_event, e.timestamp) for e in log if e.dagster_event]
    at = {event.event_type_value: when for event, when in events if event.step_key == "silver_usage"}
    first = min(set(job_times(logs)) - before)
    return {"first job": first - at["STEP_START"], "step": at["STEP_SUCCESS"] - at["STEP_START"]}


def job_times(logs: Path) -> Iterator[float]:
    """When jobs were submitted, in seconds of the epoch, by Spark's event logs."""
    for file in logs.rglob("events_*"):
        for line in file.read_text().splitlines():
            if '"SparkListenerJobStart"' in line:
                yield json.loads(line)["Submission Time"] / 1000


@contextmanager
def event_log(folder: Path) -> Iterator[dict[str, str]]:
    """Options of Spark that write its event log there; also as a folder of Spark's defaults, for a session of its own."""
    logs, conf = folder / "events", folder / "conf"
    for each in (logs, conf):
        each.mkdir()
    options = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": logs.as_uri(),
        "spark.eventLog.compress": "false",
    }
    (conf / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    yield options


def rows(folder: Path) -> list[Any]:
    with Lake(str(folder / "lake")).connect() as connection:
        return connection.sql("select * from silver.usage order by all").fetchall()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    wanted = parser.parse_args().runs
    print(f"loop {loop_seconds():.2f} s, {ROWS} rows, median of {wanted}")
    with tempfile.TemporaryDirectory() as scratch:
        warm, cold = Path(scratch) / "warm", Path(scratch) / "cold"
        for folder in (warm, cold):
            home(folder)
        with event_log(warm) as options, connect_server(warm, **options) as server:
            run(warm, LOGS=str(warm / "events"), **server.environment)  # the server's first
            found = [run(warm, LOGS=str(warm / "events"), **server.environment) for _ in range(wanted)]
        show("warm Spark Connect server", found)
        with event_log(cold):
            environment = {"LOGS": str(cold / "events"), "SPARK_CONF_DIR": str(cold / "conf")}
            found = [run(cold, **environment) for _ in range(wanted)]
        show("a Spark of its own", found)
        assert rows(warm) == rows(cold) and len(rows(warm)) == ROWS
        print("both left the same table")


def show(name: str, found: list[dict[str, float]]) -> None:
    told = ", ".join(f"{what} {statistics.median(one[what] for one in found):.1f} s" for what in found[0])
    each = "; ".join(f"{one['first job']:.1f}" for one in found)
    print(f"{name}: {told} ({each})", flush=True)


if __name__ == "__main__":
    main()
