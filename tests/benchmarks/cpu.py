"""CPU seconds of a process tree, those of processes that have ended included, whoever waited for them or nobody.

The kernel adds a process's time to its parent's only where the parent waits for it. `pyspark.daemon` ignores SIGCHLD, so
the time of Python workers that ended is in nobody's account. So each process is looked at while it lives. What it used
after the last look is lost: at most 0.05 s a process, and all of one that lived for less than 0.1 s.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Self

_LOOK_SECONDS, _SEARCH_SECONDS = 0.05, 0.1
_TICKS = os.sysconf("SC_CLK_TCK")


class TreeCpu:
    """Counts while it is entered: this process and its descendants, without what the counting costs."""

    def __init__(self) -> None:
        self.seconds = self._cost = 0.0
        self._used: dict[tuple[int, int], float] = {}  # by pid and start
        self._living: set[int] = set()
        self._end = threading.Event()

    def __enter__(self) -> Self:
        self.look()
        self._before = sum(self._used.values())
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.look()
        self.seconds = sum(self._used.values()) - self._before - self._cost

    def _watch(self) -> None:
        began, searched = time.thread_time(), 0.0
        while not self._end.wait(_LOOK_SECONDS):
            search = time.monotonic() - searched >= _SEARCH_SECONDS
            self.look(search)
            searched = time.monotonic() if search else searched
        self._cost = time.thread_time() - began

    def look(self, search: bool = True) -> None:
        """Read the times of the processes that are known; with `search`, find those that are new."""
        pids = {int(name) for name in os.listdir("/proc") if name.isdecimal()} if search else self._living
        stats = {pid: stat for pid in pids if (stat := _stat(pid))}
        if search:
            self._living = _descendants({pid: int(stat[1]) for pid, stat in stats.items()}, self._living)
        for pid in self._living & stats.keys():
            stat = stats[pid]
            self._used[pid, int(stat[19])] = (int(stat[11]) + int(stat[12])) / _TICKS
        self._living &= stats.keys()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/…/stat from the third on; none where the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _descendants(parents: dict[int, int], known: set[int]) -> set[int]:
    """This process, those below it, and those known before whose parent has ended."""
    found = {os.getpid(), *(known & parents.keys())}
    more = found
    while more:
        more = {pid for pid, parent in parents.items() if parent in more} - found
        found |= more
    return found
