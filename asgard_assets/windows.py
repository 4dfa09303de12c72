"""Partitions in time. A window has a key (the partition `ds`), a start and an end; a calendar says which there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from asgard_assets.errors import ConfigError

_DAY = timedelta(days=1)
_KEY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Window:
    """One partition's time: from `start` (an instant, included) to `end` (excluded)."""

    key: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Calendar:
    """Daily windows in one time zone. A window is as long as its day there: 23 and 25 hours at clock changes."""

    zone: tzinfo = UTC

    @classmethod
    def named(cls, time_zone: str) -> Calendar:
        return cls(ZoneInfo(time_zone))

    def window(self, key: str) -> Window:
        """The window of a key. Raises ConfigError where the key is not a date."""
        day = parse_day(key)
        return Window(key, self._midnight(day), self._midnight(day + _DAY))

    def key_at(self, moment: datetime) -> str:
        """The key of the window that holds the instant `moment`."""
        return moment.astimezone(self.zone).date().isoformat()

    def _midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone)


def parse_day(key: str) -> date:
    """The date that a key names. Raises ConfigError where it is not written YYYY-MM-DD, or is no date."""
    try:
        if _KEY.fullmatch(key):
            return date.fromisoformat(key)
    except ValueError:
        pass
    raise ConfigError(f"invalid date {key!r}; use YYYY-MM-DD, such as 2026-10-05")


def parse_days(text: str) -> list[str]:
    """Keys from what a person types: `2026-10-05`, or a range `2026-10-05...2026-10-11` with both ends.

    Raises ConfigError for anything else, and for a range that ends before it begins.
    """
    first, dots, last = text.partition("...")
    try:
        days = days_between(first, last if dots else first)
    except ConfigError as error:
        raise ConfigError(f"{error}; a range is written 2026-10-05...2026-10-11") from error
    if not days:
        raise ConfigError(f"the range {text} ends before it begins")
    return days


def days_between(first: str, last: str) -> list[str]:
    """All keys from `first` to `last`, both included; none where `last` is earlier."""
    start = parse_day(first)
    return [(start + n * _DAY).isoformat() for n in range((parse_day(last) - start).days + 1)]


def days_after(key: str, days: int) -> str:
    """The key so many days later; earlier where `days` is negative."""
    return (parse_day(key) + days * _DAY).isoformat()


def stretches(keys: Sequence[str]) -> list[list[str]]:
    """The keys in order, cut where a day is missing."""
    found: list[list[str]] = []
    for key in sorted(dict.fromkeys(keys)):
        if found and days_after(found[-1][-1], 1) == key:
            found[-1].append(key)
        else:
            found.append([key])
    return found
