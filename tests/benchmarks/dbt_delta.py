"""The `delta` materialization against DuckDB's own `COPY` of the same query: CPU, wall, peak memory.

    python -m tests.benchmarks.dbt_delta [rows] [pairs]

Every measurement is a process of its own; the two kinds alternate, and the ratio is of paired runs.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

QUERY = """select i as id, i % 50000 as customer_id, (i * 7919 % 100000)::decimal(12,2) / 100 as amount,
    'plan-' || (i % 7) as plan, timestamptz '2026-10-05 00:00:00+00' + to_seconds(i % 86400) as at,
    (i * 0.37)::double as score from range({rows}) as t(i)"""


def measure(kind: str, rows: int) -> None:
    """Print wall seconds, CPU seconds and peak resident megabytes of one build."""
    import duckdb
    import pyarrow.parquet  # noqa: F401

    from asgard_assets.lake import Lake
    from asgard_assets.lake.duck import teach
    from dbt.adapters.delta.stage import Staged, stage

    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(f"{folder}/lake")
        cursor = duckdb.connect(config={"memory_limit": "1GB", "threads": 2})
        teach(cursor, [lake])
        cursor.execute("create schema gold")
        query = QUERY.format(rows=rows)
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        if kind == "copy":
            how = "format parquet, compression zstd, preserve_order false"
            cursor.execute(f"copy ({query}) to '{folder}/table.parquet' ({how})")
        else:
            cursor.execute(f"create temp view r as {query}")
            staged: dict[str, Staged] = {}
            asked = {"partition_by": None, "window": [None, None], "strategy": None, "unique_key": None}
            asked |= {"on_schema_change": None, "full_refresh": False}
            target = SimpleNamespace(schema="gold", identifier="m")
            stage(cursor, lake, staged, {"unique_id": "m"}, target, '"r"', asked)
            done = lake.publish(staged["m"].staging, replace_schema=True)
            assert sum(done.rows.values()) == rows
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{wall:.3f} {cpu:.3f} {after.ru_maxrss / 1024:.0f}")


def main(rows: int = 5_000_000, pairs: int = 5) -> None:
    found: dict[str, list[list[float]]] = {"copy": [], "delta": []}
    for turn in range(pairs):
        for kind in ("copy", "delta") if turn % 2 else ("delta", "copy"):
            command = [sys.executable, "-m", "tests.benchmarks.dbt_delta", kind, str(rows)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path.cwd())
            found[kind].append([float(x) for x in done.stdout.split()])
    for index, name in enumerate(("wall s", "CPU s", "peak MB")):
        copy, delta = ([run[index] for run in found[kind]] for kind in ("copy", "delta"))
        ratio = statistics.median(d / c for d, c in zip(delta, copy, strict=True))
        print(
            f"{name:8} copy {statistics.median(copy):8.2f}  delta {statistics.median(delta):8.2f}  "
            f"ratio of pairs {ratio:.2f} ({min(d / c for d, c in zip(delta, copy, strict=True)):.2f} to "
            f"{max(d / c for d, c in zip(delta, copy, strict=True)):.2f})"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ("copy", "delta"):
        measure(sys.argv[1], int(sys.argv[2]))
    else:
        main(*(int(a) for a in sys.argv[1:]))
