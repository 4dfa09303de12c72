"""Features of a day hold as of the day's end in the calendar's zone; what is later is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest

from asgard_assets.ml import training
from asgard_assets.ml.moments import cut_off, day_end, day_ending, day_ends, midnight
from asgard_assets.ml.views import FeatureViewSpec
from asgard_assets.ml.window import judge
from tests.ml.test_training import CHURN

DAY = "2026-11-01"
ENDS = {
    "UTC": datetime(2026, 11, 2, tzinfo=UTC),
    "Asia/Tokyo": datetime(2026, 11, 1, 15, tzinfo=UTC),
    "America/Los_Angeles": datetime(2026, 11, 2, 8, tzinfo=UTC),
    "Europe/Berlin": datetime(2026, 11, 1, 23, tzinfo=UTC),
    "Asia/Kolkata": datetime(2026, 11, 1, 18, 30, tzinfo=UTC),
}


@pytest.mark.parametrize("zone", list(ENDS))
def test_moments_of_features_are_ends_of_days_in_the_zone(monkeypatch, zone):
    monkeypatch.setenv("ASGARD_TIME_ZONE", zone)
    assert day_end(DAY) == midnight("2026-11-02") == cut_off("2026-10-26") == ENDS[zone]
    assert day_ending(ENDS[zone]) == DAY
    assert [day_ending(m) for m in day_ends(day_end("2026-10-31"), ENDS[zone])] == ["2026-10-31", DAY]
    view = FeatureViewSpec.model_validate(
        {
            "name": "v", "description": "V.", "table": "gold/x", "entity": "customer", "key": "customer_id",
            "ttl_days": 7, "features": {"a": {"type": "bigint", "description": "A."}},
        }
    )  # fmt: skip
    for late, broken in ((0, 0), (1, 1)):
        moment = ENDS[zone].replace(microsecond=late)
        rows = pa.table(
            {
                "ds": [DAY],
                "customer_id": pa.array([1], pa.int64()),
                "a": pa.array([1], pa.int64()),
                "event_timestamp": pa.array([moment], pa.timestamp("us", "UTC")),
                "created_at": pa.array([moment], pa.timestamp("us", "UTC")),
            }
        )
        _, found = judge(rows, view, [DAY])
        assert found["is_within_ttl"] == {DAY: broken}


class Store:
    """A store of one table, in memory."""

    def __init__(self, rows: pa.Table) -> None:
        self.con = duckdb.connect()
        self.con.execute("set TimeZone = 'UTC'")
        self.con.register("source", rows)
        self.duckdb = self

    def query(self, table: tuple[str, str], sql: str):
        return self.con.execute(sql).df()


@pytest.mark.parametrize("zone", list(ENDS))
@pytest.mark.parametrize(
    "week", ["2026-03-02", "2026-03-09", "2026-03-23", "2026-03-30", "2026-10-19", "2026-10-26"]
)
def test_labels_end_with_days_where_clocks_change_too(monkeypatch, zone: str, week: str):
    """Each label looks at the days behind its snapshot, none of them cut, and never beyond the cut-off."""
    monkeypatch.setenv("ASGARD_TIME_ZONE", zone)
    monkeypatch.setenv("ASGARD_PARTITION_START", "2026-01-01")
    monkeypatch.setenv("ASGARD_PARTITION_END", "")
    end, there = cut_off(week), ZoneInfo(zone)
    found = training.snapshots(CHURN.spec, end, "2026-01-01")
    days = [moment.astimezone(there).date() for moment in day_ends(found[0], end)]
    moments = [datetime(day.year, day.month, day.day, tzinfo=there) for day in days]
    rows = pa.table(
        {
            "ds": [day_ending(moment) for moment in moments],
            "customer_id": [1] * len(moments),
            "is_active": [True] * len(moments),
            "event_timestamp": pa.array(moments, pa.timestamp("us", "UTC")),
            "created_at": pa.array(moments, pa.timestamp("us", "UTC")),
        }
    )
    spec = CHURN.spec.model_copy(
        update={"population": "true", "label": CHURN.spec.label.model_copy(update={"sql": "count(*)"})}
    )
    store: Any = Store(rows)
    labelled = training.labels(replace(CHURN, spec=spec), store, found, end)
    assert labelled[CHURN.spec.label.column].tolist() == [CHURN.spec.horizon_days] * len(found)
    assert max(labelled["label_until"]) == end
    plan = training.split(spec, found)
    assert (
        plan.by_entity or plan.train[-1] == found[found.index(plan.validation[0]) - CHURN.spec.horizon_days]
    )
