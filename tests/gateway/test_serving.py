"""Data products, models and features over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dagster as dg
import httpx
import pyarrow as pa
import pytest

from asgard_assets.gateway.platform import Platform
from asgard_assets.ml.registry import Provenance, Registry
from asgard_assets.ml.views import FeatureViewSpec
from asgard_assets.operations.serving.predictions import Served
from tests.gateway.conftest import Keys

PEOPLE = pa.table(
    {
        "customer_id": pa.array([1, 2, 3], pa.int64()),
        "email": ["ann@example.com", "bob@example.com", None],
        "spent": [10.5, 20.0, 1.0],
        "it's": ["a", "b", "c"],
    }
)


@pytest.fixture
def people(platform: Platform) -> Platform:
    staging = platform.lake.stage("gold", "people", PEOPLE.schema)
    platform.lake.write(staging, PEOPLE)
    platform.lake.publish(staging)
    return platform


def test_a_gold_table_is_a_data_product(people: Platform, client: httpx.Client):
    [found] = client.get("/data-products").json()["data_products"]
    assert (found["name"], found["table"], found["owner"]) == ("people", "gold.people", "team:data-platform")
    assert client.get("/data-products/people").json() == found
    promise = client.get("/data-products/people/contract").json()
    assert (promise["kind"], promise["schema"][0]["properties"][0]["name"]) == ("DataContract", "customer_id")
    assert client.get("/data-products/nobody").status_code == 404


def test_its_rows_are_filtered_and_come_in_pages(people: Platform, client: httpx.Client):
    def rows(query: str) -> Any:
        return client.get(f"/data-products/people/rows?{query}").json()

    assert rows("columns=customer_id&limit=2") == {
        "columns": ["customer_id"],
        "rows": [[1], [2]],
        "next_offset": 2,
    }
    assert rows("columns=customer_id&limit=2&offset=2") == {
        "columns": ["customer_id"],
        "rows": [[3]],
        "next_offset": None,
    }
    assert rows("columns=customer_id&filter=spent:ge:10&filter=customer_id:ne:1")["rows"] == [[2]]
    assert rows("columns=customer_id&filter=it's:eq:b")["rows"] == [[2]]
    assert rows("columns=customer_id&filter=email:eq:ann@example.com")["rows"] == [[1]]


@pytest.mark.parametrize(
    "query",
    [
        "filter=nope:eq:1",
        "filter=spent:like:1",
        "filter=spent:eq:x",
        "filter=spent = 1 or 1=1",
        "columns=nope",
        "columns=(select 1)",
        "limit=0",
        "limit=1000000",
        "offset=-1",
    ],
)
def test_what_is_no_filter_column_or_page_is_refused(people: Platform, client: httpx.Client, query: str):
    assert client.get(f"/data-products/people/rows?{query}").status_code == 422


@pytest.mark.parametrize("name", ["people' or 1=1", "..%2fsilver%2fx", "people%00", "p;drop"])
def test_a_product_that_is_none_is_404(people: Platform, client: httpx.Client, name: str):
    assert client.get(f"/data-products/{name}/rows").status_code == 404


def test_masked_columns_are_clear_for_editors_alone(people: Platform, client: httpx.Client, key: Keys):
    path = "/data-products/people/rows?columns=email&limit=1"
    assert client.get(path, headers=key("viewer")).json()["rows"] == [["***"]]
    assert client.get(path, headers=key("editor")).json()["rows"] == [["ann@example.com"]]
    hidden = client.get("/data-products/people/rows?filter=email:gt:b", headers=key("operator"))
    assert hidden.status_code == 422 and "masked" in hidden.json()["detail"]


@pytest.fixture
def churn(platform: Platform) -> Registry:
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    frame = pd.DataFrame(
        {"total_purchases": [1.0, 2.0, 20.0, 30.0], "lifetime_value": [10.0, 20.0, 900.0, 990.0]}
    )
    registry = Registry.from_settings("churn_predictor", platform.settings)
    for number, labels in enumerate(([1, 1, 0, 0], [0, 0, 1, 1])):
        model = LogisticRegression().fit(frame, labels)
        made = Provenance(
            f"2026-10-0{number + 5}", f"2026-10-0{number + 5}", f"{number}" * 64, "t", "/t", 0, "f", "c"
        )
        version = registry.register(model, made, (frame, model.predict_proba(frame)), {}, {"auc": 0.8125}, {})
        if number == 0:
            registry.promote(version)
    return registry


def test_a_model_predicts_by_column_and_by_row(churn: Registry, client: httpx.Client):
    by_column = {"total_purchases": [1, 30], "lifetime_value": [10, 990]}
    found = client.post(
        "/mlops/inference", json={"model_name": "churn_predictor", "inputs": by_column}
    ).json()
    assert found["model_version"] == 1 and found["predictions"][0] > 0.9 and found["predictions"][1] < 0.1
    by_row = [{"total_purchases": 1, "lifetime_value": 10}, {"lifetime_value": 990, "total_purchases": 30}]
    again = client.post("/mlops/inference", json={"model_name": "churn_predictor", "inputs": by_row}).json()
    assert again["predictions"] == pytest.approx(found["predictions"])
    second = {"model_name": "churn_predictor", "inputs": by_column, "version": 2}
    assert client.post("/mlops/inference", json=second).json()["predictions"][1] > 0.9
    status = client.get("/mlops/status").json()["models"]
    served = status[0].pop("served")
    assert status == [
        {"name": "churn_predictor", "versions": [1, 2], "champion": 1, "metrics": {"auc": 0.8125}}
    ]
    assert served == {"rows": 0, "drift": {}, "drifted": [], "shadow": None}
    for wrong in (
        {"total_purchases": [1]},
        {"total_purchases": [1], "lifetime_value": [1, 2]},
        {"total_purchases": [1], "lifetime_value": [1], "x": [1]},
        {"total_purchases": ["a"], "lifetime_value": [1]},
        {"total_purchases": [None], "lifetime_value": [1]},
        {"total_purchases": [], "lifetime_value": []},
        [],
    ):
        answer = client.post("/mlops/inference", json={"model_name": "churn_predictor", "inputs": wrong})
        assert answer.status_code == 422, wrong
    for missing in ({"model_name": "nobody"}, {"model_name": "churn_predictor", "version": 9}):
        answer = client.post("/mlops/inference", json={"inputs": by_column, **missing})
        assert answer.status_code == 404, answer.text


def ask(client: httpx.Client, rows: int, **more: Any) -> Any:
    """Predictions for customers who buy much."""
    inputs = {"total_purchases": [25.0] * rows, "lifetime_value": [500.0] * rows}
    answer = client.post("/mlops/inference", json={"model_name": "churn_predictor", "inputs": inputs, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_newest_version_answers_in_the_shadow_and_is_compared(
    churn: Registry, platform: Platform, client: httpx.Client
):
    alone = ask(client, 10)
    beside = ask(client, 10, shadow=True)
    assert alone["shadow_version"] is None and beside["shadow_version"] == 2
    assert beside["predictions"] == alone["predictions"] and beside["model_version"] == 1
    assert ask(client, 10, shadow=True, version=2)["shadow_version"] is None, (
        "nobody stands in its own shadow"
    )
    platform.models.recorder.flush()
    [found] = client.get("/mlops/status").json()["models"]
    assert found["served"]["rows"] == 20
    assert found["served"]["shadow"] == {"version": 2, "rows": 10, "differing": 10, "failed": 0}


def test_the_page_of_the_models_tells_of_metrics_and_drift(
    churn: Registry, platform: Platform, client: httpx.Client
):
    status = client.get("/mlops/status").json()["models"]
    assert status[0]["metrics"] == {"auc": 0.8125}
    assert "auc 0.812" in client.get("/ui/models").text
    one = platform.models.status()[0]
    served = Served(300, {"a": 0.1, "b": 0.5}, ("b",), None)
    shown = replace(one, served=served)
    platform.models.status = lambda: [shown]  # type: ignore[method-assign]
    page = client.get("/ui/models").text
    assert ">300<" in page and "b 0.50 (shifted), a 0.10" in page


def test_a_shadow_that_fails_harms_nobody(churn: Registry, platform: Platform, client: httpx.Client):
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    frame = pd.DataFrame({"something_else": [1.0, 2.0]})
    made = Provenance("2026-10-08", "2026-10-08", "9" * 64, "t", "/t", 0, "f", "c")
    model = LogisticRegression().fit(frame, [0, 1])
    churn.register(model, made, (frame, model.predict(frame)), {}, {}, {})
    assert ask(client, 3, shadow=True)["shadow_version"] == 3
    platform.models.recorder.flush()
    [found] = client.get("/mlops/status").json()["models"]
    assert found["served"]["shadow"] == {"version": 3, "rows": 0, "differing": 0, "failed": 1}


def test_drift_and_skew_are_checks_of_the_model(
    platform: Platform, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
):
    import numpy as np
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    from asgard_assets.components.served import DRIFT, SKEW, with_served

    for name, value in {"HOME": platform.settings.home, "LAKE": platform.lake.root}.items():
        monkeypatch.setenv(f"ASGARD_{name}", str(value))
    monkeypatch.setattr("asgard_assets.components.served.feature_views", dict)
    random = np.random.default_rng(3)
    frame = pd.DataFrame(
        {"total_purchases": random.normal(5, 2, 500), "lifetime_value": random.normal(500, 90, 500)}
    )
    rows = pa.Table.from_pandas(frame.assign(customer_id=range(500)), preserve_index=False)
    staging = platform.lake.stage("gold", "worth", rows.schema, whole=True)
    platform.lake.write(staging, rows)
    platform.lake.publish(staging)
    view = {"name": "worth", "entities": ["customer_id"], "source": {"table_name": "worth"}}
    assert client.post("/feast/features", json=view).status_code == 201
    registry = Registry.from_settings("churn_predictor", platform.settings)
    model = LogisticRegression().fit(frame, frame["total_purchases"] > 5)
    made = Provenance("2026-10-05", "2026-10-05", "0" * 64, "t", "/t", 0, "f", "c")
    registry.promote(
        registry.register(
            model, made, (frame, model.predict(frame)), {}, {}, {}, rows=pa.Table.from_pandas(frame)
        )
    )

    @dg.asset(key=["model", "churn_predictor"], metadata={"dagster/uri": "models:/churn_predictor"})
    def versions() -> None: ...

    [checks] = with_served(dg.Definitions(assets=[versions])).asset_checks or ()

    def found() -> dict[str, Any]:
        with dg.DagsterInstance.ephemeral() as instance:
            done = dg.materialize([versions, checks], instance=instance)
        return {one.check_name: one for one in done.get_asset_check_evaluations()}

    quiet = found()
    assert quiet[DRIFT].passed and quiet[DRIFT].metadata["rows"].value == 0
    ask(client, 300)
    platform.models.recorder.flush()
    told = found()
    assert not told[DRIFT].passed and not told[SKEW].passed
    assert told[DRIFT].severity is dg.AssetCheckSeverity.WARN
    assert told[DRIFT].metadata["shifted"].value == "lifetime_value, total_purchases"
    assert told[SKEW].metadata["not_in_a_table"].value == "none"
    [status] = client.get("/mlops/status").json()["models"]
    assert status["served"]["drifted"] == ["total_purchases", "lifetime_value"]


def test_feature_views_are_listed_with_their_key_as_entities(platform: Platform, client: httpx.Client):
    view = FeatureViewSpec.model_validate(
        {
            "name": "value", "description": "What a customer is worth.", "table": "gold/customers", "entity": "customer",
            "key": "customer_id", "ttl_days": 7, "features": {"spent": {"type": "double"}},
        }
    )  # fmt: skip
    platform.features.project = lambda: {"value": view}
    found = client.get("/feast/features/value").json()
    assert (found["entities"], found["source"]) == (
        ["customer_id"],
        {"table_name": "customers", "schema": "gold"},
    )
    assert client.get("/feast/features").json() == {"features": [found], "total": 1}
    assert client.get("/feast/features/nobody").status_code == 404
