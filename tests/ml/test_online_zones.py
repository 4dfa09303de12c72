"""Online values in four zones, at month ends, clock changes, and changes of a zone's rules: what the newest day of each engine
says, by a calculation that knows nothing but `zoneinfo`."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from asgard_assets.lake import Lake
from asgard_assets.ml import online
from asgard_assets.ml.repository import Repository
from asgard_assets.ml.store import open_store
from asgard_assets.ml.views import feature_views
from asgard_assets.ml.window import validate
from tests.checkout import ROOT
from tests.components.test_time_in_stages import SPANS, ZONES, days, instant
from tests.ml.test_view_calendars import SCHEMA, VIEW

DAY, INSTANT = timedelta(days=1), timedelta(microseconds=1)


def rows(zone: str, late: timedelta = timedelta()) -> list[tuple[int, int, datetime, datetime, str]]:
    """A row for each engine (one a span) and day, as of the day's end; the last day of every second engine has none."""
    found = []
    for engine, span in enumerate(SPANS):
        kept = days(span) if engine % 2 else days(span)[:-1]
        for number, day in enumerate(kept):
            end = instant(date.fromisoformat(day) + DAY, zone) + late
            found.append((engine, number, end, end, day))
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_each_engine_is_served_with_the_last_day_that_ended(
    tmp_path: Path, lake: Lake, monkeypatch, zone: str
):
    monkeypatch.setenv("ASGARD_PARTITION_START", "1893-01-01")
    monkeypatch.setenv("ASGARD_PARTITION_END", "")
    folder = tmp_path / "views" / "beats"
    folder.mkdir(parents=True)
    said = VIEW.replace("every: {every}", f"time_zone: {zone}").replace("ttl_days: 60", "ttl_days: 60000")
    (folder / "defs.yaml").write_text(said.format())
    (tmp_path / "feature_repo").mkdir()
    shutil.copy(ROOT / "feature_repo" / "feature_store.yaml", tmp_path / "feature_repo")
    repository = Repository(tmp_path / "feature_repo", tmp_path / "views")
    views = feature_views(repository.views)
    made = rows(zone)
    keys = sorted({row[-1] for row in made})
    staging = lake.stage("gold", "beats", SCHEMA, keys)
    lake.write(staging, pa.table([*map(list, zip(*made, strict=True))], schema=SCHEMA))
    lake.publish(staging)
    newest = {row[0]: (row[1], row[-1]) for row in made}
    with open_store(repository=repository) as store:
        window = validate(store, views["beats"], keys)
        assert window.bad_days(list(window.broken)) == {} and sum(window.rows.values()) == len(made)
        latest = online.fill(store, views)
        assert latest.differing == [] and latest.newest == max(row[2] for row in made)
        assert latest.newest.astimezone(UTC) - INSTANT < instant(date(2028, 3, 3), zone)
        served = online.read(store, views["beats"], list(newest))
    assert {engine: (values["n"], values["ds"]) for engine, values in served.items()} == newest
