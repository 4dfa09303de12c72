"""Snapshots, splits and the row-by-row leak checks, without Feast."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from asgard_assets.lake import Lake
from asgard_assets.ml import contracts, training
from asgard_assets.ml.judging.outcomes import auc_lower_bound
from asgard_assets.ml.moments import cut_off, midnight
from asgard_assets.ml.project import model_in
from asgard_assets.quality.audit import audit
from tests.checkout import ROOT

CHURN = model_in(ROOT / "asgard_assets" / "defs" / "model" / "churn")
SPEC = contracts.training_set(CHURN)
SCHEMA = contracts.schema(SPEC)
START = "2026-10-05"
WEEKS = ["2026-10-12", "2026-10-19", "2026-10-26"]
WEEK = WEEKS[0]
END = cut_off(WEEK)


def row(customer: int, snapshot: datetime, name: str, cancelled: bool, **changes: object) -> dict:
    base = dict.fromkeys(SCHEMA.names)
    known = {
        f"{view}__{column}": snapshot
        for view in ("customer_value", "customer_activity")
        for column in ("event_timestamp", "created_at")
    }
    asked = {"customer_id": customer, "snapshot": snapshot, "cancelled": cancelled, "split": name}
    until = snapshot + timedelta(days=7)
    ends = {"label_until": until, "label_known_at": until, "cut_off": END, "ds": WEEK}
    return base | known | asked | ends | changes


def rows(**changes: object) -> list[dict]:
    """Four customers, apart by customers; `changes` go to the first row."""
    early, late = midnight("2026-10-06"), midnight("2026-10-12")
    return [
        row(1, early, "train", True, **changes),
        row(2, early, "train", False),
        row(3, late, "validation", True),
        row(4, late, "validation", False),
    ]


def failing(lake: Lake, found: list[dict]) -> list[str]:
    staging = lake.stage("model", "churn_training_set", SCHEMA, [WEEK])
    lake.write(staging, pa.Table.from_pylist(found, schema=SCHEMA))
    return audit(lake, staging, SPEC).bad_days.get(WEEK, [])


def test_the_first_cut_off_has_the_seven_snapshots_whose_labels_are_complete():
    assert [f"{s:%m-%d}" for s in training.snapshots(CHURN.spec, END, START)] == [
        f"10-{day:02d}" for day in range(6, 13)
    ]


def test_the_window_before_a_cut_off_is_bounded():
    found = training.snapshots(CHURN.spec, cut_off(WEEKS[2]), START)
    assert (f"{found[0]:%m-%d}", f"{found[-1]:%m-%d}", len(found)) == ("10-12", "10-26", 15)
    assert training.snapshots(CHURN.spec, cut_off("2026-10-05"), START) == []


@pytest.mark.parametrize("week", WEEKS)
def test_no_label_is_in_both_training_and_validation(week: str):
    found = training.snapshots(CHURN.spec, cut_off(week), START)
    plan = training.split(CHURN.spec, found)
    names = {(c, s): plan.of(s, c) for s in found for c in range(1, 801)}
    train = {key for key, name in names.items() if name == "train"}
    validation = {key for key, name in names.items() if name == "validation"}
    assert train and validation
    assert max(s for _, s in train) < min(s for _, s in validation), "validation is later than training"
    apart_in_time = max(s for _, s in train) + timedelta(days=7) <= min(s for _, s in validation)
    assert apart_in_time is not plan.by_entity
    if plan.by_entity:
        assert not {c for c, _ in train} & {c for c, _ in validation}


def test_an_honest_training_set_passes(lake: Lake):
    assert failing(lake, rows()) == []


@pytest.mark.parametrize(
    "column",
    [
        "customer_value__event_timestamp",
        "customer_value__created_at",
        "customer_activity__event_timestamp",
        "customer_activity__created_at",
    ],
)
def test_a_feature_from_after_its_snapshot_is_caught_in_the_one_row(lake: Lake, column: str):
    leak = midnight("2026-10-06") + timedelta(microseconds=1)
    assert failing(lake, rows(**{column: leak})) == ["features_precede_their_snapshot"]


@pytest.mark.parametrize("column", ["label_until", "label_known_at"])
def test_a_label_from_after_the_cut_off_is_caught(lake: Lake, column: str):
    assert "labels_end_by_the_cut_off" in failing(lake, rows(**{column: END + timedelta(seconds=1)}))


def test_a_customer_in_both_splits_is_caught_where_labels_overlap(lake: Lake):
    assert failing(lake, rows(customer_id=3)) == ["splits_share_no_label"]


def test_the_hash_follows_content_not_order():
    table = pa.Table.from_pylist(rows(), schema=SCHEMA)
    turned = pa.Table.from_pylist(rows()[::-1], schema=SCHEMA)
    changed = pa.Table.from_pylist(rows(customer_value__orders=9), schema=SCHEMA)
    hashes = [training.content_hash(rows, CHURN.keys) for rows in (table, turned, changed)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_little_evidence_gives_a_low_bound():
    assert auc_lower_bound(0.75, 30, 600) < auc_lower_bound(0.75, 300, 6000) < 0.75
    assert auc_lower_bound(0.52, 30, 600) < 0.5
