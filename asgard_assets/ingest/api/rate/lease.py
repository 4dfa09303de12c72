"""What workers and the keeper of a rate budget say to each other: what was seen, and leased turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Observed:
    """What one worker saw since its last report.

    `age` is how long ago the newest refused request was sent, `hold` the longest Retry-After. The quota is that
    of the newest answer that had one, `quota_age` its age; `said` is the header that told when it is renewed.
    `missed` turns came when the worker was busy.
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
    said: str = ""


@dataclass(frozen=True)
class Lease:
    """`count` turns, the first in `start` seconds, `gap` seconds apart; `free` where nothing limits yet.

    `closed`: none, for so many seconds, because of what the API says (`why`).
    """

    free: bool = False
    start: float = 0.0
    gap: float = 0.0
    count: int = 0
    closed: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Wait:
    """A time in which the API serves nothing, as it says itself; `until` is seconds since 1970. If it is longer
    than requests may wait, it is not `waited` for.
    """

    why: str
    seconds: float
    until: float
    waited: bool = True

    def __str__(self) -> str:
        if self.waited:
            return f"waiting until {clock_time(self.until)}: {self.why}"
        return f"{self.why}, until {clock_time(self.until)}; that is not waited for, what is left is not sent"


def clock_time(moment: float) -> str:
    """Seconds since 1970 as people read them; with the day, where it is another one."""
    at, today = datetime.fromtimestamp(moment, UTC), datetime.now(UTC).date()
    return f"{at:%H:%M:%S} UTC" if at.date() == today else f"{at:%Y-%m-%d %H:%M:%S} UTC"


class Lessor(Protocol):
    """Leases up to `want` turns; waits where they lie far ahead, but not for an API that is closed. `want` 0
    only reports what was seen."""

    async def lease(self, want: int, seen: Observed | None) -> Lease: ...
