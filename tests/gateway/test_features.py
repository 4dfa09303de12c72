"""Feature views over HTTP: sent, listed, changed, and read online."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import httpx
import pyarrow as pa
import pytest

from asgard_assets.gateway.platform import Platform
from asgard_assets.ml.managed.features import serve
from asgard_assets.ml.managed.repository import ManagedRepository
from asgard_assets.ml.managed.views import views
from asgard_assets.ml.store import open_store
from asgard_assets.settings import Settings
from asgard_assets.transforms.managed import Step, Transform, save
from tests.gateway.conftest import Keys

METRICS = pa.table({"customer_id": [1, 2], "orders": [3, 4], "email": ["a@b.c", None], "event": [1.0, 2.0]})
DOCUMENT = {"name": "customer_features", "source": {"table_name": "customer_metrics", "schema": "gold"}}
WITH_KEY = {**DOCUMENT, "entities": ["customer_id"]}


@pytest.fixture(autouse=True)
def metrics(platform: Platform) -> None:
    staging = platform.lake.stage("gold", "customer_metrics", METRICS.schema, whole=True)
    platform.lake.write(staging, METRICS)
    platform.lake.publish(staging)


def model(platform: Platform, sql: str, **more: Any) -> None:
    steps = (Step(sql=sql),)
    save(
        platform.lake,
        Transform(stage="gold", name="customer_metrics", sql=sql, steps=steps, engine="dbt", **more),
    )


def send(client: httpx.Client, body: Mapping[str, Any], status: int = 201, **headers: str) -> Any:
    answer = client.post("/feast/features", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT customer_id, COUNT(*) AS orders FROM t GROUP BY 1",
        "SELECT customer_id, COUNT(*) AS orders FROM t GROUP BY customer_id",
        "SELECT customer_id, COUNT(*) AS orders FROM t GROUP BY ALL",
        "SELECT c.id AS customer_id, COUNT(*) AS orders FROM c GROUP BY c.id",
    ],
)
def test_without_entities_it_is_the_key_of_the_table(platform: Platform, client: httpx.Client, sql: str):
    model(platform, sql)
    made = send(client, DOCUMENT)
    assert (made["entities"], made["source"]) == (["customer_id"], DOCUMENT["source"])
    assert made["features"] == {"orders": "bigint", "email": "string", "event": "double"}
    assert (made["status"], made["revision"]) == ("submitted", 1)
    status = client.get(f"/transform/{made['run_id']}/status").json()
    assert (status["state"], status["output_table"]) == ("SUBMITTED", "features.customer_features")
    assert client.get("/transform/jobs").json()["jobs"] == []
    found = client.get("/feast/features/customer_features").json()
    assert found["entities"] == ["customer_id"]
    assert client.get("/feast/features").json()["features"] == [found]


def test_the_key_that_was_sent_with_the_table_counts_first(platform: Platform, client: httpx.Client):
    model(platform, "SELECT 1 AS a, COUNT(*) FROM t GROUP BY 1", key=("customer_id",))
    assert send(client, DOCUMENT)["entities"] == ["customer_id"]


@pytest.mark.parametrize(
    ("change", "status", "why"),
    [
        ({"entities": []}, 422, "entities: gold.customer_metrics declares no key"),
        ({"entities": ["nobody"]}, 422, "entities: 'nobody' is no column"),
        ({"features": ["nothing"]}, 422, "features: nothing cannot be one"),
        ({"source": {"table_name": "nowhere"}}, 404, "there is no table gold.nowhere"),
        ({"source": {"table_name": "../x"}}, 422, "source.table_name"),
        ({"source": {"table_name": "customer_metrics", "schema": "secret"}}, 422, "source.schema"),
        (
            {"source": {"table_name": "customer_metrics", "timestamp_field": "event"}},
            422,
            "source.timestamp_field",
        ),
        ({"name": "online"}, 409, "choose another name"),
        ({"name": "x'; drop"}, 422, "name"),
        ({"name": "a/b"}, 422, "name"),
        ({"ttl_days": 0}, 422, "ttl_days"),
    ],
)
def test_what_cannot_be_features_is_refused_and_leaves_nothing(
    platform: Platform, client: httpx.Client, change: dict[str, Any], status: int, why: str
):
    assert why in send(client, {**WITH_KEY, **change}, status)["detail"]
    assert not views(platform.lake).newest() and not platform.submissions.all()


def test_a_view_of_the_project_or_of_another_workspace_is_not_overwritten(
    platform: Platform, client: httpx.Client, key: Keys
):
    ann, bob = key("editor", "sales"), key("editor", "default")
    send(client, WITH_KEY, **bob)
    mine = {**WITH_KEY, "workspace_name": "sales"}
    send(client, mine, 409, **ann)
    assert client.get("/feast/features", headers=ann).json()["features"] == []
    assert client.get("/feast/features/customer_features", headers=ann).status_code == 404
    keys = {"entities": {"customer_id": [1]}}
    assert client.post("/feast/features/customer_features/online", json=keys, headers=ann).status_code == 404
    model(platform, "SELECT 1", workspace="default")
    send(client, {**mine, "name": "other"}, 404, **ann)
    send(client, WITH_KEY, 403, **key("viewer"))


def test_a_change_that_others_did_not_see_is_refused(platform: Platform, client: httpx.Client):
    send(client, WITH_KEY)
    tag = client.get("/feast/features/customer_features").headers["etag"]
    assert send(client, {**WITH_KEY, "description": "first"}, **{"If-Match": tag})["revision"] == 2
    assert (
        "Read it again"
        in send(client, {**WITH_KEY, "description": "second"}, 412, **{"If-Match": tag})["detail"]
    )
    assert client.get("/feast/features/customer_features").json()["description"] == "first"
    send(client, WITH_KEY, 422, **{"If-Match": "banana"})


def test_of_writers_at_once_one_wins(platform: Platform, client: httpx.Client):
    send(client, WITH_KEY)
    codes = list[int]()

    def change(number: int) -> None:
        body = {**WITH_KEY, "description": f"{number}"}
        codes.append(client.post("/feast/features", json=body, headers={"If-Match": '"1"'}).status_code)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [201] + [412] * 5
    assert views(platform.lake).load("customer_features").number == 2


def test_a_key_that_is_sent_again_starts_nothing_and_changes_nothing(
    platform: Platform, client: httpx.Client
):
    first = send(client, WITH_KEY, **{"Idempotency-Key": "one"})
    assert send(client, WITH_KEY, **{"Idempotency-Key": "one"}) == first
    send(client, {**WITH_KEY, "description": "x"}, 409, **{"Idempotency-Key": "one"})
    assert views(platform.lake).load("customer_features").number == 1
    assert len(platform.submissions.all()) == 1


def test_values_are_read_online_once_the_run_has_ended(
    platform: Platform, client: httpx.Client, key: Keys, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
):
    path, ask = "/feast/features/customer_features/online", {"entities": {"customer_id": [2, 1, 9]}}
    ann = key("editor")
    assert client.post(path, json=ask, headers=ann).status_code == 404
    send(client, WITH_KEY, **ann)
    assert "not served yet" in client.post(path, json=ask, headers=ann).json()["detail"]
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ASGARD_LAKE", str(tmp_path / "lake"))
    view = views(platform.lake).load("customer_features").document
    with open_store(Settings(), ManagedRepository([view])) as store:
        serve(store, view)
    found = client.post(path, json=ask, headers=ann).json()
    assert found["entities"] == ask["entities"]
    assert found["features"]["orders"] == [4, 3, None]
    assert found["features"]["email"] == [None, "a@b.c", None]
    assert client.post(path, json=ask, headers=key("viewer")).json()["features"]["email"] == ["***"] * 3
    for wrong in (
        {},
        {"customer_id": []},
        {"customer_id": ["a"]},
        {"customer_id": [2**63]},
        {"x": [1]},
        {"customer_id": [1], "x": [1]},
    ):
        answer = client.post(path, json={"entities": wrong}, headers=ann)
        assert answer.status_code == 422, wrong
