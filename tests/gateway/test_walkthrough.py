"""The walk-through of the first source document, typed against a running gateway: from a source to a run's logs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.servers import gateway, platform, shop_api
from tests.patience import patience

ORDERS = [
    {"order_id": 1, "customer_id": 7, "amount": 10.5},
    {"order_id": 2, "customer_id": 7, "amount": 4.5},
    {"order_id": 3, "customer_id": 9, "amount": 1.0},
]
SQL = (
    "SELECT customer_id, SUM(amount) as total_spent, COUNT(*) as order_count FROM orders GROUP BY customer_id"
)


def ended(client: httpx.Client, path: str, seconds: float = 300) -> dict[str, Any]:
    """The status under `path` once it says that it has ended."""
    deadline = time.monotonic() + patience(seconds)
    while True:
        found = client.get(path).raise_for_status().json()
        if found.get("state", found.get("status")) in ("COMPLETED", "FAILED", "CANCELLED"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


@pytest.mark.servers
@pytest.mark.timeout(1800)
def test_the_walk_through_of_the_document(tmp_path: Path):
    with shop_api({"orders": ORDERS}) as api, platform(tmp_path) as (home, client):
        assert client.get("/health").json()["status"] == "healthy"
        source = client.post(
            "/datasource",
            json={
                "source_type": "api",
                "workspace_name": "default",
                "source_config": {
                    "base_url": api,
                    "streams": {"orders": {"path": "/orders", "items": "data"}},
                    "api_token": "canary-7f3a",
                },
                "name": "My Orders Source",
            },
        )
        assert source.status_code == 201, source.text
        sink = client.post(
            "/sink",
            json={
                "destination_type": "s3",
                "workspace_name": "default",
                "destination_config": {"s3_bucket_name": "data-lake", "s3_bucket_path": "bronze/"},
                "name": "Bronze Layer Sink",
            },
        )
        assert sink.status_code == 201, sink.text
        assert source.json()["source_id"] in [
            s["source_id"] for s in client.get("/datasource").json()["datasources"]
        ]
        assert sink.json()["destination_id"] in [
            s["destination_id"] for s in client.get("/sink").json()["sinks"]
        ]

        started = client.post(
            "/ingestion",
            json={
                "source_id": source.json()["source_id"],
                "destination_id": sink.json()["destination_id"],
                "workspace_name": "default",
                "connection_name": "Orders to S3 Sync",
            },
        )
        assert started.status_code == 201, started.text
        synced = ended(client, f"/ingestion/{started.json()['connection_id']}/status")
        assert (synced["status"], synced["rows"]) == ("COMPLETED", 3), synced
        assert synced["last_sync"]
        assert list((home.path / "landing" / "data-lake" / "bronze" / "orders").glob("*.jsonl.gz"))

        sent = client.post("/transform", json={"sql": SQL}, headers={"Idempotency-Key": "first"})
        assert (sent.status_code, sent.json()["status"]) == (202, "submitted"), sent.text
        run = sent.json()["run_id"]
        again = client.post("/transform", json={"sql": SQL}, headers={"Idempotency-Key": "first"})
        assert again.json()["run_id"] == run
        status = ended(client, f"/transform/{run}/status")
        logs = client.get(f"/transform/{run}/logs").json()
        assert status["state"] == "COMPLETED", logs["logs"] + logs["printed"]
        assert (status["run_id"], status["spark_application"]) == (run, f"sql-exec-{run}")
        assert {
            "namespace",
            "driver_pod",
            "executor_count",
            "creation_time",
            "spark_version",
        } <= status.keys()
        assert "ASSET_MATERIALIZATION" in logs["logs"]
        assert client.get("/transform/jobs").json()["jobs"][0]["run_id"] == run
        assert client.get("/transform/jobs?limit=20&status_filter=FAILED").json()["jobs"] == []
        figures = client.get(f"/transform/{run}/metrics").json()
        assert figures["rows"] == 2 and figures["memory_bytes"] > 0, figures
        with client.stream(
            "GET", f"/transform/{run}/logs", headers={"Accept": "text/event-stream"}
        ) as stream:
            text = stream.read().decode()
        assert "RUN_SUCCESS" in text and text.endswith('event: end\ndata: "COMPLETED"\n\n')

        name = status["output_table"].partition(".")[2]
        with home.lake.connect() as lake:
            rows = lake.execute(f"select * from silver.{name} order by customer_id").fetchall()
        assert rows == [(7, 15.0, 2), (9, 1.0, 1)]
        model = {
            "sql_query": f"SELECT customer_id, COUNT(*) as orders FROM silver.{name} GROUP BY 1",
            "output_table": "iceberg.gold.customer_orders",
            "key": ["customer_id"],
        }
        built = client.post("/dbt/transform", json=model).json()["run_id"]
        twice = {
            **model,
            "sql_query": "SELECT 1 AS customer_id UNION ALL SELECT 1",
            "output_table": "gold.refused",
        }
        refused = client.post("/dbt/transform", json=twice).json()["run_id"]
        status = ended(client, f"/dbt/transform/{built}/status")
        assert status["state"] == "COMPLETED", client.get(f"/transform/{built}/logs").text
        status = ended(client, f"/dbt/transform/{refused}/status")
        assert (status["state"], "key_is_unique" in status["reason"]) == ("FAILED", True), status
        with home.lake.connect() as lake:
            assert lake.execute("select * from gold.customer_orders order by 1").fetchall() == [
                (7, 1),
                (9, 1),
            ]
        assert ("gold", "refused") not in home.lake.tables()
        everything = "".join(p.read_text(errors="replace") for p in home.path.glob("*.log"))
        assert "canary-7f3a" not in everything + logs["logs"] + client.get("/datasource").text

    # After a restart the table is an asset, its run is known, and a second transform may read it.
    code = (
        "from asgard_assets.definitions import defs; print([s.key for s in defs().resolve_all_asset_specs()])"
    )
    listed = home.run("python", "-c", code)
    assert f"'silver', '{name}'" in listed.stdout and "'gold', 'customer_orders'" in listed.stdout, (
        listed.stderr
    )
    with gateway(home) as client:
        assert client.get(f"/transform/{run}/status").json()["state"] == "COMPLETED"
