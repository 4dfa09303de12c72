"""Windows and calendars: keys, instants, ranges, and what is refused."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, Every, days_after, days_between, parse_day, parse_days, stretches


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


def test_hours_of_a_clock_change_carry_their_offset_the_second_time():
    berlin = Calendar.named("Europe/Berlin", "hour")
    autumn = berlin.between("2026-10-25T01", "2026-10-25T03")
    assert autumn == ["2026-10-25T01", "2026-10-25T02", "2026-10-25T02+0100", "2026-10-25T03"]
    assert berlin.window("2026-10-25T02+0100").start == datetime(2026, 10, 25, 1, tzinfo=UTC)
    assert berlin.between("2026-03-29T01", "2026-03-29T03") == ["2026-03-29T01", "2026-03-29T03"]
    for key in ("2026-03-29T02", "2026-10-25T03+0100", "2026-10-25T02+0200", "2026-10-25", "2026-10-25T24"):
        with pytest.raises(ConfigError):
            berlin.window(key)


@pytest.mark.parametrize(
    "zone", ["Asia/Tokyo", "America/Los_Angeles", "Europe/Berlin", "Asia/Kolkata", "UTC"]
)
@pytest.mark.parametrize(
    ("every", "lengths"), [("hour", {1}), ("day", {23, 24, 25}), ("week", {167, 168, 169})]
)
def test_windows_follow_each_other_without_gaps_through_a_year(zone, every, lengths):
    calendar = Calendar.named(zone, every)
    windows = calendar.overlapping(datetime(2027, 12, 20, tzinfo=UTC), datetime(2029, 1, 10, tzinfo=UTC))
    assert all(one.end == two.start for one, two in pairwise(windows))
    assert {(w.end - w.start) // timedelta(hours=1) for w in windows} <= lengths
    assert len({w.key for w in windows}) == len(windows)
    assert all(calendar.window(w.key) == w == calendar.window_at(w.start) for w in windows)
    assert [w.key for w in windows] == sorted(w.key for w in windows)


def test_days_and_months_are_made_of_exactly_their_hours_and_days():
    zone = "America/Los_Angeles"
    hours, days, months = (Calendar.named(zone, every) for every in ("hour", "day", "month"))
    day = days.window("2026-11-01")
    assert len(hours.overlapping(day.start, day.end)) == 25
    month = months.window("2028-02-01")
    found = days.overlapping(month.start, month.end)
    assert (len(found), found[-1].key) == (29, "2028-02-29")
    with pytest.raises(ConfigError, match="named by its first day, 2028-02-01"):
        months.window("2028-02-02")
    with pytest.raises(ConfigError, match="named by its Monday, 2026-12-28"):
        Calendar.named(zone, "week").window("2027-01-01")


def test_a_calendar_goes_on_to_the_window_that_is_open_or_to_its_end():
    now = datetime(2026, 10, 7, 9, tzinfo=UTC)
    endless = Calendar(first=date(2026, 10, 5))
    assert endless.keys(now) == ["2026-10-05", "2026-10-06", "2026-10-07"]
    assert endless.window("2026-10-07").is_open(now) and not endless.window("2026-10-06").is_open(now)
    assert Calendar(first=date(2026, 10, 5), until=date(2026, 10, 7)).keys(now) == endless.keys(now)[:2]
    assert Calendar(every="week", first=date(2026, 9, 30)).keys(now) == ["2026-10-05"]
    assert (
        Calendar.named("Pacific/Auckland", "day").key_at(datetime(2026, 10, 7, 12, tzinfo=UTC))
        == "2026-10-08"
    )


def test_an_unknown_zone_is_refused_with_the_names_nearest_to_it():
    with pytest.raises(ConfigError, match="did you mean Asia/Tokyo"):
        Calendar.named("Asia/Tokio")
    with pytest.raises(ConfigError, match="did you mean Europe/Berlin"):
        Settings(time_zone="berlin")


@pytest.mark.parametrize(
    ("zone", "every", "key", "following"),
    [
        ("Pacific/Apia", "day", "2011-12-29", "2011-12-31"),  # clocks passed a whole day over
        ("Pacific/Kwajalein", "day", "1993-08-20", "1993-08-22"),
        ("America/Sao_Paulo", "day", "2018-11-03", "2018-11-04"),  # without a midnight
        ("Europe/Berlin", "day", "2024-02-28", "2024-02-29"),
        ("Europe/Berlin", "week", "2026-12-28", "2027-01-04"),  # week 53
        ("Europe/Berlin", "month", "2026-12-01", "2027-01-01"),
        ("Europe/Berlin", "hour", "2026-10-25T02", "2026-10-25T02+0100"),
        ("Asia/Kolkata", "hour", "2026-10-05T23", "2026-10-06T00"),
    ],
)
def test_the_next_window_begins_where_one_ends(zone: str, every: Every, key: str, following: str):
    calendar = Calendar.named(zone, every)
    assert calendar.after(key) == following == calendar.key_at(calendar.window(key).end)
    assert calendar.after(following, -1) == key
