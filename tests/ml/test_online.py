"""The online store equals Gold, whatever happened to Gold and wherever the store is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from asgard_assets.lake import Lake
from asgard_assets.ml import online
from asgard_assets.ml.repository import Repository
from asgard_assets.ml.store import OpenStore, open_store
from asgard_assets.ml.views import FeatureViewSpec, feature_views
from tests.checkout import ROOT
from tests.servers.postgres import postgres
from tests.servers.redis import redis

pytestmark = pytest.mark.servers
VIEW = """type: asgard_assets.components.feast.FeatureView
attributes:
  {{name: {name}, description: What a customer did., table: gold/{name}, entity: customer, key: {key},
   ttl_days: 2, features: {{n: {{type: bigint}}, plan: {{type: string}}}}}}
"""
TIME = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [("customer_id", pa.int64()), ("n", pa.int64()), ("plan", pa.string()), ("event_timestamp", TIME),
     ("created_at", TIME), ("ds", pa.string())]
)  # fmt: skip
DAYS = [f"2026-10-{day:02}" for day in range(5, 9)]
Rows = Mapping[str, Mapping[int, int]]
"""By day, and by customer: the value of n."""


def put(lake: Lake, name: str, rows: Rows) -> None:
    days = list(rows)
    found = []
    for day, values in rows.items():
        end = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
        found += [
            {
                "customer_id": who,
                "n": n,
                "plan": f"p{n}",
                "event_timestamp": end,
                "created_at": end,
                "ds": day,
            }
            for who, n in values.items()
        ]
    staging = lake.stage("gold", name, SCHEMA, days)
    lake.write(staging, pa.Table.from_pylist(found, schema=SCHEMA))
    lake.publish(staging, days)


def served(store: OpenStore, view: FeatureViewSpec) -> dict[int, int | None]:
    return {who: values["n"] for who, values in online.read(store, view, range(1, 6)).items()}


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    if request.param == "redis":
        with redis() as found:
            yield {"ASGARD_ONLINE_STORE": found}
    elif request.param == "postgres":
        with postgres(tmp_path / "pg") as server:
            found = f"postgresql://{server.user}:x@127.0.0.1:{server.port}/{server.database}"
            yield {"ASGARD_ONLINE_STORE": found, "ASGARD_FEAST_REGISTRY": found}
    else:
        yield {}


def test_the_online_store_equals_gold(
    tmp_path: Path, lake: Lake, address: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in address.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "repo").mkdir()
    shutil.copy(ROOT / "feature_repo" / "feature_store.yaml", tmp_path / "repo")
    for name in ("visits", "orders"):
        (tmp_path / "views" / name).mkdir(parents=True)
        (tmp_path / "views" / name / "defs.yaml").write_text(VIEW.format(name=name, key="customer_id"))
    repository = Repository(tmp_path / "repo", tmp_path / "views")
    views = feature_views(repository.views)
    rows = {day: {1: i, 2: 10 + i, 3: 20 + i} for i, day in enumerate(DAYS)}
    put(lake, "visits", rows)
    put(lake, "orders", rows)

    def fill() -> tuple[online.Latest, dict[int, int | None], dict[int, int | None]]:
        with open_store(repository=repository) as store:
            latest = online.fill(store, views)
            assert latest.differing == [] and latest.compared
            return latest, served(store, views["visits"]), served(store, views["orders"])

    all_of_it = {1: 3, 2: 13, 3: 23, 4: None, 5: None}
    assert fill()[1:] == (all_of_it, all_of_it)

    put(
        lake, "visits", {DAYS[-1]: {1: 103, 2: 13, 3: 23}}
    )  # the newest day again: the event time is the same
    assert fill()[1] == {**all_of_it, 1: 103}
    put(
        lake, "visits", {DAYS[-2]: {1: 99, 2: 112, 3: 99, 4: 44}, DAYS[-1]: {1: 3, 3: 23}}
    )  # an older day counts
    assert fill()[1] == {**all_of_it, 2: 112, 4: 44}

    DeltaTable(lake.path("gold", "visits")).delete("customer_id = 2")
    latest, visits, orders = fill()
    assert visits == {**all_of_it, 2: None, 4: 44} and orders == all_of_it, "the other view's values stay"
    assert latest.removed == {"visits": 1, "orders": 0} and latest.keys["visits"] == 3
    again, visits, _ = fill()
    assert visits == {**all_of_it, 2: None, 4: 44} and again.removed == {"visits": 0, "orders": 0}

    days = {"2026-10-10": {1: 5}, "2026-10-11": {1: 6}}  # the others have no row within the ttl any more
    put(lake, "visits", days)
    assert fill()[1] == {1: 6, 2: None, 3: None, 4: None, 5: None}

    shutil.rmtree(tmp_path / "views" / "orders")  # a view that is gone
    del views["orders"]
    with open_store(repository=repository) as store:
        online.fill(store, views)
        assert [view.name for view in store.feast.list_feature_views()] == ["visits"]
        assert served(store, views["visits"])[1] == 6
