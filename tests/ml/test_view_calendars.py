"""Feature views by hours and weeks: what Feast reads of a partition holds as of its end, online too."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from asgard_assets.components.feast import feature_view_asset
from asgard_assets.components.partitions import calendar_of
from asgard_assets.lake import Lake
from asgard_assets.ml import online
from asgard_assets.ml.repository import Repository
from asgard_assets.ml.store import open_store
from asgard_assets.ml.views import feature_views
from asgard_assets.ml.window import judge, validate
from asgard_assets.settings import Settings
from asgard_assets.windows import Every
from tests.checkout import ROOT

VIEW = """type: asgard_assets.components.feast.FeatureView
attributes:
  {{name: beats, description: Beats of an engine., table: gold/beats, entity: engine, key: engine_id, ttl_days: 60,
   every: {every}, features: {{n: {{type: bigint, description: How many.}}}}}}
"""
TIME = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        ("engine_id", pa.int64()),
        ("n", pa.int64()),
        ("event_timestamp", TIME),
        ("created_at", TIME),
        ("ds", pa.string()),
    ]
)
KEYS: dict[Every, list[str]] = {
    "hour": ["2026-10-25T01", "2026-10-25T02", "2026-10-25T02+0100", "2026-10-25T03"],  # clocks go back
    "week": ["2026-10-12", "2026-10-19"],
    "month": ["2026-09-01", "2026-10-01"],
}


def rows(every: Every, late: timedelta = timedelta()) -> pa.Table:
    calendar = Settings().calendar(every)
    ends = [calendar.window(key).end + late for key in KEYS[every]]
    count = len(ends)
    return pa.table([[1] * count, list(range(count)), ends, ends, KEYS[every]], schema=SCHEMA)


@pytest.mark.parametrize("every", list(KEYS))
def test_rows_of_a_partition_hold_as_of_its_end_and_the_newest_is_served(
    tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch, every: Every
):
    monkeypatch.setenv("ASGARD_TIME_ZONE", "Europe/Berlin")
    monkeypatch.setenv("ASGARD_PARTITION_START", "2026-09-01")
    folder = tmp_path / "views" / "beats"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(VIEW.format(every=every))
    (tmp_path / "feature_repo").mkdir()
    shutil.copy(ROOT / "feature_repo" / "feature_store.yaml", tmp_path / "feature_repo")
    repository = Repository(tmp_path / "feature_repo", tmp_path / "views")
    views = feature_views(repository.views)
    found = calendar_of(feature_view_asset(views["beats"]).partitions_def)
    assert found is not None and found.every == every

    staging = lake.stage("gold", "beats", SCHEMA, KEYS[every])
    lake.write(staging, rows(every))
    lake.publish(staging)
    with open_store(repository=repository) as store:
        window = validate(store, views["beats"], KEYS[every])
        assert window.rows == dict.fromkeys(KEYS[every], 1) and window.bad_days(list(window.broken)) == {}
        one = validate(store, views["beats"], KEYS[every][1:2])
        assert one.rows == {KEYS[every][1]: 1} and one.bad_days(list(one.broken)) == {}
        latest = online.fill(store, views)
        assert (
            latest.differing == [] and latest.newest == Settings().calendar(every).window(KEYS[every][-1]).end
        )
        assert online.read(store, views["beats"], [1])[1]["n"] == len(KEYS[every]) - 1

    _, broken = judge(rows(every, timedelta(microseconds=1)), views["beats"], KEYS[every])
    assert broken["is_within_ttl"] == dict.fromkeys(KEYS[every], 1), "what comes after the end is found"
