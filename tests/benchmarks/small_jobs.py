"""What small API jobs cost, side by side with dlt's rest_api source on the same local server.

    python -m tests.benchmarks.small_jobs                           # 100 rows and 20,000 items, each in a fresh process
    python -m tests.benchmarks.small_jobs asset                     # 100 rows as an asset, against an empty asset
    python -m tests.benchmarks.small_jobs million --runs 1          # 1,000,000 items in 10,000 pages

dlt is installed by `dlt.lock` into an environment of its own, once; it writes Delta too, with the cheapest options that it
has for it. Both sides run in turns, so that both see the same machine. CPU seconds are those of the whole process
with its children, from its start to its end; wall times say something on an idle machine alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.benchmarks.orders_api import orders_api
from tests.checkout import ROOT
from tests.patience import loop_seconds
from tests.servers.foreign import python_server

DAY = "2026-10-05"
ASSETS = "tests.benchmarks.small_job_assets"


@dataclass(frozen=True)
class Used:
    cpu: float
    wall: float
    megabytes: float


@dataclass(frozen=True)
class Job:
    """What both sides do, and the bars: Asgard's CPU seconds and wall time, at most so many times dlt's."""

    kind: str
    total: int
    cpu: float
    wall: float | None


JOBS = {
    "rows": Job("rows", 100, cpu=1.0, wall=None),
    "pages": Job("pages", 20_000, cpu=0.7, wall=0.7),
    "million": Job("pages", 1_000_000, cpu=0.5, wall=0.5),
}


def source(job: Job) -> dict[str, object]:
    """Asgard's side, as a user would write it."""
    form: dict[str, object] = {"type": "row", "rows": {"key": {"id": "bigint"}}}
    endpoint: dict[str, object] = {"base_url": "${ORDERS_API}", "path": "/orders/{row.id}"}
    if job.kind == "pages":
        form = {
            "type": "pull",
            "items": "data",
            "pagination": {"type": "page", "size": 100, "pages": "pages"},
        }
        endpoint = {"base_url": "${ORDERS_API}", "path": "/orders", "query": {"total": str(job.total)}}
    return {
        "name": "orders",
        "form": form,
        "endpoint": endpoint,
        "sink": {"table": "bronze/orders"},
        "quality": {"description": "Orders."},
    }


def run(command: Sequence[str], environment: dict[str, str]) -> Used:
    """One process from its start to its end."""
    with tempfile.TemporaryFile("w+") as out:
        began = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            out.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{out.read()[-3000:]}")
    return Used(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024)


def in_a_home(url: str, command: Callable[[Path], Sequence[str]]) -> Used:
    """The command with an empty home of its own, which is deleted afterwards."""
    home = Path(tempfile.mkdtemp(prefix="asgard-bench-"))
    # Compiled code is kept, as it is where the package is installed.
    own = {"ASGARD_HOME": str(home), "DAGSTER_HOME": str(home), "PYTHONDONTWRITEBYTECODE": ""}
    try:
        return run(command(home), os.environ | own | {"ORDERS_API": url, "DAGSTER_DISABLE_TELEMETRY": "yes"})
    finally:
        shutil.rmtree(home)


def asgard(job: Job) -> Callable[[Path], Sequence[str]]:
    def command(home: Path) -> Sequence[str]:
        (home / "orders.yaml").write_text(yaml.safe_dump(source(job)))
        given = ["run", str(home / "orders.yaml"), "--partitions", DAY]
        if job.kind == "rows":
            (home / "rows.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(job.total)))
            given += ["--rows", str(home / "rows.csv")]
        return [str(Path(sys.executable).parent / "asgard"), *given]

    return command


def dlt(job: Job, url: str, destination: str) -> Callable[[Path], Sequence[str]]:
    python, side = (
        python_server("dlt", Path(__file__).parent) / "python",
        Path(__file__).with_name("dlt_side.py"),
    )
    return lambda home: [str(python), str(side), job.kind, url, str(job.total), str(home), destination]


def asset(name: str) -> Callable[[Path], Sequence[str]]:
    given = ["asset", "materialize", "-m", ASSETS, "--select", name, "--partition", DAY]
    return lambda _: [str(Path(sys.executable).parent / "dagster"), *given]


def in_turns(
    url: str, runs: int, sides: dict[str, Callable[[Path], Sequence[str]]], warm: bool
) -> dict[str, list[Used]]:
    """Each side once to fill the caches of compiled code, then all in turns."""
    found: dict[str, list[Used]] = {name: [] for name in sides}
    for turn in range(-1 if warm else 0, runs):
        for name, command in sides.items():
            used = in_a_home(url, command)
            if turn >= 0:
                found[name].append(used)
                say(f"  {name}: {used.cpu:.2f} CPU s, {used.wall:.1f} s, {used.megabytes:.0f} MB")
    return found


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def bar(what: str, value: float, limit: float) -> None:
    say(f"{'held  ' if value <= limit else 'MISSED'}  {what}: {value:.2f} (bar: at most {limit})")


def against_dlt(name: str, url: str, runs: int, destination: str) -> None:
    job = JOBS[name]
    sides = {"asgard": asgard(job), "dlt": dlt(job, url, destination)}
    found = in_turns(url, runs, sides, warm=name != "million")
    pairs = list(zip(found["asgard"], found["dlt"], strict=True))
    bar(f"{name}: CPU, asgard : dlt", statistics.median(a.cpu / d.cpu for a, d in pairs), job.cpu)
    if job.wall:
        bar(f"{name}: wall, asgard : dlt", statistics.median(a.wall / d.wall for a, d in pairs), job.wall)
    else:
        at = 1.5 / loop_seconds()
        wall = statistics.median(a.wall for a, _ in pairs) * at
        bar(f"{name}: wall at a loop of 1.5 s", wall, 3)


def as_an_asset(url: str, runs: int) -> None:
    found = in_turns(url, runs, {"orders": asset("bronze/orders"), "empty": asset("empty")}, warm=True)
    over = statistics.median(a.cpu - e.cpu for a, e in zip(found["orders"], found["empty"], strict=True))
    bar("asset: CPU s over an empty asset's run", over, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("jobs", nargs="*", default=["rows", "pages"], help="rows, pages, million, asset")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--dlt", default="delta", choices=["delta", "parquet", "duckdb"], help="dlt's destination"
    )
    given = parser.parse_args()
    with orders_api() as url:
        for name in given.jobs:
            say(f"{name} (load {os.getloadavg()[0]:.0f}, loop {loop_seconds():.2f} s)")
            if name == "asset":
                as_an_asset(url, given.runs)
            elif name in JOBS:
                against_dlt(name, url, given.runs, given.dlt)
            else:
                parser.error(f"unknown job {name}; there are {', '.join(JOBS)} and asset")


if __name__ == "__main__":
    main()
