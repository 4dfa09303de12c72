"""The dead-letter topic of a stream: each record that is no row, as it was sent, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.records import Record

if TYPE_CHECKING:
    from confluent_kafka import Producer

REASON, PLACE = "reason", "place"
"""Headers of a dead letter. The place is topic/partition/offset: equal for one that is sent twice."""


class DeadLetters:
    """Sends before the quarantine is committed: a batch that is killed in between sends its dead letters once more."""

    def __init__(self, kafka: Kafka, topic: str, origin: str) -> None:
        self._kafka, self._topic, self._origin = kafka, topic, origin
        self._producer: Producer | None = None

    def send(self, records: Sequence[tuple[Record, str]]) -> None:
        """Raises KafkaAway where the broker does not take them."""
        if not records or not self._topic:
            return
        from confluent_kafka import KafkaException, Producer

        if self._producer is None:
            self._kafka.make_topic(self._topic)
            options = {"enable.idempotence": True, "message.max.bytes": 32 << 20}
            self._producer = Producer(self._kafka.config(**options))
        try:
            for record, reason in records:
                self._queue(self._producer, record, reason)
            if self._producer.flush(self._kafka.wait_seconds):
                raise self._kafka.away(TimeoutError(f"no answer for {self._kafka.wait_seconds:.0f} s"))
        except KafkaException as error:
            raise self._kafka.away(error) from error

    def _queue(self, producer: Producer, record: Record, reason: str) -> None:
        place = f"{self._origin}/{record.partition}/{record.offset}"
        headers = [*record.headers, (REASON, reason.encode()), (PLACE, place.encode())]
        while True:
            try:
                producer.produce(self._topic, record.value, key=record.key, headers=headers)  # type: ignore[arg-type]
                producer.poll(0)
                return
            except BufferError:
                producer.poll(0.5)
