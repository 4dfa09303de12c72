"""What a fetcher remembers between two fetches: a record of a compacted topic, moved in the transaction of its records."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asgard_assets.ingest.stream.kafka import Kafka

STATE_TOPIC = "asgard.fetch"
REMEMBERED = 10_000
_WINDOWS = 1_000
_SETTINGS = {"cleanup.policy": "compact", "max.message.bytes": str(4 << 20)}


@dataclass(frozen=True)
class FetchState:
    """Where a source stands: its cursor, the windows that were sent as a whole, and of the keys that were sent last a
    mark of their content."""

    cursor: Any = None
    windows: Sequence[str] = ()
    recent: Mapping[str, str] = field(default_factory=dict[str, str])

    def to_json(self) -> bytes:
        told = {"cursor": self.cursor, "windows": list(self.windows), "recent": dict(self.recent)}
        return json.dumps(told, separators=(",", ":")).encode()

    def after(self, window: str, cursor: Any, sent: Mapping[str, str]) -> FetchState:
        """The state once these records of a window are sent."""
        windows = sorted({*self.windows, window})[-_WINDOWS:]
        recent = {key: mark for key, mark in self.recent.items() if key not in sent} | dict(sent)
        kept = dict(list(recent.items())[-REMEMBERED:])
        return FetchState(self.cursor if cursor is None else cursor, windows, kept)


def read_state(kafka: Kafka, source: str) -> FetchState:
    """The state that the last whole fetch left. Raises KafkaAway."""
    from confluent_kafka import TopicPartition

    kafka.make_topic(STATE_TOPIC, 1, _SETTINGS)
    topic = kafka.topic(STATE_TOPIC)
    end = topic.end[0] if topic else 0
    found = FetchState()
    if not end:
        return found
    consumer = kafka.consumer(f"asgard.fetch.{source}")
    try:
        consumer.assign([TopicPartition(STATE_TOPIC, 0, topic.first[0] if topic else 0)])
        heard = time.monotonic()
        while True:
            messages = consumer.consume(1000, timeout=0.5)
            if not messages and time.monotonic() - heard > kafka.wait_seconds:
                raise kafka.away(TimeoutError(f"no answer for {kafka.wait_seconds:.0f} s"))
            for message in messages:
                heard = time.monotonic()
                if message.error() is None and message.key() == source.encode() and message.value():
                    found = FetchState(**json.loads(message.value() or b"{}"))
                if (message.offset() or 0) >= (end if message.error() else end - 1):
                    return found
    finally:
        consumer.close()
