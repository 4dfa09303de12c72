"""Every route, by every role and from every workspace. The rules are read from the app: a route without one fails here."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pyarrow as pa
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from asgard_assets.gateway.accounts.roles import ROLES, May
from asgard_assets.gateway.platform import Platform
from asgard_assets.settings import SparkConnect
from tests.gateway.conftest import Keys

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


def test_every_route_says_what_its_caller_must_be_allowed_to_do(app: FastAPI):
    for route in routes(app):
        assert len(route.actions) == (0 if route.path in FOR_ALL else 1), f"{route.method} {route.path}"
        if route.method not in ("get", "post"):
            assert route.actions != (May.read,), f"{route.method} {route.path} changes something"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_does_what_it_may_and_no_more(app: FastAPI, client: httpx.Client, key: Keys, role: str):
    headers = key(role)
    for route in routes(app):
        status = send(client, route, headers, {}).status_code
        refused = any(action not in ROLES[role] for action in route.actions)
        assert (status == 403) == refused, f"{role}: {route.method} {route.path} answers {status}"
        assert status != 500, f"{route.method} {route.path}"


def test_without_a_key_every_route_is_closed(app: FastAPI, client: httpx.Client, key: Keys):
    key("viewer")
    for route in routes(app):
        status = send(client, route, {}, {}).status_code
        assert (status == 401) == (route.path not in FOR_ALL), f"{route.method} {route.path} answers {status}"
    assert all(client.get(path).status_code == 401 for path in PAGES)


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


def test_what_belongs_to_a_workspace_is_not_there_for_others(
    platform: Platform, app: FastAPI, client: httpx.Client, key: Keys
):
    admin, insider, outsider = key("admin"), key("viewer", "main"), key("admin", "other")
    mine = SparkConnect(address="h", workspaces=("main",))
    app.state.platform = replace(
        platform, settings=platform.settings.model_copy(update={"clusters": {"mine": mine}})
    )
    known = things(platform, client, admin)
    for route in routes(app):
        if not route.parameters or route.method != "get":
            continue
        there = next((found for path, found in known.items() if route.path.startswith(f"{path}/")), {})
        values = {name: value for name, value in there.items() if name in route.parameters}
        assert route.parameters == set(values), f"say here which {route.path} there is in the workspace main"
        told = send(client, route, outsider, values)
        assert told.status_code == 404, f"{route.path} answers {told.status_code} to another workspace"
        told = send(client, route, insider, values)
        assert told.status_code == 200, f"{route.path} answers {told.status_code} to its own: {told.text}"


def test_a_list_shows_nothing_of_another_workspace(
    platform: Platform, app: FastAPI, client: httpx.Client, key: Keys
):
    admin, outsider = key("admin"), key("admin", "other")
    things(platform, client, admin)
    for route in routes(app):
        if route.method == "get" and not route.parameters and route.path not in FOR_ALL | {"/metrics"}:
            told = client.get(route.path, params={"workspace_name": "other"}, headers=outsider)
            assert told.status_code == 200, f"{route.path}: {told.text}"
            assert "mine" not in told.text and '"main"' not in told.text, f"{route.path}: {told.text}"


def test_nothing_is_made_in_another_workspace(app: FastAPI, client: httpx.Client, key: Keys):
    headers = key("admin", "other")
    paths = app.openapi()["paths"]
    schemas, seen = app.openapi()["components"]["schemas"], 0
    for path, found in paths.items():
        content = found.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        schema = schemas[content["schema"]["$ref"].rsplit("/", 1)[1]]
        if "workspace_name" in schema["properties"]:
            body = BODIES[schema["title"]] | {"workspace_name": "main"}
            assert client.post(path, json=body, headers=headers).status_code == 403, path
            seen += 1
    assert seen >= 8


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
