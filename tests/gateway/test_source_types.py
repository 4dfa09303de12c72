"""MySQL and Kafka as sources of a running gateway: their rows are in Bronze. APIs and Postgres are in the two walk-throughs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer

from asgard_assets.errors import ConfigError
from deployments.local.streaming.kafka import Broker, kafka
from tests.end_to_end.homes import Home
from tests.gateway.servers import airbyte, gateway
from tests.gateway.test_walkthrough import ended
from tests.required import missing
from tests.servers.mariadb import MariaDb, mariadb

pytestmark = [pytest.mark.servers, pytest.mark.timeout(1200)]


@dataclass(frozen=True)
class World:
    home: Home
    client: httpx.Client
    shop: MariaDb
    broker: Broker


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("sources")
    home = Home(folder / "home")
    home.path.mkdir()
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(kafka(folder / "broker"))
        except ConfigError as error:
            missing(str(error))
        shop = stack.enter_context(mariadb())
        stack.enter_context(airbyte(home))
        settings = {
            "ASGARD_KAFKA": broker.address,
            "ASGARD_PARTITION_END": "",
            "ASGARD_PARTITION_START": "2026-10-05",
        }
        yield World(home, stack.enter_context(gateway(home, **settings)), shop, broker)


def loaded(world: World, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """How the ingestion of a source ended."""
    client = world.client
    source = client.post(
        "/datasource", json={"source_type": kind, "name": f"the {kind}", "source_config": config}
    )
    assert source.status_code == 201, source.text
    bucket = {"s3_bucket_name": "data-lake", "s3_bucket_path": "bronze/"}
    sink = client.post("/sink", json={"name": kind, "destination_config": bucket}).json()
    ids = {"source_id": source.json()["source_id"], "destination_id": sink["destination_id"]}
    made = client.post("/ingestion", json=ids)
    assert made.status_code == 201, made.text
    return ended(client, f"/ingestion/{made.json()['connection_id']}/status")


def test_the_tables_of_a_mysql_database_are_loaded(world: World):
    world.shop.run(
        "create table orders (id int primary key, note varchar(20))", "insert into orders values (1, 'a'), (2, 'ü'), (3, null)"
    )  # fmt: skip
    config = {"host": "127.0.0.1", "port": world.shop.port, "username": world.shop.user, "password": world.shop.password, "database": "shop"}  # fmt: skip
    found = loaded(world, "mysql", config)
    assert (found["status"], found["rows"]) == ("COMPLETED", 3), found
    with world.home.lake.connect() as lake:
        rows = lake.execute("select id, note from bronze.the_mysql_orders order by id").fetchall()
    assert rows == [(1, "a"), (2, "ü"), (3, None)]


def test_the_records_of_a_topic_are_loaded(world: World):
    producer = Producer({"bootstrap.servers": world.broker.address})
    for number in range(5):
        producer.produce("events.orders", json.dumps({"id": number, "amount": number * 1.5}))
    assert producer.flush(60) == 0
    found = loaded(world, "kafka", {"topics": ["events.orders"]})
    assert (found["status"], found["rows"]) == ("COMPLETED", 5), found
    with world.home.lake.connect() as lake:
        [(count,)] = lake.execute("select count(*) from bronze.the_kafka_events_orders").fetchall()
    assert count == 5
