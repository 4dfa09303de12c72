"""Requests whose answer was lost are sent again with their Idempotency-Key: each thing is made once, each sync started once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from asgard_assets.components.platform.sources import ManagedIngestion, keep
from asgard_assets.gateway.accounts.gate import Gate
from asgard_assets.gateway.accounts.store import Accounts
from asgard_assets.gateway.app import create_app
from asgard_assets.gateway.platform import Platform
from asgard_assets.operations.ingestion.airbyte import Airbyte
from asgard_assets.operations.ingestion.repeats import Request
from asgard_assets.operations.transforms.queue import Queue
from asgard_assets.resources.airbyte import Unreachable
from tests.gateway.conftest import Keys, MemoryAirbyte

SOURCE = {"source_type": "faker", "name": "f", "source_config": {"password": "canary-of-the-source"}}
SINK = {"name": "s", "destination_config": {"s3_bucket_name": "b"}}
CALLS = ("declarative_sources", "/sources", "/destinations", "/connections", "/jobs")


class Ended:
    """An Airbyte that ends once, at a call that changes something: before it has worked on it, or before it could tell."""

    def __init__(self, airbyte: MemoryAirbyte, at: str, after: bool) -> None:
        self._airbyte, self._at, self._after, self.ended = airbyte, at, after, False

    def pages(self, path: str, **params: str) -> list[dict[str, Any]]:
        return self._airbyte.pages(path, **params)

    def ask(self, method: str, path: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        ends = not self.ended and method == "POST" and path.endswith(self._at)
        if ends and not self._after:
            self.ended = True
            raise Unreachable("Airbyte does not answer")
        told = self._airbyte.ask(method, path, data)
        if ends:
            self.ended = True
            raise Unreachable("Airbyte does not answer")
        return told


def send(client: httpx.Client, path: str, body: Mapping[str, Any], key: str = "k") -> httpx.Response:
    return client.post(path, json=body, headers={"Idempotency-Key": key})


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", CALLS)
def test_airbyte_ends_in_the_middle_of_each_call_and_nothing_is_made_twice(
    app: FastAPI, platform: Platform, client: httpx.Client, memory: MemoryAirbyte, at: str, after: bool
):
    broken = Ended(memory, at, after)
    app.state.platform = replace(platform, airbyte=lambda: Airbyte(broken))  # type: ignore[arg-type]
    source = (
        {"source_type": "api", "name": "f", "source_config": {"base_url": "https://x.example", "streams": {"o": {"path": "/o"}}}}
        if at == "declarative_sources"
        else SOURCE
    )  # fmt: skip
    made = dict[str, dict[str, Any]]()
    for path in ("/datasource", "/sink", "/ingestion"):
        body = {"/datasource": source, "/sink": SINK}.get(path) or {
            "source_id": made["/datasource"]["source_id"], "destination_id": made["/sink"]["destination_id"]
        }  # fmt: skip
        answer = send(client, path, body)
        if answer.status_code == 503:
            assert "Airbyte does not answer" in answer.json()["detail"]
            answer = send(client, path, body)
        assert answer.status_code == 201, answer.text
        assert send(client, path, body).json() == answer.json()
        made[path] = answer.json()
    assert broken.ended
    assert made["/ingestion"]["job_id"] == 1
    assert [len(memory.lists[name]) for name in ("/sources", "/destinations", "/connections", "/jobs")] == [
        1
    ] * 4
    assert client.get("/datasource").json()["total"] == 1


def test_a_key_is_for_one_request_of_one_account_and_without_a_key_each_request_makes_something(
    client: httpx.Client, memory: MemoryAirbyte, platform: Platform, key: Keys
):
    ann, bob = key("editor"), key("editor")
    for headers in (ann, bob):
        sent = [
            client.post("/sink", json=SINK, headers={**headers, "Idempotency-Key": "k"}) for _ in range(2)
        ]
        assert [one.status_code for one in sent] == [201, 201] and sent[0].json() == sent[1].json()
    other = client.post("/sink", json={**SINK, "name": "t"}, headers={**ann, "Idempotency-Key": "k"})
    assert other.status_code == 409 and "send a new key" in other.json()["detail"]
    assert client.post("/sink", json=SINK, headers=ann).status_code == 201
    assert len(memory.lists["/destinations"]) == 3
    body = {**SOURCE, "name": "canary"}
    assert client.post("/datasource", json=body, headers={**ann, "Idempotency-Key": "k"}).status_code == 201
    kept = [
        platform.lake.get(f"_managed/requests/{name}") for name in platform.lake.names("_managed/requests")
    ]
    assert len(kept) == 6 and not any(b"canary-of-the-source" in one for one in kept)


def test_while_a_request_is_worked_on_the_same_one_waits(client: httpx.Client, platform: Platform):
    request = Request("local", "k", "/sink", "")
    with platform.submissions.claimed(request.id):
        answer = send(client, "/sink", SINK)
    assert answer.status_code == 409 and "being worked on" in answer.json()["detail"]
    assert send(client, "/sink", SINK).status_code == 201


def test_what_a_gateway_kept_and_could_not_queue_is_queued_at_the_next_start(
    app: FastAPI, platform: Platform
):
    made = ManagedIngestion(
        connection_id="c" * 16, name="n", source_id="s", destination_id="d", workspace="default", tables={"a": "n_a", "b": "n_b"},
        created=1,
    )  # fmt: skip
    keep(platform.lake, made)
    for _ in range(2):
        with TestClient(app):
            assert sorted(one.table for one in platform.submissions.all()) == ["bronze/n_a", "bronze/n_b"]
        app = create_app(replace(platform, queue=Queue(platform.submissions, start=lambda _: None, seconds=60)), Gate(Accounts("sqlite://"), 1000))  # fmt: skip
