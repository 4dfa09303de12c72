"""The calendars of the settings as Dagster's partitions. The window that is open is a partition from its first moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal

import dagster as dg

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, Every, checked_values, value_of, window_of, zone_named

_HOUR_KEY = "%Y-%m-%dT%H"
TIME = "DS"
"""Dagster's name of the windows of slices. Their keys have dimensions in the order of names: capitals are first."""
MOST_KEYS = 25_000
PARTITION = "dagster/partition"


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


def partitions_of(
    every: Every = "day",
    time_zone: str = "",
    partitions: Mapping[str, Sequence[str] | Literal["dynamic"]] | None = None,
) -> dg.PartitionsDefinition:
    """The windows, crossed with the values of a second column where `partitions` names one: `{"region": ["eu", "us"]}`, or
    `{"tenant": "dynamic"}` for values that are added while the platform runs.

    Raises ConfigError for more than one such column, and for more than MOST_KEYS partitions: Dagster fails at 90,000.
    """
    time = windows(every, time_zone)
    if not partitions:
        return time
    column, values = checked_values(partitions)
    if values == "dynamic":
        return dg.MultiPartitionsDefinition({TIME: time, column: dg.DynamicPartitionsDefinition(name=column)})
    if (count := len(values) * time.get_num_partitions()) > MOST_KEYS:
        raise ConfigError(
            f"partitions: {len(values)} values of {column} make {count:,} partitions with a partition every {every}, and more "
            f"than {MOST_KEYS:,} are too many for Dagster: take longer windows (every: month), a later ASGARD_PARTITION_START, "
            f"or {column} as a plain column"
        )
    return dg.MultiPartitionsDefinition({TIME: time, column: dg.StaticPartitionsDefinition(list(values))})


def second_of(definition: dg.PartitionsDefinition | None) -> tuple[str, tuple[str, ...]] | None:
    """The second column of slices, and its values as far as they are declared."""
    if not isinstance(definition, dg.MultiPartitionsDefinition):
        return None
    others = [each for each in definition.partitions_defs if each.name != TIME]
    if len(others) != 1:
        return None
    known = others[0].partitions_def
    static = isinstance(known, dg.StaticPartitionsDefinition)
    return others[0].name, tuple(known.get_partition_keys()) if static else ()


def tags_of(definition: dg.PartitionsDefinition | None, key: str) -> dict[str, str]:
    """The tags of a slice's run, as Dagster would find them out, which asks for the values that were added; none of a window."""
    second = second_of(definition)
    if second is None:
        return {}
    return {
        PARTITION: key,
        f"{PARTITION}/{TIME}": window_of(key),
        f"{PARTITION}/{second[0]}": value_of(key),
    }


def keys_of(definition: dg.PartitionsDefinition, instance: dg.DagsterInstance | None = None) -> list[str]:
    """All keys as they are now; values that were added while the platform runs, the instance knows."""
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        return [str(key) for key in definition.get_partition_keys()]


def time_of(definition: dg.PartitionsDefinition | None) -> dg.PartitionsDefinition | None:
    """The windows of slices; of others, what they are."""
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return next((each.partitions_def for each in definition.partitions_defs if each.name == TIME), None)
    return definition


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


def weekly() -> dg.TimeWindowPartitionsDefinition:
    """Cut-offs of models that are trained once a week."""
    return cut_offs("week")


def cut_offs(every: Every, time_zone: str = "") -> dg.TimeWindowPartitionsDefinition:
    """Model cut-offs: the ends of windows that have ended, from two weeks after the first day on."""
    settings = Settings()
    first, zone = settings.first_day, time_zone or settings.time_zone
    end = settings.partition_end.isoformat() if settings.partition_end else None
    if every == "week":
        start = first + timedelta(days=7 + (-first.weekday()) % 7)
        return dg.WeeklyPartitionsDefinition(start.isoformat(), end_date=end, timezone=zone, day_offset=1)
    if every == "month":
        return dg.MonthlyPartitionsDefinition(first.isoformat(), end_date=end, timezone=zone)
    if every == "day":
        start = first + timedelta(days=13)
        return dg.DailyPartitionsDefinition(start.isoformat(), end_date=end, timezone=zone)
    return dg.HourlyPartitionsDefinition(
        f"{(first + timedelta(days=14)).isoformat()}T00", end and f"{end}T00", timezone=zone, fmt=_HOUR_KEY
    )
