"""Which windows of an input a window reads, in all calendars and zones."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from asgard_assets.lake.reads import Edge

BERLIN = "Europe/Berlin"
HOURS_OF_A_DAY = Edge("bronze/x", 0, 0, "day", BERLIN, "hour", BERLIN)


@pytest.mark.parametrize(
    ("edge", "key", "bounds"),
    [
        (Edge("t"), "2026-10-05", ("2026-10-05", "2026-10-05")),
        (Edge("t", 2), "2026-10-01", ("2026-09-29", "2026-10-01")),
        (Edge("t", None), "2026-10-05", ("", "2026-10-05")),
        (Edge("t", None, None), "2026-10-05", ("", "~")),
        (Edge("t", 1, -1), "2026-10-05", ("2026-10-04", "2026-10-04")),
        (Edge("t"), "", ("", "~")),
        (Edge("t", 0, 0, "hour", source_every="hour"), "2026-10-05T07", ("2026-10-05T07", "2026-10-05T07")),
        (Edge("t", 8, 0, "hour", source_every="hour"), "2026-10-05T07", ("2026-10-04T23", "2026-10-05T07")),
        (Edge("t", 1, 0, "month", source_every="month"), "2026-03-01", ("2026-02-01", "2026-03-01")),
        (Edge("t", 0, 0, "month"), "2026-02-01", ("2026-02-01", "2026-02-28")),
        (Edge("t", 0, 0, "week"), "2026-10-05", ("2026-10-05", "2026-10-11")),
        (Edge("t", 1, 0, "week"), "2026-10-05", ("2026-09-28", "2026-10-11")),
        (Edge("t", 0, 0, "day", source_every="week"), "2026-10-08", ("2026-10-05", "2026-10-05")),
        (Edge("t", 0, 0, "month", source_every="hour"), "2026-02-01", ("2026-02-01T00", "2026-02-28T23")),
        (Edge("t", None, 0, "day", source_every="hour"), "2026-10-05", ("", "2026-10-05T23")),
        (HOURS_OF_A_DAY, "2026-10-25", ("2026-10-25T00", "2026-10-25T23")),
        (
            Edge("t", 1, -1, "hour", BERLIN, "hour", BERLIN),
            "2026-10-25T03",
            ("2026-10-25T02+0100", "2026-10-25T02+0100"),
        ),
        # A day of New York ends while the next one of UTC has begun.
        (Edge("t", 0, 0, "day", "America/New_York"), "2026-10-05", ("2026-10-05", "2026-10-06")),
        (
            Edge("t", 0, 0, "day", "UTC", "hour", "Asia/Kolkata"),
            "2026-10-05",
            ("2026-10-05T05", "2026-10-06T05"),
        ),
    ],
)
def test_a_partition_reads_the_windows_that_share_time_with_it(edge: Edge, key: str, bounds: tuple[str, str]):
    assert edge.bounds(key) == bounds


def test_a_day_in_autumn_has_twenty_five_hours_and_one_in_spring_twenty_three():
    later = datetime(2027, 6, 1, tzinfo=UTC)
    autumn, spring = (HOURS_OF_A_DAY.within(day, later) for day in ("2026-10-25", "2027-03-28"))
    assert (len(autumn), len(spring)) == (25, 23)
    assert "2026-10-25T02+0100" in autumn and "2027-03-28T02" not in spring


def test_what_has_not_ended_need_not_be_there():
    now = datetime(2026, 10, 5, 7, 30, tzinfo=UTC)
    hours = Edge("t", source_every="hour").within("2026-10-05", now)
    assert hours == [f"2026-10-05T0{hour}" for hour in range(7)]
    assert Edge("t", every="week").within("2026-10-05", now) == []
