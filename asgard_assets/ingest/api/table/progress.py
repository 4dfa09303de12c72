"""How far a job is, from the workers' own figures: each task writes a small file, the driver adds them up."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from asgard_assets.ingest.api.table.bronze import SUCCESS
from asgard_assets.ingest.api.table.figures import Figures
from asgard_assets.lake import Lake

FOLDER = "_progress"  # inside the staging folder; "_" hides it from whoever looks for results
_WINDOW_SECONDS = 10.0


@dataclass(frozen=True)
class Progress:
    """All tasks together. `planned` is None where only the walk itself tells how much there is."""

    planned: int | None
    rows: int = 0
    failed: int = 0
    requests: int = 0
    retries: int = 0
    throttles: int = 0
    bytes: int = 0
    in_flight: int = 0
    seconds: float = 0.0
    requests_per_second: float = 0.0
    eta_seconds: float | None = None
    waiting: str = ""  # what everybody waits for, and until when

    def line(self) -> str:
        of = "" if self.planned is None else f"/{self.planned:,}"
        eta = "" if self.eta_seconds is None else f" · ETA {_clock(self.eta_seconds)}"
        if self.waiting:
            eta = f" · {self.waiting}"
        return (
            f"{self.rows:,}{of} rows · {self.requests_per_second:,.0f} req/s · {self.in_flight} in flight · "
            f"{self.failed:,} errors · {self.retries:,} retries · {_clock(self.seconds)}{eta}"
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


class ProgressFile:
    """One task's figures, where the driver can read them."""

    def __init__(self, lake: Lake, staging_path: str, label: str):
        self._lake, self._folder = lake, f"{staging_path}/{FOLDER}"
        self._name = f"{label}.json"
        self.every_seconds = 5.0 if lake.remote else 0.5

    @staticmethod
    def told(figures: Figures, in_flight: int) -> dict[str, int]:
        """The figures as they are now; taken in the loop that changes them."""
        return {
            "rows": sum(sum(by.values()) for by in figures.outcomes.values()),
            "failed": sum(n for by in figures.outcomes.values() for name, n in by.items() if name != SUCCESS),
            "requests": figures.requests,
            "retries": figures.retries,
            "throttles": figures.throttles,
            "bytes": figures.bytes,
            "in_flight": in_flight,
        }

    def write(self, told: dict[str, int]) -> None:
        with self._lake.whole(f"{self._folder}/{self._name}") as file:
            file.write(json.dumps(told).encode())


class Watch:
    """Adds up what the tasks wrote; the rate is that of the last seconds."""

    def __init__(
        self,
        lake: Lake,
        staging_path: str,
        planned: int | None,
        clock: Callable[[], float] = time.monotonic,
        waiting: Callable[[], str] = str,
    ):
        self._waiting = waiting
        self._lake, self._folder = lake, f"{staging_path}/{FOLDER}"
        self._planned, self._clock, self._started = planned, clock, clock()
        self._seen: deque[tuple[float, int, int]] = deque([(self._started, 0, 0)])

    def look(self) -> Progress:
        from pyarrow import fs as pafs

        total: dict[str, int] = {}
        found = self._lake.filesystem.get_file_info(pafs.FileSelector(self._folder, allow_not_found=True))
        for info in found:
            if not info.base_name.startswith("."):
                with self._lake.filesystem.open_input_stream(info.path) as stream:
                    told = json.loads(stream.read())
                for name, value in told.items():
                    total[name] = total.get(name, 0) + value
        now = self._clock()
        rows, requests = total.get("rows", 0), total.get("requests", 0)
        self._seen.append((now, rows, requests))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW_SECONDS:
            self._seen.popleft()
        since, rows_then, requests_then = self._seen[0]
        lapse = max(now - since, 1e-9)
        speed = (rows - rows_then) / lapse
        eta = (self._planned - rows) / speed if self._planned is not None and speed > 0 else None
        return Progress(
            planned=self._planned,
            seconds=now - self._started,
            requests_per_second=(requests - requests_then) / lapse,
            eta_seconds=eta,
            waiting=self._waiting(),
            **total,
        )


@contextmanager
def watching(
    watch: Watch, tell: Callable[[Progress], None] | None, every_seconds: float = 1.0
) -> Iterator[None]:
    """Tell the progress every so often while the body runs, and once more at its end."""
    if tell is None:
        yield
        return
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(every_seconds):
            tell(watch.look())

    thread = threading.Thread(target=loop, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        tell(watch.look())
