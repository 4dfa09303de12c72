"""Partitions in time. A window has a key (the partition `ds`), a start and an end; a calendar says which there are."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from asgard_assets.errors import ConfigError

Every = Literal["hour", "day", "week", "month"]
FEEDS: Mapping[Every, frozenset[Every]] = {
    "hour": frozenset({"hour", "day", "week", "month"}),
    "day": frozenset({"day", "week", "month"}),
    "week": frozenset({"week"}),
    "month": frozenset({"month"}),
}
"""Of which windows whole ones of the other make up one."""

_DAY, _HOUR, _INSTANT = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)
_KEY = re.compile(r"\d{4}-\d\d-\d\d")
_HOUR_KEY = re.compile(r"(\d{4}-\d\d-\d\d)T([01]\d|2[0-3])([+-]\d{4})?")
_NEAR = 3
_BETWEEN = "|"
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_COLUMN = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Window:
    """One partition's time: from `start` (an instant in UTC, included) to `end` (excluded)."""

    key: str
    start: datetime
    end: datetime

    def is_open(self, now: datetime) -> bool:
        """Whether more can still happen in it: it has begun, or is to come, and has not ended."""
        return now < self.end


@dataclass(frozen=True)
class Calendar:
    """Windows without gaps in one time zone: hours, days, weeks from Monday, or months.

    A window is as long as its name says *there*: a day has 23 or 25 hours where clocks change. `first` is the day of
    the first window (one that `first` cuts in two is left out), `until` the first day without one; None: no bound.
    """

    zone: tzinfo = UTC
    every: Every = "day"
    first: date | None = None
    until: date | None = None

    @classmethod
    def named(cls, time_zone: str, every: Every = "day") -> Calendar:
        return cls(zone_named(time_zone), every)

    def window(self, key: str) -> Window:
        """The window of a key. Raises ConfigError where there is no window of that name."""
        if self.every == "hour":
            return self._hour_of(key)
        day = self._named(key)
        return Window(key, self._midnight(day), self._midnight(self._following(day)))

    def window_at(self, moment: datetime) -> Window:
        """The window that holds the instant `moment`."""
        if self.every == "hour":
            return self._hour_window(moment)
        day = self._floor(moment.astimezone(self.zone).date())
        return Window(day.isoformat(), self._midnight(day), self._midnight(self._following(day)))

    def key_at(self, moment: datetime) -> str:
        """The key of the window that holds the instant `moment`."""
        return self.window_at(moment).key

    def after(self, key: str, count: int = 1) -> str:
        """The key so many windows later; earlier where `count` is negative."""
        if self.every != "hour":
            return self._day_after(self._named(key), count).isoformat()
        window = self.window(key)
        for _ in range(count):
            window = self.window_at(window.end)
        for _ in range(-count):
            window = self.window_at(window.start - _INSTANT)
        return window.key

    def days_of(self, key: str) -> tuple[str, str]:
        """The first and the last day of a window, as text."""
        window = self.window(key)
        return key[:10], (window.end - _INSTANT).astimezone(self.zone).date().isoformat()

    def key_of(self, day: date) -> str | None:
        """The key of the window that a whole day lies in; None of hours, which a day does not name."""
        return None if self.every == "hour" else self._floor(day).isoformat()

    def overlapping(self, start: datetime, end: datetime) -> list[Window]:
        """Windows that share time with the span from `start` to `end` (excluded), in order, within the bounds."""
        found, at = [], start
        while at < end:
            window = self.window_at(at)
            if self.has(window):
                found.append(window)
            at = window.end
        return found

    def has_ended(self, now: datetime) -> bool:
        """Whether the calendar has an end, and it is past: then no window of it is open any more."""
        return self.until is not None and self._midnight(self.until) <= now

    def days_before(self, moment: datetime, days: int) -> datetime:
        """The same time of day in this zone, so many days before."""
        return (moment.astimezone(self.zone) - days * _DAY).astimezone(UTC)

    def has(self, window: Window) -> bool:
        """Whether the window lies within the calendar's bounds."""
        after_first = self.first is None or window.start >= self._midnight(self.first)
        return after_first and (self.until is None or window.end <= self._midnight(self.until))

    def keys(self, now: datetime) -> list[str]:
        """Every key up to the window that is open now, the last. Raises ConfigError where there is no first day."""
        if self.first is None:
            raise ConfigError("the calendar has no first day; set ASGARD_PARTITION_START")
        last = now + _INSTANT if self.until is None else min(now + _INSTANT, self._midnight(self.until))
        return [window.key for window in self.overlapping(self._midnight(self.first), last)]

    def between(self, first: str, last: str) -> list[str]:
        """All keys from `first` to `last`, both included; none where `last` is earlier."""
        return [w.key for w in self.overlapping(self.window(first).start, self.window(last).end)]

    def _named(self, key: str) -> date:
        """The first day of a window of days."""
        day = parse_day(key)
        if day != self._floor(day):
            named = "its Monday" if self.every == "week" else "its first day"
            raise ConfigError(
                f"{key!r} is no {self.every}: a {self.every} is named by {named}, {self._floor(day)}"
            )
        return day

    def _day_after(self, day: date, count: int) -> date:
        """The first day of the window so many windows later."""
        if self.every == "month":
            months = day.year * 12 + day.month - 1 + count
            return date(months // 12, months % 12 + 1, 1)
        if self.every == "week":
            return day + count * 7 * _DAY
        step = _DAY if count > 0 else -_DAY
        for _ in range(abs(count)):
            day += step
            while _is_skipped(self.zone, day):
                day += step
        return day

    def _midnight(self, day: date) -> datetime:
        # Where clocks skip midnight this is the moment they do; where they repeat it, the first.
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)

    def _floor(self, day: date) -> date:
        if self.every == "week":
            return day - day.weekday() * _DAY
        return day.replace(day=1) if self.every == "month" else day

    def _following(self, day: date) -> date:
        if self.every == "month":
            return (day + 31 * _DAY).replace(day=1)
        return day + (7 if self.every == "week" else 1) * _DAY

    def _hour_of(self, key: str) -> Window:
        if match := _HOUR_KEY.fullmatch(key):
            day, hour, offset = match.groups()
            local = datetime.fromisoformat(f"{day}T{hour}:00").replace(
                tzinfo=self.zone, fold=int(bool(offset))
            )
            window = self._hour_window(local.astimezone(UTC))  # an hour that clocks skip becomes another
            if window.key == key:
                return window
            raise ConfigError(f"{key!r}: clocks in {self.zone} do not show this hour on that day")
        raise ConfigError(f"invalid hour {key!r}; use YYYY-MM-DDTHH, such as 2026-10-05T13")

    def _hour_window(self, moment: datetime) -> Window:
        local = moment.astimezone(self.zone).replace(minute=0, second=0, microsecond=0)
        start = end = local.astimezone(UTC)
        while end.astimezone(self.zone).replace(minute=0, second=0, microsecond=0).astimezone(UTC) == start:
            end += _HOUR
        following = end.astimezone(self.zone).replace(minute=0, second=0, microsecond=0).astimezone(UTC)
        repeated = local.fold and local.replace(fold=0).utcoffset() != local.utcoffset()
        return Window(f"{local:%Y-%m-%dT%H}" + (f"{local:%z}" if repeated else ""), start, following)


@lru_cache(maxsize=1 << 16)
def _is_skipped(zone: tzinfo, day: date) -> bool:
    """Whether clocks pass a whole day over, as in Samoa in 2011."""
    begin, end = (datetime(d.year, d.month, d.day, tzinfo=zone).astimezone(UTC) for d in (day, day + _DAY))
    return begin == end


def zone_named(name: str) -> ZoneInfo:
    """The time zone of that name. Raises ConfigError, with the names nearest to it, where there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # KeyError: not found; the others: no name at all
        known = {zone.lower(): zone for zone in available_timezones()}
        near = [known[z] for z in difflib.get_close_matches(name.lower(), known, _NEAR, 0.6)]
        near += [z for low, z in known.items() if name and low.endswith(f"/{name.lower()}")]
        meant = f"did you mean {' or '.join(dict.fromkeys(near))}?" if near else "write it as Europe/Berlin"
        raise ConfigError(f"{name!r} is no time zone; {meant}") from error


def parse_day(key: str) -> date:
    """The date that a key names. Raises ConfigError where it is not written YYYY-MM-DD, or is no date."""
    try:
        if _KEY.fullmatch(key):
            return date.fromisoformat(key)
    except ValueError:
        pass
    raise ConfigError(f"invalid date {key!r}; use YYYY-MM-DD, such as 2026-10-05")


def checked_key(key: str) -> str:
    """The key, where it is one of any calendar: a date, or a date and an hour. Raises ConfigError for anything else."""
    hour = _HOUR_KEY.fullmatch(key)
    parse_day(hour[1] if hour else key)
    return key


def parse_days(text: str) -> list[str]:
    """Keys of days from what a person types, such as `2026-10-05...2026-10-11`; see `parse_keys`."""
    return parse_keys(text, Calendar())


def parse_keys(text: str, calendar: Calendar) -> list[str]:
    """Keys from what a person types: `2026-10-05`, or a range `2026-10-05...2026-10-11` with both ends.

    Of a calendar of hours a day means all of its hours. Raises ConfigError for anything else, and for a range that
    ends before it begins.
    """
    first, dots, last = text.partition("...")
    try:
        begin, end = (named(part, calendar) for part in (first, last if dots else first))
    except ConfigError as error:
        raise ConfigError(f"{error}; a range is written 2026-10-05...2026-10-11") from error
    keys = [window.key for window in calendar.overlapping(begin.start, end.end)]
    if not keys:
        raise ConfigError(f"the range {text} ends before it begins")
    return keys


def named(text: str, calendar: Calendar) -> Window:
    """What a person names: a window of the calendar, or, where that has hours, a whole day."""
    if calendar.every == "hour" and _KEY.fullmatch(text):
        return Calendar(calendar.zone).window(text)
    return calendar.window(text)


def keys_in(first: str, last: str, calendar: Calendar) -> list[str]:
    """The windows that the days `first` to `last` (or, in a calendar of hours, the hours) are made of.

    Raises ConfigError where one of the ends cuts a window in two, naming the days that would not.
    """
    ends = calendar if calendar.every == "hour" else Calendar(calendar.zone)
    begin, end = (named(text, ends) for text in (first, last))
    found = calendar.overlapping(begin.start, end.end)
    if not found:
        raise ConfigError(f"{first} to {last} ends before it begins")
    if found[0].start != begin.start or found[-1].end != end.end:
        whole = f"{found[0].key} to {calendar.days_of(found[-1].key)[1]}"
        raise ConfigError(f"{first} to {last} are no whole {calendar.every}s; {whole} would be")
    return [window.key for window in found]


def days_between(first: str, last: str) -> list[str]:
    """All keys from `first` to `last`, both included; none where `last` is earlier."""
    start = parse_day(first)
    return [(start + n * _DAY).isoformat() for n in range((parse_day(last) - start).days + 1)]


def days_after(key: str, days: int) -> str:
    """The key so many days later; earlier where `days` is negative."""
    return (parse_day(key) + days * _DAY).isoformat()


def stretches(keys: Sequence[str], calendar: Calendar | None = None) -> list[list[str]]:
    """The keys in order, cut where a window is missing."""
    calendar, found = calendar or Calendar(), list[list[str]]()
    for key in sorted(dict.fromkeys(keys)):
        if found and calendar.after(found[-1][-1]) == key:
            found[-1].append(key)
        else:
            found.append([key])
    return found


# Slices: the rows of one window and one value of a second column, such as a region. The key of one is `2026-10-05|eu`.
# A table has windows alone or slices alone. Both have one key, which is what is published, counted and asked for.


def window_of(key: str) -> str:
    """The window of a slice, or of a key that is one."""
    return key.partition(_BETWEEN)[0]


def value_of(key: str) -> str:
    """The value of a slice; '' of a window."""
    return key.partition(_BETWEEN)[2]


def slice_of(window: str, value: str) -> str:
    return f"{window}{_BETWEEN}{value}" if value else window


def key_in(values: Mapping[str, str | None]) -> str:
    """The key of a file, from its values of the partition columns; '' of a table that is a whole."""
    others = [value or "" for name, value in sorted(values.items()) if name != "ds"]
    return slice_of(values.get("ds") or "", "".join(others))


def checked_value(value: str) -> str:
    """The value, where folders and keys can have it as it is. Raises ConfigError elsewhere."""
    if _VALUE.fullmatch(value):
        return value
    raise ConfigError(f"{value!r} cannot name a partition; use letters, digits, _ . and -, such as eu-west")


def checked_values(
    partitions: Mapping[str, Sequence[str] | Literal["dynamic"]],
) -> tuple[str, Sequence[str] | Literal["dynamic"]]:
    """The one column beside time, and its values. Raises ConfigError for more columns, and for odd names and values."""
    if len(partitions) > 1:
        raise ConfigError(
            f"partitions: {', '.join(partitions)}: one column beside time is possible; join them into one"
        )
    [(column, values)] = partitions.items()
    if not _COLUMN.fullmatch(column) or column == "ds":
        raise ConfigError(f"partitions: {column!r} is no name for a second column; write it as region")
    if values == "dynamic":
        return column, values
    if not values or len(set(values)) != len(values):
        raise ConfigError(
            f"partitions: {column} needs a list of different values, such as [eu, us], or: dynamic"
        )
    for value in values:
        checked_value(value)
    return column, values


def by_value(keys: Sequence[str]) -> dict[str, list[str]]:
    """The windows of each value, in order."""
    found = dict[str, list[str]]()
    for key in keys:
        found.setdefault(value_of(key), []).append(window_of(key))
    return found
