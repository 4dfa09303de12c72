"""Hours feed days: a run of a day reads exactly the hours of that day, in one zone, at clock changes too."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from asgard_assets.components.partitions import calendar_of, windows
from asgard_assets.errors import ConfigError
from asgard_assets.transforms.windows_read import WindowsRead
from asgard_assets.windows import Calendar, Every


@pytest.mark.parametrize(
    ("day", "count"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-12-31", 24), ("2028-02-29", 24)]
)
def test_a_day_reads_the_hours_that_it_has(day, count):
    read = WindowsRead("silver/x", Calendar.named("Europe/Berlin"), Calendar.named("Europe/Berlin", "hour"))
    later = datetime(2030, 1, 1, tzinfo=UTC)
    keys = read.keys([day], later)
    assert len(keys) == count and {read.name(key) for key in keys} == {day}
    assert read.needed([day], later) == keys


def test_an_open_day_reads_the_hours_that_have_begun_and_needs_those_that_have_ended():
    read = WindowsRead("silver/x", Calendar(), Calendar(every="hour"))
    now = datetime(2026, 11, 10, 2, 30, tzinfo=UTC)
    hours = [f"2026-11-10T0{hour}" for hour in range(3)]
    assert read.keys(["2026-11-10"], now) == hours and read.needed(["2026-11-10"], now) == hours[:2]


@pytest.mark.parametrize(
    ("table", "source"), [("hour", "day"), ("day", "week"), ("month", "week"), ("week", "month")]
)
def test_windows_that_do_not_make_up_others_are_refused(table, source):
    with pytest.raises(ConfigError, match="hours feed days, days feed weeks and months"):
        WindowsRead("silver/x", Calendar(every=table), Calendar(every=source))


@pytest.mark.parametrize("every", ["hour", "day", "week", "month"])
def test_partitions_are_known_by_their_calendar(every: Every):
    found = calendar_of(windows(every))
    assert found is not None and found.every == every
    assert calendar_of(dg.StaticPartitionsDefinition(["eu"])) is None
