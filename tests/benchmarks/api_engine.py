"""How much the API engine costs, side by side with what one would write instead.

    python -m tests.benchmarks.api_engine                          # cost and throughput, median of 5
    python -m tests.benchmarks.api_engine --runs 1 --only plain,aiohttp,native
    python -m tests.benchmarks.api_engine latency memory           # two other measures
    python -m tests.benchmarks.api_engine process                  # the engine alone: one process, no Spark

Every run is a fresh process with a session of its own. CPU seconds are those of its whole process tree (the
mock API is not in it), from after the session has run its first Spark job to the last commit. Bodies have 495
bytes; ours sends a bearer token, retries, keeps the ledger and redacts. `marginal` is the slope between the
two numbers of rows, so that no start-up is in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.cpu import TreeCpu
from tests.fakes.mock_server import mock_server

TOKEN = "canary-token-x"
DAY = "2026-10-05"
SMALL, LARGE = 20_000, 100_000
IN_FLIGHT = 128


class Peak:
    """The largest resident memory of any Python process below this one, in MB."""

    def __enter__(self) -> Peak:
        self.megabytes, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.25):
            for process in psutil.Process().children(recursive=True):
                try:
                    if process.name() != "java":
                        self.megabytes = max(self.megabytes, process.memory_info().rss / 2**20)
                except psutil.NoSuchProcess:
                    continue


# What is compared ------------------------------------------------------------------------------------------


def plain(url: str, rows: int, folder: str) -> None:
    """aiohttp and deltalake in one process, no Spark: the least that one could write."""
    import aiohttp
    import pyarrow as pa
    import uvloop
    from deltalake import write_deltalake

    async def main() -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        numbers, done = iter(range(rows)), []

        def write(part: list[tuple[Any, ...]]) -> None:
            names = ["id", "status", "headers", "body", "seconds"]
            columns = [pa.array(column) for column in zip(*part, strict=True)]
            write_deltalake(f"{folder}/table", pa.table(columns, names=names), mode="append")

        async def work(session: aiohttp.ClientSession) -> None:
            nonlocal done
            for number in numbers:
                began = time.perf_counter()
                async with session.get(f"{url}/items/{number}") as answer:
                    body = await answer.text()
                told = json.dumps({k.decode(): v.decode() for k, v in answer.raw_headers})
                done.append((number, answer.status, told, body, time.perf_counter() - began))
                if len(done) >= 10_000:
                    part, done = done, []
                    await asyncio.to_thread(write, part)

        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            await asyncio.gather(*(work(session) for _ in range(IN_FLIGHT)))
        if done:
            write(done)

    uvloop.run(main())


def threads(url: str, rows: int, folder: str, spark: Any) -> None:
    """requests and threads in Spark's mapPartitions, into Delta; as many in flight as the others have."""

    def fetch(numbers: Iterator[Any]) -> Iterator[tuple[Any, ...]]:
        from concurrent.futures import ThreadPoolExecutor

        import requests

        session = requests.Session()
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=IN_FLIGHT // 2))
        session.headers["Authorization"] = f"Bearer {TOKEN}"

        def one(row: Any) -> tuple[Any, ...]:
            began = time.perf_counter()
            answer = session.get(f"{url}/items/{row.id}", timeout=30)
            told = json.dumps(dict(answer.headers))
            return row.id, answer.status_code, told, answer.text, time.perf_counter() - began

        with ThreadPoolExecutor(IN_FLIGHT // 2) as pool:
            yield from pool.map(one, numbers)

    frame = spark.range(0, rows, 1, 2).rdd.mapPartitions(fetch)
    frame = frame.toDF("id long, status long, headers string, body string, seconds double")
    frame.write.format("delta").save(f"{folder}/table")


def ours(url: str, rows: int, folder: str, spark: Any, transport: str) -> None:
    from asgard_assets.ingest.api.pipeline import run_pipeline
    from asgard_assets.lake import Lake
    from tests.ingest.api.driver import items

    config = items(
        url,
        rows,
        transport={"type": transport},
        limits={"max_in_flight": IN_FLIGHT // 2},
        execution={"run_in": "spark" if spark else "process"},
    )
    summary = run_pipeline(spark, config, days=[DAY], lake=Lake(f"{folder}/lake"))
    assert summary.succeeded == rows, summary


TOOLS: dict[str, Callable[..., None]] = {
    "plain": plain,
    "threads": threads,
    "aiohttp": lambda *given: ours(*given, "aiohttp"),
    "native": lambda *given: ours(*given, "native"),
}
TITLES = {
    "plain": "plain aiohttp + deltalake, no Spark",
    "threads": "requests + threads in mapPartitions",
    "aiohttp": "Asgard, aiohttp",
    "native": "Asgard, native",
}


def once(tool: str, url: str, rows: int) -> None:
    """In a fresh process: open the session, then measure."""
    os.environ["TEST_TOKEN"] = TOKEN
    folder = tempfile.mkdtemp(prefix="asgard-bench-")
    os.environ["ASGARD_HOME"] = folder
    given: list[Any] = [url, rows, folder]
    if tool != "plain":
        from asgard_assets.spark.session import open_session

        spark = open_session()
        # Java's first Python worker and first Delta table are session start, not engine.
        frame = spark.range(0, 100, 1, 2).rdd.map(lambda row: (row[0], "x")).toDF("a long, b string")
        frame.write.format("delta").save(f"{folder}/warm")
        given.append(spark)
    try:
        with Peak() as peak, TreeCpu() as cpu:
            began = time.perf_counter()
            TOOLS[tool](*given)
            seconds = time.perf_counter() - began
        told = {"cpu": cpu.seconds, "seconds": seconds, "rows": rows, "megabytes": peak.megabytes}
        sys.stdout.write(f"\n{json.dumps(told)}\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(tool: str, url: str, rows: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.api_engine", "--once", tool, url, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{tool} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    say(
        f"  {tool} {rows}: {found['cpu'] / rows * 1000:.4f} CPU s/1k, {rows / found['seconds']:.0f} req/s, "
        f"{found['megabytes']:.0f} MB, load {psutil.getloadavg()[0]:.0f}"
    )
    return found


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def bar(what: str, value: float, limit: float, at_most: bool) -> None:
    held = value <= limit if at_most else value >= limit
    say(
        f"{'held  ' if held else 'MISSED'}  {what}: {value:.3f} (bar: {'at most' if at_most else 'at least'} {limit})"
    )


# The measures ----------------------------------------------------------------------------------------------


def cost(runs: int, tools: Sequence[str], small: int, large: int) -> None:
    """Marginal CPU and throughput at 0 ms; each turn runs every tool, so that all see the same machine."""
    slopes: dict[str, list[float]] = {tool: [] for tool in tools}
    rates: dict[str, list[float]] = {tool: [] for tool in tools}
    with mock_server(bearer=TOKEN) as server:
        for _ in range(runs):
            for tool in tools:
                # The slow one gets a fifth of the rows: its slope does not depend on them.
                shrink = 5 if tool == "threads" else 1
                first = measure(tool, server.url, small // shrink)
                second = measure(tool, server.url, large // shrink)
                rows = (large - small) / shrink / 1000
                slopes[tool].append((second["cpu"] - first["cpu"]) / rows)
                rates[tool].append(large / shrink / second["seconds"])
    slope = {tool: statistics.median(found) for tool, found in slopes.items()}
    rate = {tool: statistics.median(found) for tool, found in rates.items()}
    say(f"\nmedian of {runs}, {small} and {large} rows, 495-byte bodies, 0 ms, local[2]")
    for tool in tools:
        say(f"{TITLES[tool]:>40}  {slope[tool]:.4f} CPU s/1k marginal  {rate[tool]:.0f} req/s")
    if {"plain", "aiohttp"} <= slope.keys():
        bar("marginal CPU, aiohttp : plain", slope["aiohttp"] / slope["plain"], 1.0, True)
        bar("requests/s, aiohttp : plain", rate["aiohttp"] / rate["plain"], 0.85, False)
    if {"plain", "native"} <= slope.keys():
        bar("marginal CPU, native : plain", slope["native"] / slope["plain"], 0.55, True)
        bar("requests/s, native : plain", rate["native"] / rate["plain"], 1.3, False)
    if {"threads", "aiohttp"} <= slope.keys():
        bar("marginal CPU, threads : aiohttp", slope["threads"] / slope["aiohttp"], 6, False)
    if {"native", "aiohttp"} <= slope.keys():
        bar("marginal CPU, native : aiohttp", slope["native"] / slope["aiohttp"], 0.65, True)


def process(runs: int, tools: Sequence[str], small: int, large: int) -> None:
    """Marginal CPU of the engine in this process, without Spark: what a row costs, and nothing that runs beside it.

    The tools take turns; the first turn is not counted. A machine that others use slows some turns, so the smallest
    of each tool is told beside the median of the turns' ratios.
    """
    os.environ["TEST_TOKEN"] = TOKEN
    slopes: dict[str, list[float]] = {tool: [] for tool in tools if tool != "threads"}
    with tempfile.TemporaryDirectory() as folder, mock_server(bearer=TOKEN) as server:
        os.environ["ASGARD_HOME"] = folder
        for turn in range(runs + 1):
            for tool, found in slopes.items():
                used = []
                for rows in (small, large):
                    before, home = time.process_time(), tempfile.mkdtemp(dir=folder)
                    given = [server.url, rows, home] if tool == "plain" else [server.url, rows, home, None]
                    TOOLS[tool](*given)
                    used.append(time.process_time() - before)
                if turn:
                    found.append((used[1] - used[0]) / (large - small) * 1000)
    for tool, found in slopes.items():
        say(f"{TITLES[tool]:>40}  {min(found):.4f} CPU s/1k at least, median {statistics.median(found):.4f}")
    for tool, limit in (("aiohttp", 1.0), ("native", 0.55)):
        if {"plain", tool} <= slopes.keys():
            pairs = [one / other for one, other in zip(slopes[tool], slopes["plain"], strict=True)]
            bar(f"CPU in one process, {tool} : plain", statistics.median(pairs), limit, True)
            say(f"        the smallest of each: {min(slopes[tool]) / min(slopes['plain']):.3f}")


def latency(runs: int, tools: Sequence[str], rows: int) -> None:
    """50 ms and 128 in flight: at most 2,560 requests a second."""
    ceiling = IN_FLIGHT / 0.05
    with mock_server(bearer=TOKEN, latency_ms=50) as server:
        for tool, limit in (("aiohttp", 0.8), ("native", 0.9)):
            if tool in tools:
                found = [measure(tool, server.url, rows)["seconds"] for _ in range(runs)]
                share = rows / statistics.median(found) / ceiling
                bar(f"share of the ceiling at 50 ms, {tool}", share, limit, False)


def memory(runs: int, tools: Sequence[str], small: int, large: int) -> None:
    """The largest worker's peak memory must not grow with the rows."""
    with mock_server(bearer=TOKEN) as server:
        for tool in tools:
            if tool in ("aiohttp", "native"):
                peaks = [
                    [measure(tool, server.url, rows)["megabytes"] for _ in range(runs)]
                    for rows in (small, large)
                ]
                low, high = map(statistics.median, peaks)
                bar(f"peak memory {small} -> {large} rows, {tool}", high / low, 1.1, True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("measures", nargs="*", default=["cost"], help="cost, process, latency, memory")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default=",".join(TOOLS), help="tools, by comma")
    parser.add_argument("--rows", type=int, default=LARGE, help="the larger number; the smaller is a fifth")
    parser.add_argument("--once", nargs=3, metavar=("TOOL", "URL", "ROWS"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.once:
        once(given.once[0], given.once[1], int(given.once[2]))
        return 0
    tools = [tool for tool in TOOLS if tool in given.only.split(",")]
    for name in given.measures:
        if name == "cost":
            cost(given.runs, tools, given.rows // 5, given.rows)
        elif name == "process":
            process(given.runs, tools, given.rows // 50, given.rows // 5)
        elif name == "latency":
            latency(given.runs, tools, given.rows)
        elif name == "memory":
            memory(given.runs, tools, given.rows, given.rows * 10)
        else:
            parser.error(f"unknown measure {name}; there are cost, process, latency and memory")
    return 0


if __name__ == "__main__":
    Path(tempfile.gettempdir()).mkdir(exist_ok=True)
    sys.exit(main())
