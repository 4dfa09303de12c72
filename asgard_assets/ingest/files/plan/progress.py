"""How far a load is, while it goes on: a small file that its driver writes again at most once a second."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from asgard_assets.lake import Lake

log = logging.getLogger(__name__)
FOLDER = "_progress"
_SECONDS = 1.0


@dataclass(frozen=True)
class Reading:
    """Of which run, how many files and bytes were read of all, and the rows that they gave. Times in seconds since 1970."""

    run_id: str
    started: float
    updated: float
    files: int
    files_total: int
    bytes: int
    bytes_total: int
    rows: int


@dataclass
class Meter:
    """Counts what was read. A file that cannot be written stops no load."""

    lake: Lake
    source: str
    run_id: str
    clock: Callable[[], float] = time.time
    _now: Reading | None = None
    _written: float = 0.0

    def begin(self, files: int, size: int) -> None:
        """So much is to be read."""
        now = self.clock()
        self._write(Reading(self.run_id, now, now, 0, files, 0, size, 0))

    def read(self, size: int, rows: int) -> None:
        """One file, or a part of one, was read."""
        if (known := self._now) is None:
            return
        files = min(known.files + 1, known.files_total)
        bytes_read = min(known.bytes + size, known.bytes_total)
        found = Reading(
            known.run_id, known.started, self.clock(), files, known.files_total, bytes_read, known.bytes_total,
            known.rows + rows,
        )  # fmt: skip
        if found.updated - self._written >= _SECONDS or files == known.files_total:
            self._write(found)
        self._now = found

    def _write(self, found: Reading) -> None:
        self._now, self._written = found, found.updated
        try:
            self.lake.put(f"{FOLDER}/{self.source}/{found.run_id}.json", json.dumps(asdict(found)).encode())
        except OSError as error:
            log.info("%s: its progress is not told: %s", self.source, error)


def reading_of(lake: Lake, source: str, run_id: str) -> Reading | None:
    """What a run has told last; None where it has told nothing yet."""
    try:
        return Reading(**json.loads(lake.get(f"{FOLDER}/{source}/{run_id}.json")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


@contextmanager
def metered(lake: Lake, source: str, run_id: str) -> Iterator[Meter]:
    """A meter for one run's reading. What it told is gone afterwards, however that ended."""
    try:
        yield Meter(lake, source, run_id)
    finally:
        try:
            lake.delete(f"{FOLDER}/{source}/{run_id}.json")
        except OSError as error:
            log.info("%s: its progress is left behind: %s", source, error)
