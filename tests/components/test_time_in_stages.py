"""Month ends, leap days, clock changes, week 53, the change of the year and of a zone's rules, through every stage in four
zones, against a calculation that knows nothing but `zoneinfo`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from asgard_assets.components.partitions import windows
from asgard_assets.ingest.api.plan.calendar import calendar_of, pulled_windows
from asgard_assets.ingest.api.plan.rendering import partition_values
from asgard_assets.ingest.files.landing.area import File
from asgard_assets.ingest.files.readers.records import Records
from asgard_assets.ingest.files.shape.conform import Conformer, ObservedTypes, Shape
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.ml.moments import cut_off, day_end, day_ending, day_ends, midnight
from asgard_assets.settings import Settings
from asgard_assets.transforms.windows_read import WindowsRead
from asgard_assets.windows import Every
from tests.ingest.api.sources import TICKETS, source

DAY, HOUR, INSTANT = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)
SPANS = {
    "the end of February in a leap year": (date(2028, 2, 27), date(2028, 3, 3)),
    "summer time begins in America": (date(2026, 3, 7), date(2026, 3, 10)),
    "summer time begins in Europe": (date(2026, 3, 28), date(2026, 4, 1)),
    "summer time ends in Europe": (date(2026, 10, 24), date(2026, 10, 27)),
    "summer time ends in America": (date(2026, 10, 31), date(2026, 11, 3)),
    "week 53 and the year's change": (date(2026, 12, 30), date(2027, 1, 5)),
    "America's rules of 2007": (date(2007, 3, 10), date(2007, 3, 13)),
    "Tokyo's only summer times, by 1951": (date(1951, 5, 5), date(1951, 5, 8)),
    "Berlin's own time, of before 1893": (date(1893, 3, 30), date(1893, 4, 2)),
    "Kolkata in the war": (date(1945, 10, 13), date(1945, 10, 17)),
}
ZONES = ("Asia/Tokyo", "America/Los_Angeles", "Europe/Berlin", "Asia/Kolkata")
pytestmark = [pytest.mark.parametrize("zone", ZONES), pytest.mark.parametrize("span", list(SPANS))]


# The independent calculation


def instant(day: date, zone: str) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def local(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone))


def name_of(moment: datetime, zone: str, every: Every) -> str:
    there = local(moment, zone)
    day = there.date()
    if every == "hour":
        first = there.replace(minute=0, second=0, microsecond=0, fold=0)
        again = there.fold and first.utcoffset() != there.utcoffset()
        return f"{there:%Y-%m-%dT%H}" + (f"{there:%z}" if again else "")
    if every == "week":
        return (day - timedelta(day.weekday())).isoformat()
    return (day.replace(day=1) if every == "month" else day).isoformat()


def moments(span: str, zone: str) -> list[datetime]:
    """Each quarter of an hour, with the moment before it."""
    start, end = (instant(day, zone) for day in SPANS[span])
    quarters = [start + n * HOUR / 4 for n in range((end - start) // (HOUR / 4))]
    return sorted({each for quarter in quarters for each in (quarter, max(start, quarter - INSTANT))})


def days(span: str) -> list[str]:
    first, end = SPANS[span]
    return [(first + n * DAY).isoformat() for n in range((end - first).days)]


# The stages


@pytest.fixture(autouse=True)
def calendar(monkeypatch: pytest.MonkeyPatch, zone: str, span: str) -> None:
    first, end = SPANS[span]
    said = {
        "PARTITION_START": first.replace(day=1) - 40 * DAY,
        "PARTITION_END": end + 40 * DAY,
        "TIME_ZONE": zone,
    }
    for name, value in said.items():
        monkeypatch.setenv(f"ASGARD_{name}", str(value))


@pytest.mark.parametrize("every", ["hour", "day", "week", "month"])
def test_windows_of_the_platform_and_of_dagster_hold_the_moments_that_they_are_named_for(
    zone: str, span: str, every: Every
):
    if every == "hour" and "1893" in span:
        return  # clocks went by minutes then, which no hours of Dagster's do
    known, definition = Settings().calendar(every), windows(every)
    asked = dict.fromkeys(name_of(moment, zone, every) for moment in moments(span, zone))
    shown = definition.get_partition_keys(current_time=datetime(2100, 1, 1, tzinfo=UTC))
    assert [key for key in shown if min(asked) <= key <= max(asked)] == list(asked)
    for key in asked:
        window, dagsters = known.window(key), definition.time_window_for_partition_key(key)
        assert (dagsters.start.timestamp(), dagsters.end.timestamp()) == (
            window.start.timestamp(),
            window.end.timestamp(),
        ), key
        assert name_of(window.start, zone, every) == name_of(window.end - INSTANT, zone, every) == key
        assert name_of(window.start - INSTANT, zone, every) != key != name_of(window.end, zone, every)
    for moment in moments(span, zone):
        assert known.key_at(moment) == name_of(moment, zone, every)


@pytest.mark.parametrize("every", ["hour", "day", "week"])
def test_an_api_is_asked_for_each_instant_once(zone: str, span: str, every: Every):
    asks = source(TICKETS | {"every": every})
    first, last = (instant(day, zone) for day in SPANS[span])
    tick, asked = first, list[tuple[str, str]]()
    while tick <= last:  # a schedule at two in the morning, or at five past
        later = local(tick, zone)
        due = (later + DAY).replace(hour=2) if every != "hour" else later + HOUR
        following = due.astimezone(UTC) if every != "hour" else tick + HOUR
        for window in pulled_windows(asks, Settings().calendar(every), tick, following):
            if window.end <= following:
                values = partition_values(window.key, calendar_of(asks))
                asked.append((values["start"], values["end"]))
        tick = following
    assert all(one[1] == two[0] for one, two in pairwise(asked)), "no gap, and nothing twice"
    for start, end in asked:
        begun = datetime.fromisoformat(start)
        assert name_of(begun, zone, every) == name_of(datetime.fromisoformat(end) - INSTANT, zone, every)
        assert name_of(begun - INSTANT, zone, every) != name_of(begun, zone, every)


@pytest.mark.parametrize("every", ["hour", "day", "month"])
def test_rows_and_files_go_to_the_window_in_which_they_happened(zone: str, span: str, every: Every):
    rows = moments(span, zone)
    told = {
        "name": "x",
        "path": "x",
        "description": "X.",
        "every": every,
        "columns": {"at": {"type": "timestamp"}},
    }
    by_column = FileSource.model_validate(told | {"ds": {"type": "column", "name": "at"}})
    for values in (pa.array(rows, pa.timestamp("us", "UTC")), pa.array([row.isoformat() for row in rows])):
        records = Records([("at", pa.chunked_array([values]))], np.arange(len(rows)))
        found = Conformer(by_column, Shape({}), rows[0]).conform(
            records, File("x/a.csv", 1, 0), ObservedTypes()
        )
        assert not found.bad
        assert found.table["ds"].to_pylist() == [name_of(row, zone, every) for row in rows]
    arrived = FileSource.model_validate(told | {"ds": {"type": "arrival"}})
    for row in rows:
        assert arrived.ds.day("x", row, arrived.calendar) == name_of(row, zone, every)


def test_silver_reads_the_hours_of_a_day_and_the_days_of_a_week_once(zone: str, span: str):
    later = datetime(2100, 1, 1, tzinfo=UTC)
    for source_every, every in (("hour", "day"), ("hour", "week"), ("day", "month"), ("day", "week")):
        read = WindowsRead("silver/x", Settings().calendar(every), Settings().calendar(source_every))
        for key in dict.fromkeys(name_of(moment, zone, every) for moment in moments(span, zone)):
            window = read.calendar.window(key)
            keys = read.keys([key], later)
            assert keys == list(dict.fromkeys(_names(window.start, window.end, zone, source_every)))
            assert {read.name(each) for each in keys} == {key}


def _names(start: datetime, end: datetime, zone: str, every: Every) -> Iterator[str]:
    while start < end:
        yield name_of(start, zone, every)
        start += HOUR / 4


def test_dbt_means_the_same_days(zone: str, span: str):
    """A date is a day in the zone, for `cast`, for midnight, and for the weeks and months of `window_of`."""
    rows = moments(span, zone)
    with duckdb.connect() as connection:
        connection.execute(f"set TimeZone = '{zone}'")
        connection.register("happened", pa.table({"moment": pa.array(rows, pa.timestamp("us", "UTC"))}))
        cast = "cast(cast(date_trunc('{}', cast(moment as date)) as date) as varchar)"
        found = connection.execute(
            f"select cast(moment as date)::varchar, {cast.format('week')}, {cast.format('month')} from happened"
        )
        expected = [tuple(name_of(row, zone, every) for every in ("day", "week", "month")) for row in rows]
        assert found.fetchall() == expected
        for day in days(span):
            [[begun]] = connection.execute(f"select epoch_us(cast(date '{day}' as timestamptz))").fetchall()
            assert begun == round(instant(date.fromisoformat(day), zone).timestamp() * 1e6)
    for key, first, last in (
        (key, *Settings().calendar("week").days_of(key)) for key in {row[1] for row in expected}
    ):
        assert (first, last) == (key, (date.fromisoformat(key) + 6 * DAY).isoformat())


def test_features_labels_and_cut_offs_hold_as_of_the_ends_of_days_and_weeks(zone: str, span: str):
    for day in days(span):
        after = date.fromisoformat(day) + DAY
        assert day_end(day) == midnight(after.isoformat()) == instant(after, zone)
        assert day_ending(day_end(day)) == day
        monday = name_of(midnight(day), zone, "week")
        assert cut_off(monday) == instant(date.fromisoformat(monday) + 7 * DAY, zone)
    ends = [instant(date.fromisoformat(day) + DAY, zone) for day in days(span)]
    assert day_ends(ends[0], ends[-1]) == ends
