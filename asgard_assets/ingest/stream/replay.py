"""Send the rows of a stream's table to a topic again, as they were: same key, content and times, marked as replayed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from asgard_assets.errors import LakeError
from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.records import IDEMPOTENCY_KEY, PULLED_AT, REPLAYED, SOURCE
from asgard_assets.lake import DS, Lake
from asgard_assets.lake.sql import identifier, quoted

_COLUMNS = ("external_id", "payload", "source", "pulled_at", "idempotency_key")
_PIECE = 1_000


def replay(
    lake: Lake,
    table: str,
    windows: Sequence[str],
    kafka: Kafka,
    topic: str,
    *,
    per_second: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Send what the table has of these windows, in order of each key; returns how many records. At most `per_second`.

    Rows that were themselves replayed are left out. Raises LakeError where the table is no stream's, KafkaAway.
    """
    from confluent_kafka import KafkaException, Producer

    stage, name = table.split("/")
    found = lake.table(stage, name)
    known = {field.name for field in found.schema().fields} if found else set[str]()
    if not {*_COLUMNS, "kafka_offset"} <= known:
        what = "no table of a stream" if found else "not there"
        raise LakeError(
            f"{table} is {what}; a replay sends the rows of a table that KafkaIngest made", table=table
        )
    kafka.make_topic(topic)
    producer = Producer(kafka.config(**{"enable.idempotence": True, "message.max.bytes": 32 << 20}))
    days = ", ".join(quoted(window) for window in windows)
    query = (
        f"select {', '.join(_COLUMNS)} from {identifier(stage)}.{identifier(name)} where {DS} in ({days}) "
        "and not replayed order by kafka_timestamp, kafka_partition, kafka_offset"
    )
    sent, began = 0, clock()
    try:
        with lake.connect() as connection:
            rows = connection.execute(query)
            while piece := rows.fetchmany(_PIECE):
                for row in piece:
                    _send(producer, topic, row)
                    sent += 1
                    if per_second and (early := sent / per_second - (clock() - began)) > 0:
                        sleep(early)
        if producer.flush(kafka.wait_seconds):
            raise kafka.away(TimeoutError(f"no answer for {kafka.wait_seconds:.0f} s"))
    except KafkaException as error:
        raise kafka.away(error) from error
    return sent


def _send(producer: Any, topic: str, row: Sequence[Any]) -> None:
    key, payload, source, pulled_at, idempotency_key = row
    headers = [(SOURCE, source.encode()), (IDEMPOTENCY_KEY, idempotency_key.encode()), (REPLAYED, b"true")]
    if pulled_at:
        headers.append((PULLED_AT, pulled_at.isoformat().encode()))
    while True:
        try:
            producer.produce(
                topic, None if payload is None else payload.encode(), key=key.encode(), headers=headers
            )
            producer.poll(0)
            return
        except BufferError:
            producer.poll(0.5)
