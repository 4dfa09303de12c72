"""What a step uses: time, and CPU seconds of this process and of those that it started."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """Counters of now. Their difference is what was used in between, by everything in this process."""

    seconds: float
    cpu_seconds: float

    @classmethod
    def now(cls) -> Usage:
        """Children that are still there, as Spark's JVM, and those that have ended count alike."""
        import psutil

        ended = os.times()
        cpu = ended.user + ended.system + ended.children_user + ended.children_system
        for child in psutil.Process().children(recursive=True):
            try:
                used = child.cpu_times()
            except psutil.Error:  # it ended meanwhile
                continue
            cpu += used.user + used.system
        return cls(time.monotonic(), cpu)

    def since(self, start: Usage) -> Usage:
        return Usage(self.seconds - start.seconds, max(self.cpu_seconds - start.cpu_seconds, 0.0))
