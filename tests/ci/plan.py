"""Which part of the tests CI runs next. No clock, no files, no processes: what is known is passed in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tests.ci.parts import Part

TURNS = 3
# Minutes after the start: of the last part that begins, and how long a part may take before it is ended.
LAST_START = 74
PART_LIMIT = 16
SLOW_LOOP = 1.5


@dataclass(frozen=True)
class Clock:
    """Minutes since the start, and the time of this machine's loop in seconds."""

    minutes: float
    loop: float

    def needs(self, part: Part) -> float:
        return part.minutes * self.loop / SLOW_LOOP


def is_due(part: Part, rotation: int) -> bool:
    return part.turn == rotation % TURNS


def in_order(parts: Sequence[Part], rotation: int, changed: Collection[str]) -> list[Part]:
    """Touched, due, then those that are due next. The longest due one last: it may end after the last start."""
    longest = max((part.minutes, part.name) for part in parts if is_due(part, rotation))[1]

    def rank(part: Part) -> tuple[bool, bool, bool, int, float]:
        touched = any(path.startswith(part.sources) for path in changed)
        is_due_next = (part.turn - rotation) % TURNS
        return part.name == longest, not touched, not is_due(part, rotation), is_due_next, part.minutes

    return sorted(parts, key=rank)


def next_part(left: Sequence[Part], rotation: int, clock: Clock, cluster: bool) -> Part | None:
    """The first of `left` that leaves enough time to begin all that are due.

    None once it is too late, or where everything else waits for the cluster, which is not there yet.
    """
    ready = [part for part in left if cluster or not part.cluster]
    if clock.minutes >= LAST_START or not ready:
        return None
    reserved = sum(clock.needs(part) for part in left if is_due(part, rotation))
    for part in ready:
        if is_due(part, rotation) or clock.minutes + clock.needs(part) + reserved <= LAST_START:
            return part
    return None if reserved else ready[0]
