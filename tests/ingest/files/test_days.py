"""The day that a column names: what counts as one, in which zone, and what becomes of rows without."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pydantic import ValidationError

from asgard_assets.ingest.files.landing.area import walk
from asgard_assets.ingest.files.plan.listing import day_of
from asgard_assets.ingest.files.source.models import ByArrival, ByColumn
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from tests.ingest.files.bench import Bench

TODAY = "2026-11-28"


def loaded(lake: Lake, settings: Settings, content: str, name: str, **how: Any) -> Bench:
    ds = {"type": "column", "name": name} | how.pop("ds", {})
    bench = Bench(None, lake, settings, ds=ds, **({"types": "inferred"} | how))
    path = bench.put("a.csv", content)
    os.utime(path, (1795867200, 1795867200))  # noon of TODAY
    bench.run([TODAY])
    return bench


def bad(bench: Bench) -> list[tuple]:
    return (
        bench.lake.connect().execute("select row, reason, raw from quarantine.invoices order by 1").fetchall()
    )


def test_the_column_may_be_called_ds(lake: Lake, settings: Settings) -> None:
    bench = loaded(lake, settings, "id,ds\n1,2026-10-05\n2,2026-10-06T10:00:00Z\n3,\n4,soon\n", "ds")
    assert bench.rows("id, ds, _rescued_data") == [
        (1, "2026-10-05", None),
        (2, "2026-10-06", '{"ds": "2026-10-06T10:00:00Z"}'),
    ]
    reason = "column 'ds' names no day"
    assert bad(bench) == [(2, reason, '{"id":3}'), (3, reason, '{"id":4,"ds":"soon"}')]


@pytest.mark.parametrize("declared", [None, "timestamp", "date"])
def test_what_names_no_day_costs_its_record_and_is_kept_as_it_was(
    lake: Lake, settings: Settings, declared: str | None
) -> None:
    days = [
        "2026-10-05",
        "20261006",
        "1791072000",
        "1791072000000",
        "2026/10/05",
        "9999-12-31T23:59:59-12:00",
    ]
    how: Any = {"columns": {"day": {"type": declared}}} if declared else {}
    content = "id,day\n" + "".join(f"{n},{day}\n" for n, day in enumerate(days))
    bench = loaded(lake, settings, content, "Day", **how)
    assert bench.rows("id, ds", "id") == [(0, "2026-10-05"), (1, "2026-10-06")]
    assert [raw for _, _, raw in bad(bench)] == [
        f'{{"id":{n},"day":"{day}"}}' for n, day in enumerate(days) if n > 1
    ]


@pytest.mark.parametrize("declared", ["string", "timestamp"])
def test_the_day_is_that_of_the_zone(lake: Lake, settings: Settings, declared: str) -> None:
    how: Any = {"ds": {"time_zone": "Europe/Berlin"}, "columns": {"t": {"type": declared}}}
    times = "t\n2026-10-05T23:30:00Z\n2026-10-05T21:30:00\n2026-10-06T00:10:00+02:00\n"
    bench = loaded(lake, settings, times, "t", **how)
    assert bench.rows("ds", "_row") == [("2026-10-06",), ("2026-10-05",), ("2026-10-06",)]


def test_files_arrive_on_the_calendars_day(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGARD_TIME_ZONE", "Asia/Tokyo")
    bench = Bench(None, lake, settings, ds={"type": "arrival"})
    os.utime(bench.put("a.csv", "id\n1\n"), (1791244800 - 3600, 1791244800 - 3600))  # 23:00 UTC
    [file] = walk(bench.landing, bench.source)
    assert day_of(bench.source, file) == "2026-10-06"
    assert ByArrival(type="arrival", time_zone="UTC").day(file.path, file.modified) == "2026-10-05"
    with pytest.raises(ValidationError, match="'Mars' is no time zone"):
        ByColumn(type="column", name="t", time_zone="Mars")
