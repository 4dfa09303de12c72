"""A day is the same instants for an API request, for rows dated by a column and for files dated by their arrival.

The instants are written out by hand from the zones' published offsets, not computed by the code under test.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from asgard_assets.ingest.api.plan.rendering import partition_values
from asgard_assets.ingest.files.shape.conform import _days as days_of_values
from asgard_assets.ingest.files.source.models import FileSource

DAYS = [
    ("Asia/Tokyo", "2026-12-31", "2026-12-30T15:00:00Z", "2026-12-31T15:00:00Z"),
    ("Asia/Kolkata", "2028-02-29", "2028-02-28T18:30:00Z", "2028-02-29T18:30:00Z"),
    ("America/Los_Angeles", "2026-03-08", "2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"),
    ("America/Los_Angeles", "2026-11-01", "2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z"),
    ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
    ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
    ("Europe/Berlin", "2027-01-01", "2026-12-31T23:00:00Z", "2027-01-01T23:00:00Z"),
    ("UTC", "2026-10-05", "2026-10-05T00:00:00Z", "2026-10-06T00:00:00Z"),
]


def source(rule: str, every: str = "day") -> FileSource:
    ds = {"type": rule, "name": "at"} if rule == "column" else {"type": rule}
    return FileSource.model_validate(
        {"name": "x", "path": "x", "description": "X.", "ds": ds, "every": every}
    )


@pytest.mark.parametrize(("zone", "day", "start", "end"), DAYS)
def test_a_day_is_the_same_instants_in_every_engine(monkeypatch, zone, day, start, end):
    monkeypatch.setenv("ASGARD_TIME_ZONE", zone)
    asked = partition_values(day)
    assert (asked["start"], asked["end"]) == (start, end)
    first, last = datetime.fromisoformat(start), datetime.fromisoformat(end)
    tick = timedelta(microseconds=1)
    arrival, column = source("arrival"), source("column")
    for moment, inside in ((first - tick, False), (first, True), (last - tick, True), (last, False)):
        assert (arrival.ds.day("x/a.csv", moment, arrival.calendar) == day) is inside
        forms = [
            pa.array([moment], pa.timestamp("us", "UTC")),
            pa.array([moment.replace(tzinfo=None)], pa.timestamp("us")),
            [moment.isoformat()],
        ]
        for values in forms:
            (found,) = days_of_values(values, column.ds, 1, column.calendar)
            assert (found == day) is inside, (moment, values)


@pytest.mark.parametrize(
    ("every", "keys"),
    [
        ("hour", ["2026-10-25T02", "2026-10-25T02+0100", "2026-12-31T23", "2027-01-01T00"]),
        ("day", ["2026-10-25", "2026-10-25", "2026-12-31", "2027-01-01"]),
        ("week", ["2026-10-19", "2026-10-19", "2026-12-28", "2026-12-28"]),
        ("month", ["2026-10-01", "2026-10-01", "2026-12-01", "2027-01-01"]),
    ],
)
def test_rows_fall_into_hours_days_weeks_and_months(monkeypatch, every, keys):
    monkeypatch.setenv("ASGARD_TIME_ZONE", "Europe/Berlin")
    texts = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-12-31T22:59:59Z", "2026-12-31T23:00:00Z"]
    moments = [datetime.fromisoformat(text) for text in texts]
    column, arrival = source("column", every), source("arrival", every)
    assert days_of_values(pa.array(moments, pa.timestamp("us", "UTC")), column.ds, 4, column.calendar) == keys
    assert days_of_values(texts, column.ds, 4, column.calendar) == keys
    assert [arrival.ds.day("x", moment, arrival.calendar) for moment in moments] == keys


def test_folders_and_names_name_hours_too(monkeypatch):
    monkeypatch.setenv("ASGARD_TIME_ZONE", "Europe/Berlin")
    now = datetime.fromisoformat("2026-10-25T00:30:00Z")
    found = {
        path: source(rule, "hour").ds.day(path, now, source(rule, "hour").calendar)
        for rule, path in (
            ("folder", "x/ds=2026-10-25T02+0100/a.csv"),
            ("folder", "x/ds=2026-03-29T02/a.csv"),
            ("folder", "x/ds=2026-10-25/a.csv"),
            ("filename", "x/2026-10-25T13_a.csv"),
        )
    }
    assert list(found.values()) == ["2026-10-25T02+0100", None, None, "2026-10-25T13"]
