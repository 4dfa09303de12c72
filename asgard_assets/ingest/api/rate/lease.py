"""What workers and the keeper of a rate budget say to each other: what was seen, and leased turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Observed:
    """What one worker saw since its last report.

    `age` is how long ago the newest refused request was sent, `hold` the longest Retry-After. The quota is that
    of the newest answer that had one, `quota_age` its age. `missed` turns came when the worker was busy.
    """

    answered: int = 0
    throttled: int = 0
    age: float = 0.0
    hold: float = 0.0
    remaining: float | None = None
    reset: float | None = None
    limit: float | None = None
    window: float | None = None
    quota_age: float = 0.0
    in_flight: int = 0
    missed: int = 0


@dataclass(frozen=True)
class Lease:
    """`count` turns, the first in `start` seconds, `gap` seconds apart; `free` where nothing limits yet."""

    free: bool = False
    start: float = 0.0
    gap: float = 0.0
    count: int = 0


class Lessor(Protocol):
    """Leases up to `want` turns; waits where they lie far ahead. `want` 0 only reports what was seen."""

    async def lease(self, want: int, seen: Observed | None) -> Lease: ...
