"""Who may do what: every route, every role, every workspace; and what is written down of it."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from asgard_assets.errors import ConfigError, ConflictError, NotFoundError
from asgard_assets.gateway.accounts.gate import Gate
from asgard_assets.gateway.accounts.roles import ROLES, May
from asgard_assets.gateway.accounts.store import Accounts
from asgard_assets.gateway.problems import RefusedError
from tests.gateway.conftest import Keys

FOR_ALL = {"/health", "/health/ready"}
BODIES: dict[str, dict[str, Any]] = {
    "/datasource": {"source_type": "faker", "name": "f", "source_config": {}},
    "/sink": {"name": "s", "destination_config": {"s3_bucket_name": "b"}},
    "/ingestion": {"source_id": "x", "destination_id": "y"},
}


def actions(route: APIRoute) -> set[May]:
    """What a route demands of its caller."""
    return {part.call.action for part in route.dependant.dependencies if hasattr(part.call, "action")}  # type: ignore[union-attr]


def routes(app: FastAPI) -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute) and route.path not in FOR_ALL]


def test_every_route_names_what_its_caller_must_be_allowed(app: FastAPI):
    for route in routes(app):
        assert len(actions(route)) == 1, route.path
        if "POST" in route.methods and route.status_code != 501 and route.path != "/mlops/inference":
            assert actions(route) != {May.read}, route.path


def test_every_role_reaches_exactly_its_routes(app: FastAPI, client: httpx.Client, key: Keys):
    headers = {role: key(role) for role in ROLES}
    for route in routes(app):
        [action] = actions(route)
        path = (
            route.path.replace("{run_id}", "0badc0de").replace("{ingestion_id}", "x").replace("{name}", "x")
        )
        for method in route.methods:
            body = BODIES.get(path, {"sql": "select * from orders"}) if method == "POST" else None
            for role, allowed in ROLES.items():
                status = client.request(method, path, json=body, headers=headers[role]).status_code
                assert (status == 403) == (action not in allowed), (method, path, role, status)
            assert client.request(method, path, json=body).status_code == 401, (method, path)


def test_an_account_sees_its_own_workspaces_alone(client: httpx.Client, key: Keys):
    mine, other, admin = key("editor", "other"), key("editor", "main"), key("admin")
    for path, body in BODIES.items():
        assert client.post(path, json={**body, "workspace_name": "main"}, headers=mine).status_code == 403
        assert client.get(f"{path}?workspace_name=main", headers=mine).status_code == 403
        assert client.get(f"{path}?workspace_name=other", headers=mine).status_code == 200
    for name in ("/datasource", "/sink"):
        assert (
            client.post(name, json={**BODIES[name], "workspace_name": "main"}, headers=other).status_code
            == 201
        )
    ids = {
        "source_id": client.get("/datasource?workspace_name=main", headers=other).json()["datasources"][0][
            "source_id"
        ],
        "destination_id": client.get("/sink?workspace_name=main", headers=other).json()["sinks"][0][
            "destination_id"
        ],
    }
    made = client.post("/ingestion", json={**ids, "workspace_name": "main"}, headers=other).json()
    run = client.post(
        "/transform", json={"sql": "select * from orders", "workspace_name": "main"}, headers=other
    ).json()
    hidden = [f"/ingestion/{made['connection_id']}/status"]
    hidden += [f"/transform/{run['run_id']}/{what}" for what in ("status", "logs", "events", "metrics")]
    for path in hidden:
        assert client.get(path, headers=mine).status_code == 404, path
        assert client.get(path, headers=other).status_code == 200, path
        assert client.get(path, headers=admin).status_code == 200, path
    assert client.get("/transform/jobs", headers=mine).json()["total"] == 0
    assert client.get("/transform/jobs", headers=other).json()["total"] == 1
    read = {"sql": f"select * from {run['output_table']}", "workspace_name": "other"}
    assert "no table" in client.post("/transform", json=read, headers=mine).json()["detail"]
    stolen = {"sql": "select 1 as n", "output_table": run["output_table"], "workspace_name": "other"}
    assert client.post("/transform", json=stolen, headers=mine).status_code == 409


def test_with_accounts_the_pages_want_a_key_too_but_health_does_not(client: httpx.Client, key: Keys):
    headers = key("viewer")
    for path in ("/docs", "/redoc", "/openapi.json", "/nothing", "/metrics"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
    assert client.get("/openapi.json", headers=headers).status_code == 200
    assert client.get("/health").status_code == 200


def test_another_name_of_the_server_is_fine_where_everybody_logs_in(client: httpx.Client, key: Keys):
    headers = key("viewer") | {"Host": "asgard.example.com"}
    assert client.get("/datasource", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer x", "Basic YTpi", "Bearer asgard_000000000000_" + "a" * 43]
)
def test_no_valid_key_is_401(client: httpx.Client, key: Keys, value: str):
    key("viewer")
    assert client.get("/datasource", headers={"Authorization": value}).status_code == 401


def test_a_key_ends_by_time_by_being_revoked_and_with_its_account(tmp_path: Path):
    now = [1000.0]
    accounts = Accounts(f"sqlite:///{tmp_path / 'a.db'}", clock=lambda: now[0])
    accounts.add("ann", "editor", ("main",))
    first, second, third = (accounts.new_key("ann", days=1) for _ in range(3))
    found = accounts.caller(first)
    assert found is not None and (found.name, found.role, found.workspaces) == ("ann", "editor", ("main",))
    accounts.revoke(second.split("_")[1])
    assert accounts.caller(second) is None and accounts.caller(third) is not None
    now[0] += 86_400
    assert accounts.caller(first) is None
    fourth = accounts.new_key("ann")
    accounts.disable("ann")
    assert accounts.caller(fourth) is None
    accounts.close()


def test_of_a_key_only_the_hash_is_kept(tmp_path: Path):
    accounts = Accounts(f"sqlite:///{tmp_path / 'a.db'}")
    accounts.add("ann", "viewer")
    secret = accounts.new_key("ann").split("_", 2)[2]
    accounts.close()
    assert secret.encode() not in (tmp_path / "a.db").read_bytes()


def test_accounts_that_cannot_be_are_refused(accounts: Accounts):
    accounts.add("ann", "viewer")
    with pytest.raises(ConflictError):
        accounts.add("ann", "viewer")
    with pytest.raises(ConfigError, match="no role"):
        accounts.add("bob", "root")
    with pytest.raises(ConfigError, match="no account's name"):
        accounts.add("Bob'; --", "viewer")
    for call in (accounts.disable, accounts.new_key, accounts.revoke):
        with pytest.raises(NotFoundError):
            call("nobody")


def test_every_change_and_every_refusal_is_in_the_audit_log(
    client: httpx.Client, accounts: Accounts, key: Keys
):
    headers = key("viewer")
    client.post("/sink", json=BODIES["/sink"], headers=headers | {"X-Request-ID": "r-1"})
    client.post("/sink", json=BODIES["/sink"])
    client.get("/sink", headers=headers)
    assert [(e.account, e.action, e.status) for e in accounts.audit()] == [
        ("", "POST /sink", 401),
        ("viewer-0", "POST /sink", 403),
    ]
    assert accounts.audit()[1].request_id == "r-1"


def test_the_audit_log_is_only_added_to(accounts: Accounts, tmp_path: Path):
    accounts.note("ann", "r-1", "POST /sink", 201)
    with sqlite3.connect(tmp_path / "accounts.db") as database:
        for change in ("delete from gateway_audit", "update gateway_audit set account = 'bob'"):
            with pytest.raises(sqlite3.IntegrityError, match="only added to"):
                database.execute(change)
    assert accounts.audit()[0].account == "ann"


def test_a_line_of_the_audit_log_waits_for_another_writer(tmp_path: Path):
    accounts = Accounts(f"sqlite:///{tmp_path / 'accounts.db'}")
    other = sqlite3.connect(tmp_path / "accounts.db", check_same_thread=False)
    other.execute("begin immediate")
    threading.Timer(
        6, other.rollback
    ).start()  # a driver gives up after five seconds, unless it is told otherwise
    accounts.note("ann", "r-1", "POST /sink", 201)
    other.close()
    assert [entry.account for entry in accounts.audit()] == ["ann"]


def test_an_account_sends_so_many_requests_a_second(accounts: Accounts):
    now = [0.0]
    gate = Gate(accounts, 5, clock=lambda: now[0])
    accounts.add("ann", "viewer")
    login = f"Bearer {accounts.new_key('ann')}"
    for _ in range(5):
        gate.caller(login)
    with pytest.raises(RefusedError) as refused:
        gate.caller(login)
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    now[0] += 0.2
    gate.caller(login)
