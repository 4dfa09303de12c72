"""Every route, by every role and from every workspace. The rules are read from the app: a route without one fails here."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI

from asgard_assets.gateway.accounts.roles import ROLES, May
from asgard_assets.gateway.platform import Platform
from asgard_assets.settings import SparkConnect
from tests.gateway.conftest import Keys
from tests.gateway.routes import FOR_ALL, PAGES, VALID, routes, send, things


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
        if not route.parameters:
            continue
        there = next((found for path, found in known.items() if route.path.startswith(f"{path}/")), {})
        values = {name: value for name, value in there.items() if name in route.parameters}
        assert route.parameters == set(values), f"say here which {route.path} there is in the workspace main"
        if route.path.startswith("/ui/") and route.method == "post":
            token = app.state.sessions.form_token("")
            form = {"form_token": token, "column": "c", "decision": "accept"}
            told = client.post(route.path.format(**values), data=form, headers=outsider)
        else:
            told = send(client, route, outsider, values, VALID.get((route.method, route.path), [{}])[0])
        # 403: its body names the workspace
        assert told.status_code == (403 if route.method == "put" else 404), (
            f"{route}: {told.status_code} {told.text}"
        )
        if route.method == "get":
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
    headers, seen = key("admin", "other"), 0
    for (method, path), bodies in VALID.items():
        for body in bodies if "{" not in path else ():
            if "workspace_name" in body:
                answer = client.request(method, path, json=body, headers=headers)
                assert answer.status_code == 403, f"{path}: {answer.status_code}"
                seen += 1
    assert seen >= 18
    with_body = {(method, path) for path, found in app.openapi()["paths"].items() for method, one in found.items() if "requestBody" in one}  # fmt: skip
    assert with_body == VALID.keys()
