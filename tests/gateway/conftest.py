"""An app over an Airbyte in memory, with runs that never start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from asgard_assets.gateway.accounts.gate import Gate
from asgard_assets.gateway.accounts.store import Accounts
from asgard_assets.gateway.app import create_app
from asgard_assets.gateway.platform import Platform
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.lake import Lake
from asgard_assets.operations.autoloader.estimates import Estimates
from asgard_assets.operations.autoloader.ingestions import Ingestions
from asgard_assets.operations.autoloader.runs import IngestionRuns
from asgard_assets.operations.ingestion.airbyte import Airbyte
from asgard_assets.operations.ingestion.databases import Databases
from asgard_assets.operations.metrics.watch import Watch
from asgard_assets.operations.serving.features import Features
from asgard_assets.operations.serving.predictions import Models
from asgard_assets.operations.serving.products import Products
from asgard_assets.operations.serving.trainings import Trainings
from asgard_assets.operations.transforms.follow import Runs
from asgard_assets.operations.transforms.queue import Queue
from asgard_assets.operations.transforms.submissions import Submissions
from asgard_assets.resources.airbyte import Refused
from asgard_assets.settings import Settings

WORKSPACE = "w-1"


class MemoryAirbyte:
    """Airbyte's public API, in memory: what is made is there, and every sync has ended."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {
            "/workspaces": [{"workspaceId": WORKSPACE, "name": "main"}, {"workspaceId": "w-2", "name": "other"}],
            "/sources": [], "/destinations": [], "/connections": [], "/jobs": [],
        }  # fmt: skip
        self.sent: list[tuple[str, Mapping[str, Any]]] = []

    def pages(self, path: str, **params: str) -> list[dict[str, Any]]:
        return [
            one
            for one in self.lists[path]
            if params.get("connectionId", one.get("connectionId")) == one.get("connectionId")
        ]

    def ask(self, method: str, path: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self.sent.append((path, data or {}))
        if method == "GET":
            found = [one for one in self.lists["/connections"] if path.endswith(str(one["connectionId"]))]
            if not found:
                raise Refused("no such connection", 404)
            return found[0]
        assert data is not None
        if (data.get("configuration") or {}).get("sourceType") == "mongodb":
            raise Refused("connector is not installed", 501)
        if path.endswith("declarative_sources"):
            return {"id": "definition-1"}
        return self._made(path, data)

    def _made(self, path: str, data: Mapping[str, Any]) -> dict[str, Any]:
        ids = {
            "/sources": "sourceId",
            "/destinations": "destinationId",
            "/connections": "connectionId",
            "/jobs": "jobId",
        }
        number = len(self.lists[path]) + 1
        made = {
            "workspaceId": WORKSPACE,
            "createdAt": number,
            "status": "active",
            "destinationType": "s3",
            **data,
        }
        made[ids[path]] = number if path == "/jobs" else f"{path.strip('/')}-{number}"
        if path == "/jobs":
            made |= {"status": "succeeded", "lastUpdatedAt": "2026-10-05T00:00:00Z", "rowsSynced": 3}
        if path == "/connections":
            made["configurations"] = {"streams": [{"name": "orders"}, {"name": "customers"}]}
        self.lists[path].append(made)
        return made


@pytest.fixture
def memory() -> MemoryAirbyte:
    return MemoryAirbyte()


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    found = Accounts(f"sqlite:///{tmp_path / 'accounts.db'}")
    yield found
    found.close()


@pytest.fixture
def platform(tmp_path: Path, memory: MemoryAirbyte) -> Iterator[Platform]:
    submissions = Submissions(tmp_path / "runs")
    queue = Queue(submissions, start=lambda _: SimpleNamespace(poll=lambda: None), seconds=60)
    with dg.DagsterInstance.ephemeral() as instance:
        runs = Runs(submissions, instance, fresh_seconds=0)
        yield Platform(
            Settings(home=tmp_path / "home"),
            Lake(str(tmp_path / "lake")),
            lambda: Airbyte(memory),  # type: ignore[arg-type]
            submissions,
            Runs(submissions, instance, fresh_seconds=0),
            queue,
            Products(Lake(str(tmp_path / "lake")), "team:data-platform", ("email",)),
            Models(Settings(home=tmp_path / "home", lake=str(tmp_path / "lake"))),
            Databases(
                Lake(str(tmp_path / "lake")),
                Settings(home=tmp_path / "home", kafka="broker:9092"),
                submissions,
            ),
            Features(
                Lake(str(tmp_path / "lake")),
                Settings(home=tmp_path / "home"),
                submissions,
                dict,
                ("email",),
            ),
            Trainings(
                Lake(str(tmp_path / "lake")),
                Settings(home=tmp_path / "home", gateway_training=True),
                submissions,
                runs,
                dict,
            ),
            Watch(
                instance, Lake(str(tmp_path / "lake")), Kafka("broker:9092"), lambda: runs.totals().by_state
            ),
            Ingestions(Lake(str(tmp_path / "lake")), Landing(str(tmp_path / "landing"))),
            IngestionRuns(Lake(str(tmp_path / "lake")), submissions, instance),
            Estimates(
                Lake(str(tmp_path / "lake")),
                Landing(str(tmp_path / "landing")),
                Settings(home=tmp_path / "home"),
                instance,
            ),
        )


@pytest.fixture
def app(platform: Platform, accounts: Accounts) -> FastAPI:
    return create_app(platform, Gate(accounts, 1000))


@pytest.fixture
def client(app: FastAPI) -> Iterator[httpx.Client]:
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as found:
        yield found


@pytest.fixture
def sink(client: httpx.Client) -> dict[str, Any]:
    """A sink with one ingestion: the streams orders and customers."""
    source = client.post(
        "/datasource", json={"source_type": "faker", "name": "f", "source_config": {}}
    ).json()
    body = {"name": "s", "destination_config": {"s3_bucket_name": "data-lake", "s3_bucket_path": "bronze/"}}
    sink = client.post("/sink", json=body).json()
    given = {"source_id": source["source_id"], "destination_id": sink["destination_id"]}
    assert client.post("/ingestion", json=given).status_code == 201
    return sink


Keys = Callable[..., dict[str, str]]


@pytest.fixture
def key(accounts: Accounts) -> Keys:
    """Make an account; gives the headers that log it in."""

    def make(role: str, *workspaces: str) -> dict[str, str]:
        name = f"{role}-{len(accounts.list())}"
        accounts.add(name, role, workspaces or ("*",))
        return {"Authorization": f"Bearer {accounts.new_key(name)}"}

    return make
