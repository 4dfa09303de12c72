"""Moments as APIs write them: compared as instants, sent earlier in the same spelling, and not followed to the future."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from asgard_assets.ingest.api.source.filters import parse_filter
from asgard_assets.ingest.api.values.cursors import ahead, counted_in, earlier, is_time, later
from tests.fakes.lists import walked

NOW = datetime(2026, 10, 5, 12, 0, tzinfo=UTC)
EARLIER = {  # 90 seconds
    "2026-10-05T08:10:00Z": "2026-10-05T08:08:30Z",
    "2026-10-05T08:10:00.123456789Z": "2026-10-05T08:08:30.123456789Z",
    "2026-10-05 08:10:00+00": "2026-10-05 08:08:30+00",
    "2026-10-05 10:10:00.5+02": "2026-10-05 10:08:30.5+02",
    "2026-10-05T10:10:00+0200": "2026-10-05T10:08:30+0200",
    "2026-10-05T10:10:00+02:00[Europe/Berlin]": "2026-10-05T10:08:30+02:00[Europe/Berlin]",
    "2026-10-05 08:10:00 UTC": "2026-10-05 08:08:30 UTC",
    "20261005T081000Z": "20261005T080830Z",
    "2026/10/05 08:10:00": "2026/10/05 08:08:30",
    "2026-10-05 00:00": "2026-10-04 23:58",
    "Mon, 05 Oct 2026 08:10:00 GMT": "Mon, 05 Oct 2026 08:08:30 GMT",
    "Mon, 05 Oct 2026 00:01:00 +0200": "Sun, 04 Oct 2026 23:59:30 +0200",
    "05 Oct 2026 08:10:00 +0000": "05 Oct 2026 08:08:30 +0000",
    "/Date(1791187800000)/": "/Date(1791187710000)/",
    "/Date(1791187800000+0200)/": "/Date(1791187710000+0200)/",
}


@pytest.mark.parametrize("sent", EARLIER)
def test_an_overlap_keeps_the_spelling_of_the_moment(sent):
    assert earlier(sent, 90) == EARLIER[sent]
    assert is_time(sent)
    assert later(sent, EARLIER[sent]) == later(EARLIER[sent], sent) == sent


@pytest.mark.parametrize(
    "text", ["2026-10-05", "20261005", "2026/10/05", "v2026", "05/10/2026 08:00", "2026-13-05T08:00:00Z"]
)
def test_what_is_no_moment_within_a_day_is_sent_as_it_is(text):
    assert earlier(text, 90) == text


ORDERED = [
    ("Wed, 30 Sep 2026 08:00:00 GMT", "Mon, 05 Oct 2026 08:00:00 GMT"),
    ("2026-10-05 13:02:00+05", "2026-10-05 08:03:00+00"),
    ("20261005T080000Z", "2026-10-05T08:00:00.001Z"),
    ("/Date(999999999000)/", "/Date(1791187800000)/"),
]


@pytest.mark.parametrize("first, second", ORDERED)
def test_moments_are_compared_as_instants_however_they_are_written(first, second):
    assert later(first, second) == later(second, first) == second


FUTURE = {
    "Thu, 01 Jan 2099 00:00:00 GMT": "Mon, 05 Oct 2026 08:00:00 GMT",
    "2099-01-01 00:00:00+00": "2026-10-05 08:00:00+00",
    "20990101T000000Z": "20261005T080000Z",
    "/Date(4070908800000)/": "/Date(1791187200000)/",
    4070908800: 1791187200,
    4070908800000: 1791187200000,
    "4070908800": "1791187200",
    253402300799: 1791187200,
    4070908800.5: 1791187200.5,
}


@pytest.mark.parametrize("future", FUTURE)
@pytest.mark.parametrize("first", [True, False])
def test_a_moment_from_the_future_does_not_move_the_cursor_however_it_is_written(future, first):
    past = FUTURE[future]
    rows = [{"id": 1, "v": past}, {"id": 2, "v": future}][:: 1 if first else -1]
    told = walked(
        lambda _: {"data": rows}, items="data", incremental={"field": "v", "start": "0"}, key={"id": "bigint"}
    )
    assert told.walk.cursor == past
    assert any("is in the future" in note for note in told.walk.notes)


IDS = {
    "small ids": [7, 12, 4_070_908_800],
    "ids of 64 bits": [1_500_000_000_000_000_000, 1_990_000_000_000_000_000],
}


@pytest.mark.parametrize("name", IDS)
def test_ids_are_no_moments(name):
    assert counted_in(IDS[name], NOW, "id") is None
    assert not any(ahead(value, NOW, 3600) for value in IDS[name])


def test_a_field_that_is_named_after_a_time_holds_one():
    assert counted_in([4_070_908_800_000], NOW, "lastModified") == 1000
    assert ahead(4_070_908_800_000, NOW, 3600, 1000)


def test_the_transform_date_reads_all_of_them():
    date = parse_filter("date:%Y-%m-%dT%H:%M:%S")
    for text in (
        "2026-10-05 10:10:00+02",
        "20261005T081000Z",
        "Mon, 05 Oct 2026 08:10:00 GMT",
        "/Date(1791187800000)/",
    ):
        assert date(text) == "2026-10-05T08:10:00"
