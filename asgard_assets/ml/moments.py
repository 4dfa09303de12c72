"""The moments that models know, in their own zone or the project's: a snapshot is the end of a day, a cut-off the end of a
week, or of another window."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, Every, days_after

Trained = Every | Literal["none"]
"""How often a model is trained: once a window, or whenever somebody asks."""


def _days(zone: str) -> Calendar:
    return Settings().calendar("day", zone)


def midnight(day: str, zone: str = "") -> datetime:
    """When the day begins."""
    return _days(zone).window(day).start


def day_end(day: str, zone: str = "") -> datetime:
    return _days(zone).window(day).end


def day_ending(moment: datetime, zone: str = "") -> str:
    """The day whose end is `moment`."""
    return _days(zone).key_at(moment - timedelta(microseconds=1))


def last_day(moment: datetime, zone: str = "") -> str:
    """The last day that has ended at `moment`."""
    calendar = _days(zone)
    return calendar.after(calendar.key_at(moment), -1)


def day_ends(first: datetime, last: datetime, zone: str = "") -> list[datetime]:
    """Every end of a day from `first` to `last`; the first one is at `first` or after it."""
    calendar, found = _days(zone), list[datetime]()
    at = calendar.window_at(first).start
    at = at if at == first else calendar.window_at(first).end
    while at <= last:
        found.append(at)
        at = calendar.window_at(at).end
    return found


def days_later(moment: datetime, days: int, zone: str = "") -> datetime:
    """The end of the day so many days after the one that `moment` ends: 24 hours each, but where clocks change."""
    return day_end(days_after(day_ending(moment, zone), days), zone)


def days_earlier(moment: datetime, days: int, zone: str = "") -> datetime:
    """The same time of day, so many days before."""
    return _days(zone).days_before(moment, days)


def cut_off(partition: str, every: Trained = "week", zone: str = "", now: datetime | None = None) -> datetime:
    """The end of the window of this name. Of a model without windows: that of the last day which has ended `now`."""
    if every == "none":
        assert now is not None
        calendar = _days(zone)
        end = calendar.window(calendar.until.isoformat()).start if calendar.until else now
        return calendar.window_at(min(now, end)).start
    return Settings().calendar(every, zone).window(partition).end


def cut_off_name(moment: datetime, every: Trained = "week") -> str:
    """The cut-off as the registry names it: a date, of hours with the time, in UTC. Names are in the order of time."""
    return f"{moment:%Y-%m-%dT%H:%M}" if every == "hour" else f"{moment:%Y-%m-%d}"
