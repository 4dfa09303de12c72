"""Clusters over REST: what is listed, who sees it, and connections that are tried for real."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import httpx
import pytest
from fastapi import FastAPI

from asgard_assets.gateway.platform import Platform
from asgard_assets.settings import Settings, SparkConnect
from tests.end_to_end.homes import free_port
from tests.gateway.conftest import Keys

ROOT = "/api/v1/clusters"


@pytest.fixture
def server_port() -> Iterator[int]:
    """A port at which something speaks gRPC."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(0)


def named(app: FastAPI, platform: Platform, **clusters: SparkConnect) -> None:
    settings = platform.settings.model_copy(update={"clusters": clusters})
    app.state.platform = replace(platform, settings=settings)


def test_runs_start_at_the_launcher_s_place(client: httpx.Client):
    found = client.get(ROOT).json()
    assert [(one["id"], one["type"], one["used"]) for one in found["clusters"]] == [("local", "local", True)]
    assert client.post(f"{ROOT}/local/test-connection").json()["ok"]
    assert (
        client.get(f"{ROOT}/moon").status_code
        == client.post(f"{ROOT}/moon/test-connection").status_code
        == 404
    )


def test_what_is_no_spark_connect_server_is_told(
    app: FastAPI, client: httpx.Client, platform: Platform, server_port: int
):
    other = SparkConnect(address=f"127.0.0.1:{server_port}")
    named(app, platform, big=other, gone=SparkConnect(address=f"127.0.0.1:{free_port()}"))
    for cluster in ("big", "gone"):
        told = client.post(f"{ROOT}/{cluster}/test-connection").json()
        assert not told["ok"] and f"{cluster} in ASGARD_CLUSTERS" in told["reason"]
    body = {"name": "a", "source": {"path": "a"}, "cluster": "big"}
    refused = client.post("/api/v1/ingestions", json=body)
    assert refused.status_code == 422 and "used: true" in refused.text


def test_the_launcher_s_spark_connect_server_is_where_runs_start(
    app: FastAPI, client: httpx.Client, platform: Platform
):
    there = {"launcher": "connect", "spark_connect": f"sc://127.0.0.1:{free_port()}"}
    app.state.platform = replace(platform, settings=platform.settings.model_copy(update=there))
    (found,) = client.get(ROOT).json()["clusters"]
    assert (found["type"], found["used"], found["address"]) == ("spark-connect", True, there["spark_connect"])
    told = client.post(f"{ROOT}/local/test-connection").json()
    assert not told["ok"] and "ASGARD_SPARK_CONNECT" in told["reason"]


def test_the_default_port_is_that_of_the_setting(app: FastAPI, client: httpx.Client, platform: Platform):
    named(app, platform, big=SparkConnect(address="spark.example.com"))
    assert client.get(f"{ROOT}/big").json()["address"] == "spark.example.com:15002"


def test_a_cluster_of_a_workspace_is_not_there_for_others(
    app: FastAPI, client: httpx.Client, platform: Platform, key: Keys
):
    named(app, platform, big=SparkConnect(address="h", workspaces=("main",)))
    mine, other = key("viewer", "main"), key("viewer", "other")
    assert client.get(f"{ROOT}/big", headers=mine).status_code == 200
    assert client.get(f"{ROOT}/big", headers=other).status_code == 404
    assert client.get(ROOT, headers=other).json()["total"] == 1


def test_the_document_s_names_of_settings_are_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPARK_CONNECT_DEFAULT_PORT", "15003")
    monkeypatch.setenv("ASGARD_CLUSTERS", '{"big": {"address": "h", "tls": true}}')
    found = Settings()
    assert found.spark_connect_port == 15003 and found.clusters["big"].tls
    assert (found.cost_per_dbu_hour, found.storage_cost_per_gb) == (0.40, 0.023)
