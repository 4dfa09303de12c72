"""The Bronze table of a stream, its quarantine, and the transaction numbers that hold its offsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.lake import DS, Lake
from asgard_assets.lake.sql import arrow_type
from asgard_assets.quality.tables import Column, TableSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from asgard_assets.ingest.stream.kafka import Topic

QUARANTINE = "quarantine"
STREAM = "stream"
"""With which the transaction numbers of offsets begin."""
_WHERE = {
    "topic": Column(type="string"),
    "topic_id": Column(
        type="string", description="Kafka's own id of the topic: another one where it was made anew."
    ),
    "kafka_partition": Column(type="int"),
    "kafka_offset": Column(type="bigint", description="Place of the record in its partition."),
    "kafka_timestamp": Column(
        type="timestamp", description="When the broker, or the producer, says it was sent."
    ),
}
COLUMNS = {
    "source": Column(type="string", description="Who sent the record."),
    "external_id": Column(type="string", description="The record's key; else its id; else its SHA-256."),
    "payload": Column(type="string", description="The record as JSON text. Null where it was deleted."),
    "deleted": Column(type="boolean", description="Whether the record says that its key was deleted."),
    "pulled_at": Column(type="timestamp", description="When the API gave it."),
    "ingest_ts": Column(type="timestamp", description="When it was read from Kafka."),
    "idempotency_key": Column(type="string", description="Equal where source, key and content are."),
    "replayed": Column(type="boolean", description="Whether it was sent again by a replay."),
    **_WHERE,
    DS: Column(type="string", description="The window of the record."),
}
BAD_COLUMNS = {
    **_WHERE,
    "external_id": Column(type="string", description="The record's key, where it has one."),
    "reason": Column(type="string", description="Why the record is no row."),
    "raw": Column(type="string", description="The record as it was sent; of a long one the beginning."),
    "bytes": Column(type="bigint", description="How long the record is."),
    "quarantined_at": Column(type="timestamp"),
    DS: Column(type="string", description="The day on which it was set aside."),
}


def columns_of(second: str = "") -> dict[str, Column]:
    """The table's columns, with the one that cuts it beside time."""
    return COLUMNS | (
        {second: Column(type="string", description="Cuts the table beside time.")} if second else {}
    )


def schema_of(columns: Mapping[str, Column]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, arrow_type(column.type)) for name, column in columns.items()])


def table_spec(source: StreamSource) -> TableSpec:
    """The table's contract."""
    return TableSpec(
        stage="bronze",
        name=source.name,
        description=source.description,
        every=source.every,
        time_zone=source.time_zone,
        key=("topic_id", "kafka_partition", "kafka_offset"),
        columns=columns_of(source.second),
        volatile=("ingest_ts",),
        checks=source.checks,
        owners=source.owners,
        tags=source.tags,
        kinds=("kafka", "delta"),
        fresh_hours=source.fresh_hours,
    )


def offset_id(topic: Topic, partition: int) -> str:
    """Under which a table's commits say up to which offset it has a partition. A topic that is made anew is another one."""
    return f"{STREAM}/{topic.name}/{topic.id}/{partition}"


def positions(lake: Lake, stage: str, name: str, topic: Topic) -> dict[int, int]:
    """The next offset of each partition that the table has begun. The number is one more: 0 says that it never began."""
    numbers = lake.snapshot(stage, name).numbers
    found = {partition: numbers.get(offset_id(topic, partition), 0) for partition in topic.end}
    return {partition: number - 1 for partition, number in found.items() if number}
