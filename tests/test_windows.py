"""Windows and calendars: keys, instants, ranges, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.windows import Calendar, days_after, days_between, parse_day, parse_days, stretches


def test_a_range_includes_both_ends_and_crosses_months():
    assert days_between("2026-10-31", "2026-11-01") == ["2026-10-31", "2026-11-01"]
    assert days_between("2026-11-01", "2026-10-31") == []
    assert parse_days("2028-02-28...2028-03-01") == ["2028-02-28", "2028-02-29", "2028-03-01"]
    assert parse_days("2026-10-05") == ["2026-10-05"]


@pytest.mark.parametrize(
    "text", ["soon", "2026-13-01", "2026-02-29", "20261005", "2026-W41-1", "", "2026-10-5"]
)
def test_what_is_no_date_is_refused_with_the_way_to_write_one(text):
    with pytest.raises(ConfigError, match="use YYYY-MM-DD"):
        parse_day(text)
    with pytest.raises(ConfigError, match=r"a range is written 2026-10-05\.\.\.2026-10-11"):
        parse_days(f"2026-10-05...{text}")


def test_a_range_that_ends_before_it_begins_is_refused():
    with pytest.raises(ConfigError, match="ends before it begins"):
        parse_days("2026-10-11...2026-10-05")


def test_keys_are_cut_where_a_day_is_missing():
    assert stretches(["2026-03-01", "2026-02-27", "2026-02-28", "2026-03-04"]) == [
        ["2026-02-27", "2026-02-28", "2026-03-01"],
        ["2026-03-04"],
    ]
    assert days_after("2026-03-01", -1) == "2026-02-28"


@pytest.mark.parametrize(
    ("zone", "key", "start", "hours"),
    [
        ("UTC", "2026-10-25", datetime(2026, 10, 25, tzinfo=UTC), 24),
        ("Europe/Berlin", "2026-10-25", datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
        ("Europe/Berlin", "2026-03-29", datetime(2026, 3, 28, 23, tzinfo=UTC), 23),
        ("Asia/Kolkata", "2026-10-25", datetime(2026, 10, 24, 18, 30, tzinfo=UTC), 24),
        ("America/Los_Angeles", "2026-11-01", datetime(2026, 11, 1, 7, tzinfo=UTC), 25),
    ],
)
def test_a_window_is_its_day_in_its_zone(zone, key, start, hours):
    window = Calendar.named(zone).window(key)
    assert window.start.astimezone(UTC) == start
    assert window.end.astimezone(UTC) - window.start.astimezone(UTC) == timedelta(hours=hours)
    assert Calendar.named(zone).key_at(start) == key
    assert Calendar.named(zone).key_at(start - timedelta(microseconds=1)) == days_after(key, -1)
