"""What a step uses: time, CPU seconds and memory of this process and of those that it started."""

from __future__ import annotations

import os
import resource
import sys
import time
from dataclasses import dataclass

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Usage:
    """Counters of now. Their difference is what was used in between, by everything in this process.

    `memory_bytes` is no counter: the most that this process has had, and what its children have now.
    """

    seconds: float
    cpu_seconds: float
    memory_bytes: int = 0

    @classmethod
    def now(cls) -> Usage:
        """Children that are still there, as Spark's JVM, and those that have ended count alike."""
        import psutil

        ended = os.times()
        cpu = ended.user + ended.system + ended.children_user + ended.children_system
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
        for child in psutil.Process().children(recursive=True):
            try:
                used = child.cpu_times()
                memory += child.memory_info().rss
            except psutil.Error:  # it ended meanwhile
                continue
            cpu += used.user + used.system
        return cls(time.monotonic(), cpu, memory)

    def since(self, start: Usage) -> Usage:
        cpu = max(self.cpu_seconds - start.cpu_seconds, 0.0)
        return Usage(self.seconds - start.seconds, cpu, self.memory_bytes)
