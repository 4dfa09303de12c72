"""Every route of the app, what its caller must be allowed to do, and one thing of each kind to send to it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pyarrow as pa
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from asgard_assets.gateway.accounts.roles import May
from asgard_assets.gateway.platform import Platform

FOR_ALL = {"/health", "/health/ready", "/ui/login", "/ui/style.css"}
PAGES = {"/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"}


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    parameters: frozenset[str]
    actions: tuple[May, ...]


def actions(found: Dependant) -> Iterator[May]:
    for each in found.dependencies:
        action = getattr(each.call, "action", None)
        if action is not None:
            yield action
        yield from actions(each)


def routes(app: FastAPI) -> list[Route]:
    """Every route of the app with what its caller must be allowed to do."""
    listed = {(method, path) for path, found in app.openapi()["paths"].items() for method in found}
    found = list[Route]()
    for each in iter_route_contexts(app.routes):
        route = each.original_route
        if isinstance(route, APIRoute):
            names = frozenset(one.name for one in route.dependant.path_params)
            rules = tuple(actions(route.dependant))
            found += [Route(method.lower(), each.path_format, names, rules) for method in route.methods]
    assert {(one.method, one.path) for one in found} >= listed
    return found


def send(
    client: httpx.Client, route: Route, headers: dict[str, str], values: dict[str, str], body: dict[str, Any] | None = None
) -> httpx.Response:  # fmt: skip
    path = route.path.format(**{name: values.get(name, "nothing") for name in route.parameters})
    told = (body or {}) if route.method in ("post", "put", "patch") else None
    return client.request(route.method, path, json=told, headers=headers)


def things(platform: Platform, client: httpx.Client, admin: dict[str, str]) -> dict[str, dict[str, str]]:
    """One thing of each kind in the workspace main: the value of each parameter, by the beginning of a path."""

    def made(path: str, body: dict[str, Any]) -> Any:
        answer = client.post(path, json={**body, "workspace_name": "main"}, headers=admin)
        assert answer.is_success, answer.text
        return answer.json()

    source = made("/datasource", {"source_type": "faker", "name": "f", "source_config": {}})
    sink = made("/sink", {"name": "s", "destination_config": {"s3_bucket_name": "b"}})
    ingestion = made(
        "/ingestion", {"source_id": source["source_id"], "destination_id": sink["destination_id"]}
    )
    transform = made("/transform", {"sql": "select * from orders"})
    model = made(
        "/dbt/transform", {"sql_query": "select 1 as id, 2 as x group by 1", "output_table": "gold.mine"}
    )
    rows = pa.table({"id": [1], "x": [2]})
    staging = platform.lake.stage("gold", "mine", rows.schema, whole=True)
    platform.lake.write(staging, rows)
    platform.lake.publish(staging)
    features = made("/feast/features", {"name": "mine", "entities": ["id"], "source": {"table_name": "mine"}})
    script = base64.b64encode(b"model = None").decode()
    training = made("/mlops/training/upload", {"script_content": script, "model_name": "mine"})
    assert features["status"] == "submitted"
    made("/api/v1/ingestions", {"name": "mine_too", "source": {"path": "main/x"}})
    run = client.post("/api/v1/ingestions/mine_too/run", headers=admin).json()
    return {
        "/api/v1/clusters": {"cluster_id": "mine"},
        "/ui/sources": {"ingestion_id": "mine_too", "run_id": run["run_id"]},
        "/ui/tables": {"stage": "gold", "name": "mine"},
        "/api/v1/ingestions": {"ingestion_id": "mine_too", "run_id": run["run_id"]},
        "/ingestion": {"ingestion_id": ingestion["connection_id"]},
        "/transform": {"run_id": transform["run_id"]},
        "/spark/transform": {"run_id": transform["run_id"]},
        "/transformation": {"run_id": transform["run_id"]},
        "/dbt/transform": {"run_id": model["run_id"]},
        "/feast/features": {"name": "mine"},
        "/mlops/training": {"run_id": training["run_id"]},
        "/data-products": {"name": "mine"},
    }


SERVER = {
    "type": "postgres",
    "host": "127.0.0.1",
    "database": "d",
    "user": "u",
    "password": "env:SHOP",
    "tls": "disable",
}
FILES = {
    "source": {"path": "main/x", "glob": "*.csv"},
    "format": "csv",
    "description": "d",
    "workspace_name": "main",
}
CRON = {
    "schedule": {
        "mode": "scheduled",
        "cron": "0 2 * * *",
        "time_zone": "Europe/Berlin",
        "start": "2026-10-05",
    }
}
SQL = {"sql": "select * from orders", "output_table": "silver.made", "source_path": "", "executor_memory": "1g", "workspace_name": "main"}  # fmt: skip
API = {
    "endpoint": {"base_url": "http://127.0.0.1:1", "path": "/t", "headers": {"X-Api-Key": "env:SHOP_KEY"}}, "form": {"type": "pull", "items": "data"},
    "auth": {"type": "bearer", "token": "env:SHOP_TOKEN"},
}  # fmt: skip
VALID: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("post", "/datasource"): [
        {"source_type": "faker", "name": "n", "workspace_name": "main", "source_config": {"password": "p"}},
        {"source_type": "api", "name": "n", "workspace_name": "main", "source_config": {"base_url": "http://127.0.0.1:1", "streams": {"o": {"path": "/o", "items": "data"}}, "api_token": "t"}},
        {"source_type": "postgres", "name": "n", "workspace_name": "main", "source_config": {"host": "h", "username": "u", "password": "p", "database": "d", "schema": "s", "tables": ["t"]}},
        {"source_type": "mysql", "name": "n", "workspace_name": "main", "source_config": {"host": "h", "username": "u", "password": "env:SHOP", "database": "d"}},
        {"source_type": "kafka", "name": "n", "workspace_name": "main", "source_config": {"topics": ["events.orders"], "bootstrap_servers": "broker:9092"}},
    ],
    ("post", "/sink"): [{"name": "n", "workspace_name": "main", "destination_config": {"s3_bucket_name": "b", "s3_bucket_path": "p/", "s3_bucket_region": "r", "aws_access_key_id": "k", "aws_secret_access_key": "s"}}],
    ("post", "/ingestion"): [{"source_id": "sources-1", "destination_id": "destinations-1", "workspace_name": "main", "connection_name": "n", "schedule": "0 * * * *"}],
    **{("post", path): [SQL] for path in ("/transform", "/spark/transform", "/transformation")},
    ("post", "/dbt/transform"): [{"sql_query": "select 1 as id", "output_table": "gold.made", "key": ["id"], "workspace_name": "main"}],
    ("post", "/feast/features"): [{"name": "made", "entities": ["id"], "source": {"table_name": "mine", "schema": "gold", "timestamp_field": ""}, "features": ["x"], "description": "d", "workspace_name": "main"}],
    ("post", "/feast/features/{name}/online"): [{"entities": {"id": [1]}}, {"entities": {"id": ["a"]}}],
    ("post", "/mlops/inference"): [{"model_name": "mine", "inputs": {"x": ["a"]}}],
    ("post", "/mlops/training/upload"): [{"script_content": base64.b64encode(b"model = None").decode(), "model_name": "made", "features": ["mine"], "labels": "", "workspace_name": "main"}],
    ("post", "/api/v1/ingestions"): [
        {"name": "made", **FILES, **CRON},
        {"name": "made", "type": "api", "source": API, "workspace_name": "main"},
        {"name": "made", "type": "database", "source": {"database": SERVER, "tables": [{"table": "t", "key": ["id"], "load": {"type": "snapshot"}}]}, "workspace_name": "main"},
        {"name": "made", "type": "stream", "source": {"topic": "events.orders"}, "workspace_name": "main"},
    ],
    ("post", "/api/v1/ingestions/test"): [{"name": "made", **FILES}],
    ("post", "/api/v1/ingestions/estimate-cost"): [{"name": "made", **FILES, **CRON}],
    ("put", "/api/v1/ingestions/{ingestion_id}"): [{**FILES, **CRON}],
    ("post", "/api/v1/ingestions/{ingestion_id}/run"): [{"refresh": "changed", "partitions": "2026-10-05", "dry_run": True}],
    ("post", "/api/v1/ingestions/{ingestion_id}/pause"): [{"reason": "r"}],
    ("post", "/api/v1/ingestions/{ingestion_id}/schema/changes"): [{"column": "c", "decision": "accept"}],
}  # fmt: skip
