"""The moments that models know, in the calendar's zone: a snapshot is the end of a day, a cut-off the end of a week."""

from __future__ import annotations

from datetime import datetime, timedelta

from asgard_assets.settings import Settings
from asgard_assets.windows import days_after


def midnight(day: str) -> datetime:
    """When the day begins."""
    return Settings().calendar().window(day).start


def day_end(day: str) -> datetime:
    return Settings().calendar().window(day).end


def day_ending(moment: datetime) -> str:
    """The day whose end is `moment`."""
    return Settings().calendar().key_at(moment - timedelta(microseconds=1))


def day_ends(first: datetime, last: datetime) -> list[datetime]:
    """Every end of a day from `first`, which is one, to `last`."""
    calendar, found = Settings().calendar(), list[datetime]()
    while first <= last:
        found.append(first)
        first = calendar.window_at(first).end
    return found


def days_later(moment: datetime, days: int) -> datetime:
    """The end of the day so many days after the one that `moment` ends: 24 hours each, but where clocks change."""
    return day_end(days_after(day_ending(moment), days))


def days_earlier(moment: datetime, days: int) -> datetime:
    """The same time of day, so many days before."""
    return Settings().calendar().days_before(moment, days)


def cut_off(partition: str) -> datetime:
    """End of the week that begins on the Monday `partition`."""
    return Settings().calendar("week").window(partition).end
