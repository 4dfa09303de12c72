"""Postgres, MySQL and Kafka as sources of the API: made, listed, connected; then each stream is a table to select from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pyarrow as pa
import pytest

from asgard_assets.components.platform.sources import managed_sources
from asgard_assets.errors import ConfigError, NotFoundError
from asgard_assets.gateway.platform import Platform
from asgard_assets.ingest.sql import listing
from asgard_assets.operations.serving.features import WantedView
from asgard_assets.operations.transforms.submissions import Outcome
from asgard_assets.operations.transforms.submit import Wanted, submit
from asgard_assets.transforms.managed import load

CONFIG = {
    "host": "localhost",
    "port": 5432,
    "username": "user",
    "password": "canary-password",
    "database": "mydb",
}


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {"Orders": ("id",), "log": ()}
    monkeypatch.setattr(listing, "tables_of", lambda server, schema, name: found)
    return found


def made(client: httpx.Client, kind: str = "postgres", **config: Any) -> dict[str, Any]:
    body = {"source_type": kind, "name": "My Source", "source_config": CONFIG | config}
    answer = client.post("/datasource", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_a_database_is_a_source_whose_password_nobody_sees_again(
    client: httpx.Client, platform: Platform, kind: str
):
    source = made(client, kind)
    assert (source["source_type"], source["name"], source["workspace_name"]) == (kind, "My Source", "default")
    shown = client.get("/datasource").text
    assert source["source_id"] in shown and "canary" not in shown + str(source)
    kept = [path for path in Path(platform.lake.root).rglob("*.json") if "canary" in path.read_text()]
    (secret,) = (platform.settings.home / "gateway" / "secrets").iterdir()
    assert not kept and secret.read_text() == "canary-password" and secret.stat().st_mode & 0o777 == 0o600


def test_a_password_may_be_a_reference(client: httpx.Client, platform: Platform):
    made(client, password="env:SHOP_PASSWORD")
    assert not (platform.settings.home / "gateway" / "secrets").exists()


def test_in_production_a_password_is_a_reference(client: httpx.Client, platform: Platform):
    object.__setattr__(
        platform.databases, "settings", platform.settings.model_copy(update={"env": "production"})
    )
    body = {"source_type": "postgres", "name": "s", "source_config": CONFIG}
    answer = client.post("/datasource", json=body)
    assert answer.status_code == 422 and "env:SHOP_PASSWORD" in answer.json()["detail"]
    assert "canary" not in answer.text and not (platform.settings.home / "gateway" / "secrets").exists()
    made(client, password="env:SHOP_PASSWORD")


@pytest.mark.parametrize(
    "config", [{"host": ""}, {"port": 0}, {"replication": "cdc"}, {"username": ""}, {"tls": "perhaps"}]
)
def test_what_cannot_be_a_database_is_refused_by_its_field(client: httpx.Client, config: dict[str, Any]):
    body = {"source_type": "postgres", "name": "s", "source_config": CONFIG | config}
    answer = client.post("/datasource", json=body)
    assert (
        answer.status_code == 422
        and "source_config" in answer.json()["detail"]
        and "canary" not in answer.text
    )


def test_its_tables_become_assets_streams_and_runs(
    client: httpx.Client, platform: Platform, sink: dict[str, Any], tables: dict[str, Any]
):
    source = made(client)
    given = {
        "source_id": source["source_id"],
        "destination_id": sink["destination_id"],
        "schedule": "0 3 * * *",
    }
    answer = client.post("/ingestion", json=given)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert told["status"] == "SUBMITTED" and told["streams"] == ["orders", "log"]
    waiting = {one.table: one.run_id for one in platform.queue.waiting()}
    assert set(waiting) == {"bronze/my_source_orders", "bronze/my_source_log"}
    assert client.get("/transform/jobs").json()["jobs"] == []
    defs = managed_sources(dg.Definitions(), platform.lake)
    keys = {key.to_user_string() for asset in defs.assets or () for key in asset.keys}  # pyright: ignore
    assert keys == set(waiting) and [s.name for s in defs.schedules or ()] == ["pull_my_source"]

    def status() -> dict[str, Any]:
        return client.get(f"/ingestion/{told['connection_id']}/status").json()

    assert status()["status"] == "SUBMITTED" and status()["next_sync"]
    for run_id in waiting.values():
        platform.submissions.finish(run_id, Outcome(True, 1_790_000_000.0))
    assert status()["status"] == "COMPLETED" and status()["last_sync"].startswith("2026-")
    sql = {"sql": "select * from orders o join log l on true", "workspace_name": "default"}
    assert client.post("/transform", json=sql).status_code == 202
    again = client.post("/ingestion", json=given)
    assert again.status_code == 409


def test_a_stream_is_also_a_table_of_bronze_and_only_of_its_workspace(
    client: httpx.Client, platform: Platform, sink: dict[str, Any], tables: dict[str, Any]
):
    source = made(client)
    given = {"source_id": source["source_id"], "destination_id": sink["destination_id"]}
    assert client.post("/ingestion", json=given).status_code == 201
    rows = pa.table({"id": [1]})
    staging = platform.lake.stage("bronze", "my_source_log", rows.schema, whole=True)
    platform.lake.write(staging, rows)
    platform.lake.publish(staging)
    for named in ("log", "bronze.log", "bronze.my_source_log"):
        run = client.post("/transform", json={"sql": f"select * from {named}"}).json()
        assert run["status"] == "submitted", run
        kept = load(platform.lake, run["output_table"].partition(".")[2]).transform
        assert [view.table for view in kept.reads] == ["bronze/my_source_log"]
    wanted = Wanted("select * from bronze.my_source_log", workspace="main", account="ann")
    with pytest.raises(ConfigError, match="bronze.my_source_log is no table that this workspace may read"):
        submit(wanted, platform.lake, platform.airbyte, platform.submissions)
    entities = {"name": "w", "table": "my_source_log", "stage": "bronze", "entities": ("id",)}
    with pytest.raises(NotFoundError):
        platform.features.add(WantedView(**entities, workspace="main"))


def test_a_table_that_is_not_there_is_named(
    client: httpx.Client, sink: dict[str, Any], tables: dict[str, Any]
):
    source = made(client, tables=["nope"])
    given = {"source_id": source["source_id"], "destination_id": sink["destination_id"]}
    answer = client.post("/ingestion", json=given)
    assert answer.status_code == 422 and "Orders" in answer.json()["detail"]


def test_without_a_sink_nothing_is_connected(client: httpx.Client, tables: dict[str, Any]):
    given = {"source_id": made(client)["source_id"], "destination_id": "none"}
    assert client.post("/ingestion", json=given).status_code == 404


def test_topics_of_the_platforms_broker(client: httpx.Client, platform: Platform, sink: dict[str, Any]):
    body = {
        "source_type": "kafka",
        "name": "events",
        "source_config": {"bootstrap_servers": "broker:9092", "topics": ["events.orders"]},
    }
    source = client.post("/datasource", json=body).json()
    given = {"source_id": source["source_id"], "destination_id": sink["destination_id"]}
    told = client.post("/ingestion", json=given).json()
    assert told["streams"] == ["orders"]
    assert [one.table for one in platform.queue.waiting()] == ["bronze/events_events_orders"]
    elsewhere = {**body, "source_config": {"bootstrap_servers": "else:9092", "topic": "a"}}
    assert "ASGARD_KAFKA" in client.post("/datasource", json=elsewhere).json()["detail"]


def test_other_workspaces_see_nothing_of_it(
    client: httpx.Client, key: Callable[..., dict[str, str]], platform: Platform
):
    mine, theirs = key("editor", "main"), key("editor", "other")
    body = {"source_type": "postgres", "name": "s", "source_config": CONFIG, "workspace_name": "main"}
    assert client.post("/datasource", json=body, headers=mine).status_code == 201
    assert client.get("/datasource?workspace_name=other", headers=theirs).json()["total"] == 0
    assert client.get("/datasource?workspace_name=main", headers=mine).json()["total"] == 1


def test_what_a_status_says_fits_together_while_a_run_ends(
    client: httpx.Client,
    platform: Platform,
    sink: dict[str, Any],
    tables: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
):
    given = {"source_id": made(client)["source_id"], "destination_id": sink["destination_id"]}
    connection = client.post("/ingestion", json=given).json()["connection_id"]
    asked, read = list[str](), platform.submissions.outcome

    def ending(run_id: str) -> Outcome | None:
        """Each run has ended when it is looked at for the second time."""
        asked.append(run_id)
        return Outcome(True, 9e9) if asked.count(run_id) > 1 else read(run_id)

    monkeypatch.setattr(platform.submissions, "outcome", ending)
    found = client.get(f"/ingestion/{connection}/status").json()
    assert (found["status"], found["rows"], found["last_sync"]) == ("SUBMITTED", None, None)
