"""The six steps of the second source document: from a database to predictions of churn, through the API alone."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from asgard_assets.catalogs.registration import catalog_of
from asgard_assets.settings import Settings
from tests.catalogs.readers import by_duckdb
from tests.end_to_end.homes import Home
from tests.gateway.servers import airbyte, gateway
from tests.gateway.test_walkthrough import ended
from tests.patience import patience, wait_until
from tests.servers.postgres import Postgres, postgres

ROWS = """
create role reader login password 'canary-3ab1';
create table customers (customer_id bigint primary key, email text);
insert into customers select n, case when n % 4 > 0 then 'c' || n || '@example.com' end from generate_series(1, 40) n;
create table transactions (id bigint primary key, customer_id bigint, amount double precision);
insert into transactions select c * 100 + n, c, c * 2.5 from generate_series(1, 40) c, generate_series(1, c) n;
grant select on customers, transactions to reader;
"""
SCRIPT = """
import os
import pandas
from sklearn.linear_model import LogisticRegression

rows = pandas.read_parquet(os.environ["ASGARD_FEATURES"])
inputs = rows[["total_purchases", "lifetime_value"]]
model = LogisticRegression(max_iter=1000).fit(inputs, rows["total_purchases"] < 15)
metrics = {"rows": len(rows)}
"""


def sent(client: httpx.Client, path: str, body: dict[str, Any], status: int) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def done(client: httpx.Client, run_id: str) -> None:
    status = ended(client, f"/transform/{run_id}/status")
    assert status["state"] == "COMPLETED", client.get(f"/transform/{run_id}/logs").text


@pytest.mark.servers
@pytest.mark.timeout(1800)
def test_the_churn_example_of_the_document(tmp_path: Path):
    home = Home(tmp_path / "home")
    home.path.mkdir()
    with postgres(tmp_path / "pg") as shop, airbyte(home):
        with create_engine(
            f"postgresql://{shop.user}@127.0.0.1:{shop.port}/{shop.database}"
        ).begin() as connection:
            connection.execute(text(ROWS))
        first = f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%d}"
        more = {
            "ASGARD_PARTITION_START": first,
            "ASGARD_PARTITION_END": "",
            "ASGARD_GATEWAY_TRAINING": "true",
            "ASGARD_ICEBERG": f"sqlite:///{home.path}/catalog.db",
        }
        with gateway(home, **more) as client:
            _walk(client, shop)
        _seen_by_readers_of_iceberg(home, more)
        printed = "".join(path.read_text(errors="replace") for path in home.path.glob("*.log"))
        assert "canary-3ab1" not in printed


def _seen_by_readers_of_iceberg(home: Home, settings: dict[str, str]) -> None:
    """What was written as iceberg.silver.x is there under that name, once the catalog followed."""
    home.run("asgard", "catalog", "sync", timeout=900, **settings)
    told = home.run("asgard", "catalog", "state", "--output", "json", timeout=900, **settings).stdout
    assert {each["table"]: each["current"] for each in json.loads(told)} == {
        "gold/customer_orders": True,
        "silver/customers_cleaned": True,
        "silver/transactions": True,
    }
    catalog = catalog_of(Settings(iceberg=settings["ASGARD_ICEBERG"]), home.lake)
    for table, rows in (("silver/customers_cleaned", 30), ("gold/customer_orders", 40)):
        found = catalog.load(table)
        assert found is not None
        place = found.metadata_location.removeprefix("file://")
        assert len(by_duckdb((), f"iceberg_scan('{place}')", ordered=False)) == rows
        assert found.scan().to_arrow().num_rows == rows


def _walk(client: httpx.Client, shop: Postgres) -> None:
    # 1. Customer data from PostgreSQL.
    config = {
        "host": "127.0.0.1",
        "port": shop.port,
        "username": "reader",
        "password": "canary-3ab1",
        "database": shop.database,
    }
    source = sent(
        client,
        "/datasource",
        {"source_type": "postgres", "name": "customer_db", "source_config": config},
        201,
    )
    bucket = {"s3_bucket_name": "data-lake", "s3_bucket_path": "bronze/"}
    sink = sent(client, "/sink", {"name": "Bronze", "destination_config": bucket}, 201)
    ids = {"source_id": source["source_id"], "destination_id": sink["destination_id"]}
    ingestion = sent(client, "/ingestion", ids, 201)
    synced = ended(client, f"/ingestion/{ingestion['connection_id']}/status")
    assert (synced["status"], synced["rows"]) == ("COMPLETED", 40 + 820), synced
    # 2. Clean it with Spark.
    cleaned = {
        "sql_query": "SELECT * FROM bronze.customers WHERE email IS NOT NULL",
        "output_table": "iceberg.silver.customers_cleaned",
    }
    run = sent(client, "/spark/transform", cleaned, 202)["run_id"]
    bought = {
        "sql_query": "SELECT t.* FROM bronze.transactions t JOIN bronze.customers USING (customer_id)",
        "output_table": "silver.transactions",
    }
    second = sent(client, "/spark/transform", bought, 202)["run_id"]
    done(client, run)
    done(client, second)
    # 3. Business metrics with dbt.
    metrics = {
        "sql_query": "SELECT customer_id, COUNT(*) as total_purchases, SUM(amount) AS lifetime_value "
        "FROM silver.transactions GROUP BY 1",
        "output_table": "iceberg.gold.customer_orders",  # customer_metrics is the demo's own
    }
    done(client, sent(client, "/dbt/transform", metrics, 202)["run_id"])
    # 4. Features in Feast.
    features = {"name": "customer_features", "source": {"table_name": "customer_orders", "schema": "gold"}}
    made = sent(client, "/feast/features", features, 201)
    assert made["entities"] == ["customer_id"]
    # 5. Train a model: its features are there without a further step.
    upload = {"script_content": base64.b64encode(SCRIPT.encode()).decode(), "model_name": "churn_predictor"}
    trained = sent(client, "/mlops/training/upload", upload, 202)["run_id"]
    done(client, made["run_id"])
    found = client.post(
        "/feast/features/customer_features/online", json={"entities": {"customer_id": [4, 99]}}
    ).json()
    assert found["features"] == {"total_purchases": [4, None], "lifetime_value": [40.0, None]}
    status = ended(client, f"/mlops/training/{trained}/status")
    assert (status["state"], status["model_version"]) == ("COMPLETED", 1), status
    # 6. Predictions.
    asked = {
        "model_name": "churn_predictor",
        "inputs": {"total_purchases": [5, 25], "lifetime_value": [250, 2500]},
    }
    predicted = sent(client, "/mlops/inference", asked, 200)
    assert predicted["model_version"] == 1
    assert predicted["predictions"][0] > 0.5 > predicted["predictions"][1]
    again = client.post(
        "/mlops/inference", json=asked
    )  # the model is loaded now: the document asks for less than a second
    assert (
        again.json()["predictions"] == predicted["predictions"]
        and again.elapsed.total_seconds() < patience(1) / 3
    )
    wait_until(lambda: _model(client)["served"]["rows"] == 4, 20, "what the model was asked is counted")
    found = _model(client)
    assert (found["name"], found["versions"], found["champion"]) == ("churn_predictor", [1], 1)


def _model(client: httpx.Client) -> dict[str, Any]:
    [model] = client.get("/mlops/status").json()["models"]
    return model
