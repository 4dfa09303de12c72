"""The calendars of the settings as Dagster's partitions. The window that is open is a partition from its first moment."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, Every, zone_named

_HOUR_KEY = "%Y-%m-%dT%H"


def windows(every: Every = "day", time_zone: str = "") -> dg.TimeWindowPartitionsDefinition:
    """One partition an hour, day, week from Monday, or month; its key `ds` is the window's name in the zone (by default
    the project's).

    Raises ConfigError where production has no first day, or hours cannot be named in the zone.
    """
    settings = Settings()
    start, end = settings.first_day.isoformat(), settings.partition_end and settings.partition_end.isoformat()
    zone = time_zone or settings.time_zone
    if every == "hour":
        if zone in ("Australia/Lord_Howe", "Antarctica/Troll"):
            raise ConfigError(f"every: hour does not work in {zone}, whose clocks do not change by one hour")
        return dg.HourlyPartitionsDefinition(
            f"{start}T00", end and f"{end}T00", timezone=zone, fmt=_HOUR_KEY, end_offset=1
        )
    if every == "week":
        return dg.WeeklyPartitionsDefinition(start, end_date=end, timezone=zone, day_offset=1, end_offset=1)
    if every == "month":
        return dg.MonthlyPartitionsDefinition(start, end_date=end, timezone=zone, end_offset=1)
    return dg.DailyPartitionsDefinition(start, end_date=end, timezone=zone, end_offset=1)


_EVERY: dict[str, Every] = {
    "0 * * * *": "hour",
    "0 0 * * *": "day",
    "0 0 * * 1": "week",
    "0 0 1 * *": "month",
}


def calendar_of(definition: dg.PartitionsDefinition | None) -> Calendar | None:
    """The calendar that these partitions are, with its bounds; None of what is none, or no longer in one piece."""
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition) or definition.exclusions:
        return None
    every = _EVERY.get(definition.cron_schedule)
    if every is None:
        return None
    first, until = definition.start.date(), definition.end.date() if definition.end else None
    return Calendar(zone_named(definition.timezone), every, first, until)


def daily() -> dg.TimeWindowPartitionsDefinition:
    """One partition a day."""
    return windows("day")


def weekly() -> dg.WeeklyPartitionsDefinition:
    """Model cut-offs: a partition is a week from Monday, its cut-off the week's end.

    The first starts a week after the first day, so that every cut-off has two weeks behind it.
    """
    settings = Settings()
    start = settings.first_day + timedelta(days=7 + (-settings.first_day.weekday()) % 7)
    end = settings.partition_end.isoformat() if settings.partition_end else None
    return dg.WeeklyPartitionsDefinition(
        start.isoformat(), end_date=end, timezone=settings.time_zone, day_offset=1
    )
