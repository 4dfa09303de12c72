"""Feature views that were sent to the API: read where they lie, served online, joined as of a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.ml.managed.features import repeated_keys, serve, training_rows
from asgard_assets.ml.managed.repository import ManagedRepository
from asgard_assets.ml.managed.views import ManagedView, columns, views
from asgard_assets.ml.store import open_store
from asgard_assets.settings import Settings


def put(lake: Lake, name: str, rows: pa.Table) -> None:
    staging = lake.stage("gold", name, rows.schema, whole=True)
    lake.write(staging, rows)
    lake.publish(staging, replace_schema=True)


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ASGARD_LAKE_ROOT", str(tmp_path / "lake"))
    return Lake.from_settings(Settings())


def view_of(lake: Lake, name: str, table: str, *keys: str, **more: object) -> ManagedView:
    found = columns(lake, "gold", table).described(f"gold.{table}", keys, ())
    return ManagedView.model_validate({"name": name, "table": f"gold/{table}", **found, **more})


ORDERS = pa.table(
    {
        "customer_id": pa.array([1, 2, 3], pa.int64()),
        "orders": pa.array([4, 5, None], pa.int32()),
        "spent": pa.array([1.5, 2.5, 3.5], pa.float32()),
        "seen": pa.array([1, 2, 3], pa.date32()),
        "plan": ["a", "b", None],
    }
)


def test_a_table_without_a_time_is_served_as_it_was_committed(lake: Lake):
    put(lake, "orders", ORDERS)
    view = view_of(lake, "worth", "orders", "customer_id")
    assert view.features == {"orders": "bigint", "spent": "double", "plan": "string"}
    with open_store(Settings(), ManagedRepository([view])) as store:
        assert repeated_keys(store, view) == 0
        assert serve(store, view).keys == 3
        asked = [{"customer_id": 2}, {"customer_id": 3}, {"customer_id": 9}]
        found = store.feast.get_online_features(["worth:orders", "worth:plan"], asked).to_dict()
        assert (found["orders"], found["plan"]) == ([5, None, None], ["b", None, None])
        rows = training_rows(store, [view])
        assert rows["spent"].to_pylist() == [1.5, 2.5, 3.5]
        before = training_rows(store, [view], now=datetime.now(UTC) - timedelta(days=1))
        assert before["spent"].null_count == 3
    put(lake, "orders", ORDERS.slice(1))
    with open_store(Settings(), ManagedRepository([view])) as store:
        served = serve(store, view)
        assert (served.keys, served.removed, served.version) == (2, 1, lake.version("gold", "orders"))
        assert store.feast.get_online_features(["worth:spent"], [{"customer_id": 1}]).to_dict()["spent"] == [
            None
        ]


def test_with_labels_features_are_as_they_were_known_then(lake: Lake):
    first = datetime(2026, 10, 5, tzinfo=UTC)
    moments = [first, first + timedelta(days=2), first]
    late = [first, first + timedelta(days=2), first]
    history = {"id": ["a", "a", "b"], "score": [1, 2, 7], "event_timestamp": moments, "created_at": late}
    put(lake, "scores", pa.table(history))
    labels = {
        "id": ["a", "a", "b"],
        "event_timestamp": [first + timedelta(days=1), first + timedelta(days=3), first - timedelta(days=1)],
        "churned": [True, False, True],
    }
    put(lake, "labels", pa.table(labels))
    view = view_of(lake, "scores", "scores", "id")
    assert (view.keys, view.event_time, view.created) == ({"id": "string"}, "event_timestamp", "created_at")
    with open_store(Settings(), ManagedRepository([view])) as store:
        rows = training_rows(store, [view], ("gold", "labels"))
        known = {(r["id"], r["churned"]): r["score"] for r in rows.to_pylist() if r["score"] is not None}
        assert known == {("a", True): 1, ("a", False): 2}
        assert serve(store, view).keys == 2


def test_rows_that_share_a_key_or_have_none_are_counted(lake: Lake):
    put(lake, "twice", pa.table({"id": pa.array([1, 1, None], pa.int64()), "x": [1, 2, 3]}))
    view = view_of(lake, "twice", "twice", "id")
    with open_store(Settings(), ManagedRepository([view])) as store:
        assert repeated_keys(store, view) == 3


@pytest.mark.parametrize(
    ("keys", "features", "why"),
    [
        (["nope"], (), "'nope' is no column"),
        (["seen"], (), "is no column of gold.orders with whole numbers or text"),
        (["customer_id"], ("seen",), "seen cannot be one"),
        (["customer_id"], ("customer_id",), "customer_id cannot be one"),
    ],
)
def test_columns_that_do_not_fit_are_refused_with_those_that_do(
    lake: Lake, keys: list[str], features: tuple[str, ...], why: str
):
    put(lake, "orders", ORDERS)
    with pytest.raises(ConfigError, match=why):
        columns(lake, "gold", "orders").described("gold.orders", keys, features)


def test_a_view_is_kept_in_revisions(lake: Lake):
    put(lake, "orders", ORDERS)
    view = view_of(lake, "worth", "orders", "customer_id")
    assert views(lake).save(view).number == 1 and views(lake).save(view).number == 1
    assert views(lake).save(view.model_copy(update={"description": "x"})).number == 2
    assert [one.document.description for one in views(lake).newest()] == ["x"]
