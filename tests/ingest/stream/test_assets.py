"""Streams in the asset graph: a fetch, a load and a sink as Dagster runs them, and the runs that the lag asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from asgard_assets.components.api import ApiIngestModel, topic_asset
from asgard_assets.components.stream import KafkaIngest, PostgresSink, lag_sensor, sink_asset, stream_asset
from asgard_assets.components.stream.caught_up import requested
from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.resources.lake import LakeResource
from asgard_assets.sinks.events import EventsSink
from deployments.local.streaming.postgres import Postgres
from tests.fakes.orders_feed import orders_feed

pytestmark = pytest.mark.servers
SOURCE = StreamSource(name="feed", topic="events.feed", description="Orders.")
SINK = EventsSink(name="feed", table="bronze/feed", url="env:SRC_POSTGRES", target="raw.feed")


def test_a_fetch_a_load_and_a_sink_are_one_graph(home: Path, brokers: Kafka, database: Postgres):
    today = datetime.now(UTC).date().isoformat()
    with dg.DagsterInstance.ephemeral() as instance, orders_feed(120) as feed:
        model = ApiIngestModel.model_validate(
            {"source": feed.document(name="feed", sink={"kafka": "events.feed"})}
        )
        assets = [topic_asset(model), stream_asset(SOURCE), sink_asset(SINK)]

        def run() -> dg.ExecuteInProcessResult:
            return dg.materialize(
                assets,
                partition_key=today,
                instance=instance,
                resources={"lake": LakeResource(root=str(home / "lake"))},
            )

        first = run()
        told = {
            event.asset_key.to_user_string(): event.materialization.metadata
            for event in first.get_asset_materialization_events()
            if event.asset_key
        }
        assert told["events/feed"]["sent"].value == 120
        assert told["bronze/feed"]["rows"].value == 120 and told["bronze/feed"]["lag"].value == 0
        assert told["postgres/feed"]["upserted"].value == 120
        assert all(check.passed for check in first.get_asset_check_evaluations())
        assert run().success


def test_a_sensor_asks_for_a_run_while_records_wait(home: Path, brokers: Kafka):
    from confluent_kafka import Producer

    source = StreamSource(name="waiting", topic="events.waiting", description="Orders.")
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance)
        assert "has no topic events.waiting" in str(requested(context, source))
        brokers.make_topic(source.topic, 1)
        assert "nothing waits" in str(requested(context, source))
        producer = Producer(brokers.config())
        producer.produce(source.topic, b"{}", key="k")
        producer.flush()
        asked = requested(context, source)
        assert isinstance(asked, dg.SensorResult) and asked.run_requests
        assert asked.run_requests[0].partition_key == datetime.now(UTC).date().isoformat()
        away = requested(context, source, Kafka("127.0.0.1:1", wait_seconds=1))
        assert isinstance(away, dg.SkipReason) and "Check ASGARD_KAFKA" in str(away)
        assert lag_sensor(source).name == "waiting_lag"


def test_a_stream_and_a_sink_say_what_they_read():
    stream = stream_asset(SOURCE)
    assert stream.asset_deps[dg.AssetKey(["bronze", "feed"])] == {dg.AssetKey(["events", "feed"])}
    assert sink_asset(SINK).asset_deps[dg.AssetKey(["postgres", "feed"])] == {dg.AssetKey(["bronze", "feed"])}
    assert KafkaIngest.get_model_cls() is StreamSource and PostgresSink.get_model_cls() is EventsSink
