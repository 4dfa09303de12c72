"""A topic becomes a table, against the mock brokers inside librdkafka: no server is started."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from pydantic import ValidationError

from asgard_assets.components.partitions import second_of
from asgard_assets.components.stream import stream_partitions
from asgard_assets.components.stream.caught_up import requested
from asgard_assets.errors import QualityError
from asgard_assets.ingest.stream.kafka import Kafka, Topic
from asgard_assets.ingest.stream.load import catch_up
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.lake import Lake
from asgard_assets.quality.tables import Check
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar
from tests.patience import patience


class MockKafka(Kafka):
    """The mock brokers answer readers and writers, and no questions about topics: those are asked by a reader."""

    def topic(self, name: str, committed: bool = True) -> Topic | None:
        level = "read_committed" if committed else "read_uncommitted"
        reader = Consumer(self.config(**{"group.id": "watermarks", "isolation.level": level}))
        try:
            parts = reader.list_topics(name, timeout=patience(10)).topics[name].partitions
            marks = {
                part: reader.get_watermark_offsets(TopicPartition(name, part), timeout=patience(10))
                for part in parts
            }
        finally:
            reader.close()
        return Topic(
            name,
            "id",
            {part: mark[0] for part, mark in marks.items()},
            {part: mark[1] for part, mark in marks.items()},
        )


@pytest.fixture
def brokers() -> Iterator[MockKafka]:
    mock = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0})
    found = mock.list_topics(timeout=patience(10)).brokers.values()
    yield MockKafka(",".join(f"{broker.host}:{broker.port}" for broker in found))
    mock.flush(0)


def send(brokers: Kafka, topic: str, count: int, value: bytes = b"{}") -> None:
    producer = Producer(brokers.config())
    for number in range(count):
        producer.produce(topic, value, key=f"k{number}")
    assert producer.flush(patience(10)) == 0


def test_batches_go_on_where_the_last_commit_ended(brokers: MockKafka, tmp_path: Path):
    lake = Lake(str(tmp_path))
    source = StreamSource(name="a", topic="events.a", description="Records.", max_offsets_per_batch=30)
    send(brokers, source.topic, 100)
    first = catch_up(lake, source, brokers, Calendar())
    assert (sum(first.rows.values()), first.batches >= 4, first.lag) == (100, True, 0)
    assert catch_up(lake, source, brokers, Calendar()).batches == 0
    send(brokers, source.topic, 5)
    send(brokers, source.topic, 3, b"{broken")
    again = catch_up(lake, source, brokers, Calendar())
    assert (sum(again.rows.values()), again.quarantined) == (5, {"not JSON": 3})
    with lake.connect() as connection:
        query = "select count(*), count(distinct (kafka_partition, kafka_offset)) from bronze.a"
        assert connection.sql(query).fetchall() == [(105, 105)]


def test_a_table_begins_at_the_end_of_its_topic_once(brokers: MockKafka, tmp_path: Path):
    lake = Lake(str(tmp_path))
    source = StreamSource(name="b", topic="events.b", description="Records.", starting="latest")
    send(brokers, source.topic, 20)
    assert not catch_up(lake, source, brokers, Calendar()).rows
    send(brokers, source.topic, 7)
    assert sum(catch_up(lake, source, brokers, Calendar()).rows.values()) == 7


def test_a_batch_that_breaks_a_blocking_check_is_read_again(brokers: MockKafka, tmp_path: Path):
    lake = Lake(str(tmp_path))
    strict = StreamSource(
        name="c",
        topic="events.c",
        description="Records.",
        checks=(Check(name="has_n", sql="payload like '%n%'"),),
    )
    send(brokers, strict.topic, 2, b'{"n": 1}')
    send(brokers, strict.topic, 1)
    with pytest.raises(QualityError, match="has_n"):
        catch_up(lake, strict, brokers, Calendar())
    assert lake.table("bronze", "c") is None
    lenient = strict.model_copy(update={"checks": ()})
    assert sum(catch_up(lake, lenient, brokers, Calendar()).rows.values()) == 3


def test_records_lie_in_the_slice_that_they_name_and_others_say_why_not(
    brokers: MockKafka, settings: Settings
):
    lake = Lake.from_settings()
    source = StreamSource(
        name="sliced", topic="events.sliced", description="Records.", partitions={"region": ("eu", "us")},
        partition_field="store.region", max_offsets_per_batch=4,
    )  # fmt: skip
    for value in (
        b'{"store": {"region": "eu"}}',
        b'{"store": {"region": "us"}}',
        b'{"store": {"region": "asia"}}',
        b"{}",
    ):
        send(brokers, source.topic, 3, value)
    told = catch_up(lake, source, brokers, Calendar())
    day = Calendar().key_at(datetime.now(UTC))
    assert told.rows == {f"{day}|eu": 3, f"{day}|us": 3}
    assert told.quarantined == {"no partition for store.region": 6}
    with lake.connect() as connection:
        query = "select region, count(*) from bronze.sliced group by 1 order by 1"
        assert connection.sql(query).fetchall() == [("eu", 3), ("us", 3)]
    assert sum(lake.epochs("bronze", "sliced", [f"{day}|eu", day]).values()) >= 1
    send(brokers, source.topic, 1, b'{"store": {"region": "us"}}')
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance) as context:
        [asked] = getattr(requested(context, source, brokers), "run_requests", None) or []
    assert asked.partition_key == f"{day}|eu"
    assert second_of(stream_partitions(source)) == ("region", ("eu", "us"))


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"partitions": {"region": "dynamic"}}, "values have to be known"),
        ({"partitions": {"region": ["eu"]}, "changes": "debezium"}, "@silver(partitions="),
        ({"partition_field": "region"}, "there is no column to find"),
    ],
)
def test_a_stream_that_cannot_be_cut_says_so(told: dict[str, Any], why: str):
    with pytest.raises(ValidationError) as raised:
        StreamSource.model_validate({"name": "a", "topic": "t", "description": "Records."} | told)
    assert why in str(raised.value)
