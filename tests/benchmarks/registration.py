"""What catalogs cost: CPU seconds and S3 requests of one publish that follows, and of ticks of the sensor.

    python -m tests.benchmarks.registration            # needs Maven, Go and a JDK, as the tests of the servers do

A table of 30 days of 10,000 rows; one day is published again, three times. Requests are counted between all and the S3
server, those of Nessie too.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import pyarrow as pa

from asgard_assets.catalogs.branches import Nessie
from asgard_assets.catalogs.hive import HiveMetastore
from asgard_assets.catalogs.receipts import Catalog
from asgard_assets.catalogs.registration import opened, standings
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.patience import loop_seconds
from tests.servers.hive import metastore
from tests.servers.nessie import nessie
from tests.servers.s3 import s3
from tests.servers.s3_faults import faulty

DAYS = [f"2026-10-{day:02}" for day in range(1, 31)]
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("amount", pa.float64()), ("ds", pa.string())])
ROWS, TIMES, TABLES = 10_000, 3, 100
Figures = tuple[float, float, float]


def main() -> None:
    with _servers() as (lake, counted, requests, catalogs):
        _publish(lake, "orders", DAYS)
        for name, catalog in catalogs.items():
            _row(
                f"{name}: the first time, {len(DAYS)} days",
                [_measured(lambda c=catalog: c.follow(counted, "gold/orders"), requests)],
            )
        published, followed = list[Figures](), {name: list[Figures]() for name in catalogs}
        for _ in range(TIMES):
            published.append(_measured(lambda: _publish(lake, "orders", DAYS[:1]), requests))
            for name, catalog in catalogs.items():
                followed[name].append(_measured(lambda c=catalog: c.follow(counted, "gold/orders"), requests))
        _row("the publish of one day itself (requests not counted)", published)
        for name, figures in followed.items():
            _row(f"{name}: one day", figures)
        for number in range(TABLES - 1):
            _publish(lake, f"t{number:03}", ())
        hive = catalogs["Hive Metastore"]
        for stands in standings(counted, "hive", ("gold/*",)):
            hive.follow(counted, stands.table)
        current = {each.table: each.lake_version for each in standings(counted, "hive", ("gold/*",))}
        _row(
            f"a look at {TABLES} tables",
            [_measured(lambda: standings(counted, "hive", ("gold/*",)), requests)],
        )
        tick = _measured(lambda: standings(counted, "hive", ("gold/*",), current), requests)
        _row(f"a tick over {TABLES} tables that did not move", [tick])
    print(f"loop: {loop_seconds():.2f} s")


@contextmanager
def _servers() -> Iterator[tuple[Lake, Lake, Callable[[], int], dict[str, Catalog]]]:
    with tempfile.TemporaryDirectory() as scratch, s3(Path(scratch) / "s3", "lake") as server:
        os.environ.update(server.environment)
        with faulty(server.endpoint, seed=1) as (endpoint, counts):
            between = replace(server, endpoint=endpoint)
            with (
                nessie(Path(scratch) / "nessie", between, "s3://lake/iceberg") as iceberg,
                metastore(Path(scratch) / "hive") as names,
            ):
                counted = Lake("s3://lake/delta", endpoint, server.region)
                catalogs: dict[str, Catalog] = {
                    "Iceberg": opened(Settings(iceberg=iceberg), counted, "iceberg"),
                    "Iceberg, audited on a branch": opened(
                        Settings(iceberg=f"{iceberg}/aside", iceberg_audit="audit"), counted, "iceberg"
                    ),
                    "Hive Metastore": HiveMetastore(names),
                }
                Nessie({"uri": iceberg}).make("aside")
                yield (
                    Lake("s3://lake/delta", server.endpoint, server.region),
                    counted,
                    lambda: counts()["requests"],
                    catalogs,
                )


def _publish(lake: Lake, name: str, days: list[str] | tuple[str, ...]) -> None:
    schema = SCHEMA if days else SCHEMA.remove(3)
    staging = lake.stage("gold", name, schema, list(days))
    count = ROWS * len(days) if days else 1
    rows = {
        "id": range(count),
        "name": [f"n{n}" for n in range(count)],
        "amount": [n / 3 for n in range(count)],
    }
    more = {"ds": [day for day in days for _ in range(ROWS)]} if days else {}
    lake.write(staging, pa.table(rows | more, schema))
    lake.publish(staging)


def _measured(what: Callable[[], object], requests: Callable[[], int]) -> Figures:
    before, cpu, clock = requests(), time.process_time(), time.perf_counter()
    what()
    return requests() - before, time.process_time() - cpu, time.perf_counter() - clock


def _row(what: str, figures: list[Figures]) -> None:
    requests, cpu, seconds = (median(each) for each in zip(*figures, strict=True))
    print(f"| {what} | {requests:.0f} | {cpu:.2f} s | {seconds:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
