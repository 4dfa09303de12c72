"""What monitoring ships, against a real Prometheus: rules, and every query of every panel on real data."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pyarrow as pa
import pytest

from asgard_assets.components.api import ApiIngestModel, api_asset, topic_asset
from asgard_assets.components.stream import stream_asset
from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.lake import Lake
from asgard_assets.operations.metrics.serve import serving
from asgard_assets.operations.metrics.watch import Watch
from asgard_assets.resources.lake import LakeResource
from deployments.local.streaming.postgres import Postgres
from deployments.monitoring import dashboards
from tests.fakes.orders_feed import Feed, orders_feed
from tests.patience import wait_until
from tests.servers.prometheus import Prometheus, prometheus, promtool

SOURCE = StreamSource(name="watched", topic="events.watched", description="Orders.")
NOTHING = dg.ResourceDefinition.none_resource()


def test_the_dashboards_are_those_that_the_code_makes():
    for path, text in dashboards.files().items():
        assert path.read_text() == text, "run: python -m deployments.monitoring.dashboards"


@pytest.mark.servers
def test_configuration_and_rules_hold():
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


def run(instance: dg.DagsterInstance, home: Path, feed: Feed) -> None:
    """A fetch, its stream, and an API's table, as Dagster runs them."""
    document = feed.document(name="orders_table", sink={"table": "bronze/orders_table"})
    document["execution"] = {"run_in": "process"}
    topic = ApiIngestModel.model_validate(
        {"source": feed.document(name="watched", sink={"kafka": SOURCE.topic})}
    )
    table = ApiIngestModel.model_validate({"source": document})
    for asset in (topic_asset(topic), stream_asset(SOURCE), api_asset(table)):
        resources = {
            "lake": LakeResource(root=str(home / "lake")),
            "spark": NOTHING,
            "step_launcher": NOTHING,
        }
        today = datetime.now(UTC).date().isoformat()
        assert dg.materialize([asset], instance=instance, resources=resources, partition_key=today).success


def set_aside(lake: Lake, stage: str) -> None:
    """A row that a stage has set aside."""
    staging = lake.stage(
        stage, "watched", pa.schema([("reason", pa.string()), ("ds", pa.string())]), ["2026-10-05"]
    )
    lake.write(staging, pa.table({"reason": ["broken"], "ds": ["2026-10-05"]}))
    lake.publish(staging)


@pytest.mark.servers
def test_every_query_of_every_panel_has_series_of_real_data(
    home: Path, brokers: Kafka, database: Postgres, tmp_path: Path
):
    lake = Lake(str(home / "lake"))
    with psycopg2.connect(database.url) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_create_physical_replication_slot('watched', true)")
    with dg.instance_for_test() as instance, orders_feed(120) as feed:
        run(instance, home, feed)
        set_aside(lake, "rejected")
        watch = Watch(instance, lake, brokers, lambda: {"SUBMITTED": 1}, {"src": "env:SRC_POSTGRES"}, 0.2)
        with serving(watch, "127.0.0.1", 0) as address:
            target = address.removeprefix("http://").removesuffix("/metrics")
            with prometheus(tmp_path / "prometheus", [target]) as server:
                wait_until(lambda: server.query("asgard_runs"), 20, "the first scrape")
                feed.add(80)
                run(instance, home, feed)
                wait_until(
                    lambda: value(server, 'asgard_asset_rows_total{asset="bronze/watched"}') == 200,
                    30,
                    "the second run is seen",
                )
                time.sleep(3)  # a few scrapes and evaluations of the rules
                with contextlib.suppress(AssertionError):
                    wait_until(lambda: not silent(server), 5, "all panels have series")
                assert silent(server) == []
                assert value(server, 'asgard_replication_slot_active{slot="watched"}') == 0
                lag = 'sum(asgard_stream_lag_records{table="bronze/watched"})'
                assert value(server, lag) == 0
                assert value(server, 'asgard_table_rows{table="bronze/watched"}') == 200
                assert value(server, 'asgard_asset_memory_bytes{asset="bronze/watched"}') > 1 << 20
                assert value(server, 'asgard_asset_requests_total{asset="events/watched"}') >= 3


@pytest.mark.servers
def test_a_broker_and_a_database_that_are_away_spoil_no_other_figure(
    home: Path, brokers: Kafka, monkeypatch: pytest.MonkeyPatch
):
    lake = Lake(str(home / "lake"))
    with dg.instance_for_test() as instance, orders_feed(10) as feed:
        run(instance, home, feed)
        assert not dg.materialize([broken], instance=instance, raise_on_error=False).success
        away = {"src": "env:AWAY"}
        monkeypatch.setenv("AWAY", "postgresql://nobody@127.0.0.1:1/x")
        facts = Watch(instance, lake, Kafka("127.0.0.1:1"), databases=away).facts()
    assert set(facts.unread) == {"streams", "databases"}
    assert sorted(run.state for run in facts.runs) == ["failure", "success", "success", "success"]
    assert {table.table for table in facts.tables} == {"bronze/watched", "bronze/orders_table"}


@dg.asset
def broken() -> None:
    raise dg.Failure("it fails always", allow_retries=False)


def silent(server: Prometheus) -> list[str]:
    """Queries of panels, as the committed dashboards have them, that return no series."""
    return [query for query in queries() if not server.query(query.replace("$__rate_interval", "1m"))]


def queries() -> list[str]:
    panels: list[dict[str, Any]] = [
        panel for path in dashboards.files() for panel in json.loads(path.read_text())["panels"]
    ]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def value(server: Prometheus, expression: str) -> float:
    found = server.query(expression)
    return float(found[0]["value"][1]) if found else float("nan")
