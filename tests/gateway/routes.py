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
    client: httpx.Client, route: Route, headers: dict[str, str], values: dict[str, str]
) -> httpx.Response:
    path = route.path.format(**{name: values.get(name, "nothing") for name in route.parameters})
    body = {} if route.method in ("post", "put", "patch") else None
    return client.request(route.method, path, json=body, headers=headers)


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


BODIES: dict[str, dict[str, Any]] = {
    "NewAutoload": {"name": "n", "source": {"path": "n"}},
    "Tried": {"source": {"path": "n"}},
    "Estimated": {"source": {"path": "n"}},
    "NewSource": {"source_type": "faker", "name": "n", "source_config": {}},
    "NewSink": {"name": "n", "destination_config": {"s3_bucket_name": "b"}},
    "NewIngestion": {"source_id": "s", "destination_id": "d"},
    "NewTransform": {"sql": "select 1 as n"},
    "NewModel": {"sql_query": "select 1 as n"},
    "NewFeatures": {"name": "n", "source": {"table_name": "t"}},
    "NewTraining": {"script_content": "eA==", "model_name": "n"},
}
