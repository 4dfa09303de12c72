"""`make demo-streaming`: an API, Kafka, a Bronze table and Postgres on this machine, for as long as the demo takes.

Starts all of them, kills a fetcher and a load half way, and shows that every order is there once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from asgard_assets.errors import AsgardError
from asgard_assets.ingest.stream.kafka import Kafka, lag
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.ingest.stream.table import positions
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from deployments.local.streaming.kafka import kafka
from deployments.local.streaming.postgres import Postgres, postgres
from tests.fakes.orders_feed import Feed, orders_feed

ROUNDS, ORDERS = 4, 500
TOPIC = "events.orders"
console = Console(highlight=False)


def main() -> None:
    """The demo from the start of its servers to their end."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="asgard-streaming-")))
        console.print("starting Kafka and Postgres")
        broker = stack.enter_context(kafka(home / "kafka"))
        database = stack.enter_context(postgres(home / "postgres"))
        feed = stack.enter_context(orders_feed())
        project = _project(home, feed)
        environment = os.environ | {
            "ASGARD_HOME": str(home / "asgard"),
            "ASGARD_LAKE": "",
            "ASGARD_KAFKA": broker.address,
            "ASGARD_PARTITION_START": "2026-10-01",
            "ASGARD_PARTITION_END": "",
            "SRC_POSTGRES": database.url,
            "DAGSTER_HOME": str(home / "dagster"),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
        }
        (home / "dagster").mkdir()
        (home / "dagster" / "dagster.yaml").write_text(
            "telemetry: {enabled: false}\npython_logs: {python_log_level: WARNING}\n"
        )
        for number in range(ROUNDS):
            feed.add(ORDERS)
            fetch = [sys.executable, "-m", "asgard_assets.cli", "fetch", str(project / "orders.yaml")]
            _step(fetch, project, environment, kill=number == 1)
            run = [sys.executable, "-m", "deployments.local.streaming.demo", "run"]
            _step(run, Path.cwd(), environment, kill=number == 2)
            console.print(_figures(number, feed, home / "asgard" / "lake", broker.address, database))
        _prove(home / "asgard" / "lake", database)


def _project(home: Path, feed: Feed) -> Path:
    """What a team writes: an API source, the stream, the sink."""
    folder = home / "project"
    folder.mkdir()
    (folder / "orders.yaml").write_text(json.dumps(feed.document()))
    return folder


def _step(command: list[str], cwd: Path, environment: dict[str, str], kill: bool) -> None:
    """Run a command; with `kill` it is ended half way by SIGKILL first, and then run again."""
    if kill:
        with _started(command, cwd, environment) as process:
            time.sleep(2)
            process.send_signal(signal.SIGKILL)
        console.print(f"killed: {' '.join(command[2:4])}", style="yellow")
    with _started(command, cwd, environment) as process:
        if process.wait():
            sys.exit(f"asgard: {' '.join(command[2:])} failed")


@contextmanager
def _started(command: list[str], cwd: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    path = f"{Path.cwd()}{os.pathsep}{environment.get('PYTHONPATH', '')}"
    process = subprocess.Popen(command, cwd=cwd, env=environment | {"PYTHONPATH": path})
    try:
        yield process
    finally:
        process.wait()


def run_assets() -> None:
    """The stream and the sink as Dagster runs them, in this process."""
    import dagster as dg

    from asgard_assets.components.stream import sink_asset, stream_asset
    from asgard_assets.resources.lake import LakeResource
    from asgard_assets.sinks.events import EventsSink

    stream = stream_asset(StreamSource(name="orders", topic=TOPIC, description="Orders of a shop."))
    sink = sink_asset(EventsSink(name="orders", table="bronze/orders", url="env:SRC_POSTGRES"))
    settings = Settings()
    done = dg.materialize(
        [stream, sink],
        partition_key=settings.calendar().key_at(datetime.now(UTC)),
        resources={"lake": LakeResource(root=settings.lake_root)},
        instance=dg.DagsterInstance.get(),
        raise_on_error=False,
    )
    sys.exit(not done.success)


def _figures(number: int, feed: Feed, lake: Path, address: str, database: Postgres) -> Table:
    """Rows, lag and what is in quarantine, after a round."""
    table = Table("round", "orders", "Bronze", "quarantine", "lag", "Postgres", box=None)
    bronze, bad = _rows(lake, "bronze"), _rows(lake, "quarantine")
    topic = Kafka(address).topic(TOPIC)
    waiting = lag(topic, positions(Lake(str(lake)), "bronze", "orders", topic)) if topic else 0
    counted = _count(database)
    table.add_row(*(f"{each:,}" for each in (number + 1, len(feed.orders), bronze, bad, waiting, counted)))
    return table


def _rows(lake: Path, stage: str) -> int:
    return sum(part.rows for part in Lake(str(lake)).live(stage, "orders"))


def _count(database: Postgres) -> int:
    import psycopg2

    connection = psycopg2.connect(database.url)
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from raw.api_events")
        return (cursor.fetchone() or (0,))[0]


def _prove(lake: Path, database: Postgres) -> None:
    """Every order is there once, in both."""
    import psycopg2

    with Lake(str(lake)).connect() as connection:
        bronze = connection.sql("select count(*), count(distinct external_id) from bronze.orders").fetchone()
    connection = psycopg2.connect(database.url)
    with connection.cursor() as cursor:
        cursor.execute("select count(*), count(distinct external_id) from raw.api_events")
        events = cursor.fetchone()
    connection.close()
    wanted = (ROUNDS * ORDERS, ROUNDS * ORDERS)
    if not bronze == events == wanted:
        sys.exit(f"asgard: {wanted[0]} orders were sent; Bronze has {bronze}, Postgres {events} (rows, keys)")
    console.print(f"each of {wanted[0]:,} orders is there once, in Bronze and in Postgres", style="green")


if __name__ == "__main__":
    try:
        run_assets() if sys.argv[1:] == ["run"] else main()
    except AsgardError as error:
        sys.exit(f"asgard: {error}")
