"""Read spans of a topic in this process: committed records alone, each offset once, in bounded pieces."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from asgard_assets.errors import SourceError
from asgard_assets.ingest.stream.kafka import Kafka, Span
from asgard_assets.ingest.stream.records import Record

PIECE_ROWS, PIECE_BYTES = 50_000, 64 << 20


def read(kafka: Kafka, topic: str, group: str, spans: Sequence[Span]) -> Iterator[list[Record]]:
    """Records of the spans, a piece at a time. Raises KafkaAway where the broker is silent, SourceError where
    offsets are gone."""
    from confluent_kafka import KafkaError, TopicPartition

    left = {span.partition: span for span in spans if span.end > span.start}
    consumer = kafka.consumer(group)
    try:
        consumer.assign([TopicPartition(topic, span.partition, span.start) for span in left.values()])
        piece, size, heard = list[Record](), 0, time.monotonic()
        while left:
            messages = consumer.consume(5_000, timeout=0.5)
            if not messages and time.monotonic() - heard > kafka.wait_seconds:
                raise kafka.away(TimeoutError(f"no answer for {kafka.wait_seconds:.0f} s"))
            for message in messages:
                heard, part, offset = time.monotonic(), message.partition(), message.offset() or 0
                error, span = message.error(), left.get(part)  # type: ignore[arg-type]
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                        raise SourceError(f"{topic}: partition {part} has lost offsets: {error.str()}")
                    if error.retriable() or error.code() in (
                        KafkaError._TRANSPORT,
                        KafkaError._ALL_BROKERS_DOWN,
                    ):
                        continue
                    raise kafka.away(Exception(error))
                if span is None:
                    continue
                if offset >= span.end:  # also the end of the partition, behind the marks of transactions
                    del left[span.partition]
                    consumer.incremental_unassign([TopicPartition(topic, span.partition)])
                    continue
                if error is not None:
                    continue
                value = message.value()
                headers: Any = message.headers() or ()
                piece.append(Record(span.partition, offset, _sent(message), message.key(), value, headers))  # type: ignore[arg-type]
                size += len(value or b"") + 100
                if offset == span.end - 1:
                    del left[span.partition]
                    consumer.incremental_unassign([TopicPartition(topic, span.partition)])
            if len(piece) >= PIECE_ROWS or size >= PIECE_BYTES:
                yield piece
                piece, size = [], 0
        if piece:
            yield piece
    finally:
        consumer.close()


def _sent(message: object) -> int:
    from confluent_kafka import TIMESTAMP_NOT_AVAILABLE

    kind, moment = message.timestamp()  # type: ignore[attr-defined]
    return -1 if kind == TIMESTAMP_NOT_AVAILABLE else moment
