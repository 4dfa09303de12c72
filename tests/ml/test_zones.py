"""Features of a day hold as of the day's end in the calendar's zone; what is later is found."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from asgard_assets.ml.moments import cut_off, day_end, day_ending, day_ends, midnight
from asgard_assets.ml.views import FeatureViewSpec
from asgard_assets.ml.window import judge

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
