"""Load on one gateway process: `python -m tests.benchmarks.gateway_load [SECONDS]` (default 300).

200 status reads and 20 writes that start no run, each second; then 200 readers of one log at once. Printed: the CPU of the
gateway in cores, its memory over time, how long requests took, and the time of a Python loop.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.end_to_end.homes import Home, free_port, listens
from tests.patience import ended, loop_seconds, wait_until

READS, WRITES, READERS = 200, 20, 200
RUN = "aaaaaaaa"


class Taken:
    """Seconds of requests, and answers that were no 2xx."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.refused: list[str] = []

    def __str__(self) -> str:
        ordered = sorted(self.seconds) or [0.0]
        p50, p99 = (1000 * ordered[int(len(ordered) * part)] for part in (0.5, 0.99))
        return f"{len(self.seconds)} answers, p50 {p50:.1f} ms, p99 {p99:.1f} ms, refused {len(self.refused)} {self.refused[:1]}"


async def steady(rate: int, seconds: float, send: Callable[[int], Awaitable[None]]) -> None:
    """Send `rate` requests a second, whether earlier ones were answered or not."""
    began, tasks = time.monotonic(), set[asyncio.Task[None]]()
    for number in range(int(rate * seconds)):
        wait = began + number / rate - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.ensure_future(send(number))  # type: ignore[arg-type]
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


async def load(address: str, key: str, seconds: float, process: psutil.Process) -> None:
    reads, writes, memory = Taken(), Taken(), list[int]()
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(
        address, headers=headers, connector=aiohttp.TCPConnector(limit=0)
    ) as session:

        async def timed(taken: Taken, method: str, path: str, body: Any = None) -> None:
            began = time.monotonic()
            async with session.request(method, path, json=body) as answer:
                told = await answer.read()
                if answer.status >= 300:
                    taken.refused.append(f"{answer.status} {told[:200]!r}")
            taken.seconds.append(time.monotonic() - began)

        async def write(number: int) -> None:
            body = {"source": {"path": "load"}, "description": f"change {number}"}
            await timed(writes, "PUT", f"/api/v1/ingestions/load_{number % 20}", body)

        async def watch() -> None:
            while True:
                memory.append(process.memory_info().rss >> 20)
                await asyncio.sleep(5)

        for number in range(20):
            await timed(
                writes, "POST", "/api/v1/ingestions", {"name": f"load_{number}", "source": {"path": "load"}}
            )
        await timed(reads, "GET", f"/transform/{RUN}/status")
        watching, before, began = asyncio.ensure_future(watch()), process.cpu_times(), time.monotonic()
        await asyncio.gather(
            steady(READS, seconds, lambda _: timed(reads, "GET", f"/transform/{RUN}/status")),
            steady(WRITES, seconds, write),
        )
        after, took = process.cpu_times(), time.monotonic() - began
        watching.cancel()
        used = after.user + after.system - before.user - before.system
        print(
            f"{took:.0f} s: {used / took:.2f} cores; memory MB {memory[:: max(1, len(memory) // 12)]}",
            flush=True,
        )
        print(f"status: {reads}\nwrites: {writes}", flush=True)
        await readers(session, process)


async def readers(session: aiohttp.ClientSession, process: psutil.Process) -> None:
    """All read one log as events, until its run has ended."""

    async def follow() -> float:
        began = time.monotonic()
        async with session.get(f"/transform/{RUN}/logs", headers={"Accept": "text/event-stream"}) as answer:
            text = await answer.text()
        assert "event: end" in text, text[-200:]
        return time.monotonic() - began

    seconds = await asyncio.gather(*(follow() for _ in range(READERS)))
    memory = process.memory_info().rss >> 20
    print(
        f"{READERS} readers of a log: median {statistics.median(seconds):.1f} s, last {max(seconds):.1f} s, memory {memory} MB"
    )


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        runs = home.path / "gateway" / "runs"
        (home.path / "landing" / "load").mkdir(parents=True)
        runs.mkdir(parents=True)
        home.run("asgard", "account", "add", "load", "--role", "admin")
        key = home.run("asgard", "account", "key", "load").stdout.split()[-1]
        _ended_run(home)
        port = free_port()
        server = home.start("asgard", "serve", "--port", str(port))
        try:
            wait_until(lambda: listens(port), 120, "the gateway answers")
            print(f"loop {loop_seconds():.2f} s, other load {psutil.getloadavg()[0]:.1f}")
            asyncio.run(load(f"http://127.0.0.1:{port}", key, seconds, psutil.Process(server.pid)))
        finally:
            ended(server, 30)


def _ended_run(home: Home) -> None:
    """A run that has ended, as the gateway keeps it."""
    from asgard_assets.operations.transforms.shared import submissions_of
    from asgard_assets.operations.transforms.submissions import Outcome, Submission
    from asgard_assets.settings import Settings

    known = submissions_of(Settings(home=home.path))
    known.add(Submission(RUN, "silver/x", 1, time.time()))
    known.finish(RUN, Outcome(True, time.time()))
    assert json.dumps(known.get(RUN), default=str)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 300)
