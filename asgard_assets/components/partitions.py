"""The two partition definitions of the project, from the settings."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from asgard_assets.settings import Settings


def daily(end_offset: int = 0) -> dg.DailyPartitionsDefinition:
    """One partition a day; the key `ds` is the window that was asked for. `end_offset` 1: the current day too."""
    settings = Settings()
    end = settings.partition_end.isoformat() if settings.partition_end else None
    return dg.DailyPartitionsDefinition(
        settings.first_day.isoformat(), end_date=end, timezone=settings.time_zone, end_offset=end_offset
    )


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
