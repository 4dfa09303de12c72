"""`--partitions`: one partition, a range, or everything from a day on, in the calendar of each asset."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, named, parse_keys, window_of

if TYPE_CHECKING:
    import dagster as dg

HELP = "A day (2026-10-05), a range (2026-10-05...2026-10-11), or all from a day on (2026-10-05...)."


_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Span:
    """The time that a person named: from `start` to `end`; without an end, everything from `start` on."""

    text: str
    start: datetime
    end: datetime | None

    @classmethod
    def parse(cls, text: str) -> Span | None:
        """None for an empty text. Raises ConfigError where it is neither a day nor a range."""
        if not text:
            return None
        first, dots, last = text.partition("...")
        # A name with a time of day is that of an hour.
        calendar = replace(Settings().calendar("hour" if "T" in text else "day"), first=None, until=None)
        try:
            if dots and not last:
                return cls(text, named(first, calendar).start, None)
            keys = parse_keys(text, calendar)
            return cls(text, calendar.window(keys[0]).start, calendar.window(keys[-1]).end)
        except OverflowError as error:
            raise ConfigError(f"{text[:100]} lies at the end of all calendars; name another day") from error

    def holds(self, key: str, calendar: Calendar | None = None) -> bool:
        """Whether the window (of a calendar of days, if none is given) begins within the span."""
        return self._within((calendar or Settings().calendar()).window(window_of(key)).start)

    def keys(
        self, definition: dg.PartitionsDefinition, instance: dg.DagsterInstance | None = None
    ) -> list[str]:
        """The partitions of a calendar that begin within the span, with all their slices; of others, the one of that name."""
        import dagster as dg

        from asgard_assets.components.partitions import keys_of, time_of

        known, time = keys_of(definition, instance), time_of(definition)
        if isinstance(time, dg.TimeWindowPartitionsDefinition):
            ordered = list(dict.fromkeys(map(window_of, known)))
            if time is not definition:  # of slices those of one value come after the other
                ordered = time.get_partition_keys()

            def start(window: str) -> datetime:
                return time.time_window_for_partition_key(window).start

            first = bisect_left(ordered, self.start, key=start)
            last = len(ordered) if self.end is None else bisect_left(ordered, self.end, key=start)
            inside = {*ordered[first:last]}
            return [key for key in known if window_of(key) in inside]
        return [key for key in known if key == self.text]

    def cut(self, definition: dg.PartitionsDefinition) -> str:
        """In words, the windows that the span lies in and does not begin: a week is asked for by its Monday. '' if none."""
        from asgard_assets.components.partitions import calendar_of, time_of

        calendar = calendar_of(time_of(definition))
        if calendar is None:
            return ""
        found = calendar.overlapping(self.start, self.end or self.start + _INSTANT)
        if not found or self._within(found[-1].start):
            return ""
        named = found[0].key if len(found) == 1 else f"{found[0].key}...{found[-1].key}"
        return f"no {calendar.every} begins in {self.text}; the {calendar.every} that it lies in is {named}"

    def refuse_outside(self, definitions: Iterable[dg.PartitionsDefinition]) -> None:
        """Raises ConfigError where no calendar has the span's first or last day."""
        import dagster as dg

        from asgard_assets.components.partitions import time_of

        calendars = [d for d in map(time_of, definitions) if isinstance(d, dg.TimeWindowPartitionsDefinition)]
        ends = [
            (d.get_first_partition_key(), d.get_last_partition_key(), d) for d in dict.fromkeys(calendars)
        ]
        known = [(first, last, d) for first, last, d in ends if first and last]
        if not known:
            return
        first = min(d.time_window_for_partition_key(key).start for key, _, d in known)
        last = max(d.time_window_for_partition_key(key).end for _, key, d in known)
        early = self.end is not None and self.start < first
        if early or self.start >= last or (self.end is not None and self.end > last):
            one = min(known, key=lambda each: each[0])
            raise ConfigError(
                f"{self.text} is outside the calendar, which goes from {one[0]} to {max(k[1] for k in known)} "
                "(ASGARD_PARTITION_START, ASGARD_PARTITION_END)"
            )

    def _within(self, moment: datetime) -> bool:
        return self.start <= moment and (self.end is None or moment < self.end)


def shown(keys: Sequence[str], most: int = 3) -> str:
    """Partitions in words: gapless stretches of days as ranges, at most so many of them."""
    from asgard_assets.windows import stretches

    if any(len(key) != 10 for key in keys):
        return f"{len(keys)} partitions"
    found = stretches(keys)
    told = [one[0] if len(one) == 1 else f"{one[0]}...{one[-1]}" for one in found[:most]]
    return ", ".join(told) + (f" and {len(found) - most} more" if len(found) > most else "")
