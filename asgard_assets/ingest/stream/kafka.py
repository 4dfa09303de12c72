"""How to reach Kafka, and what a topic holds: partitions, offsets, its own id."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import SourceError, Transient
from asgard_assets.settings import REFERENCES, Settings

if TYPE_CHECKING:
    from confluent_kafka import Consumer

WAIT_SECONDS = 30.0


class KafkaAway(Transient, SourceError):
    """The broker does not answer."""


@dataclass(frozen=True)
class Span:
    """Offsets of one partition: from `start` up to, and without, `end`."""

    partition: int
    start: int
    end: int


@dataclass(frozen=True)
class Topic:
    """A topic as it is now. `id` is another one where it was made anew. `first` and `end` by partition; what an open
    transaction wrote lies behind `end`."""

    name: str
    id: str
    first: Mapping[int, int]
    end: Mapping[int, int]


@dataclass(frozen=True)
class Kafka:
    """The brokers, and the client's options: in the names of librdkafka, secrets as references."""

    servers: str
    options: Mapping[str, str] = field(default_factory=dict)
    wait_seconds: float = WAIT_SECONDS

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Kafka:
        settings = settings or Settings()
        return cls(settings.kafka, settings.kafka_options)

    def config(self, **more: Any) -> dict[str, Any]:
        """The client's settings, with secrets resolved."""
        from asgard_assets.ingest.api.source.secrets import resolve

        own = {
            name: resolve(value, "ASGARD_KAFKA_OPTIONS").value if value.startswith(REFERENCES) else value
            for name, value in self.options.items()
        }
        quiet = {"bootstrap.servers": self.servers, "log_level": 0}
        return {**quiet, **own, **more}

    def consumer(self, group: str, **more: Any) -> Consumer:
        """A reader of committed records alone; which offsets it reads is said by who calls."""
        from confluent_kafka import Consumer

        return Consumer(
            self.config(
                **{
                    "group.id": group,
                    "enable.auto.commit": False,
                    "isolation.level": "read_committed",
                    "enable.partition.eof": True,
                    "auto.offset.reset": "error",
                    "fetch.message.max.bytes": 32 << 20,
                    "receive.message.max.bytes": 128 << 20,
                    "fetch.wait.max.ms": 100,
                    **more,
                }
            )
        )

    def settled(
        self, name: str, seconds: float = 3, sleep: Callable[[float], None] = time.sleep
    ) -> Topic | None:
        """The topic once what was written before is committed, or after so many seconds; None where there is none.

        A producer's commit returns before its last records can be read (the broker still writes the markers).
        """
        written, until = self.topic(name, committed=False), time.monotonic() + seconds
        while True:
            found = self.topic(name)
            if found is None or written is None or time.monotonic() >= until:
                return found
            if all(found.end.get(partition, 0) >= end for partition, end in written.end.items()):
                return found
            sleep(0.05)

    def topic(self, name: str, committed: bool = True) -> Topic | None:
        """The topic as it is now; None where there is none. Raises KafkaAway.

        `committed`: its ends are those of committed records; else of all that was written.
        """
        from confluent_kafka import (
            IsolationLevel,
            KafkaError,
            KafkaException,
            TopicCollection,
            TopicPartition,
        )
        from confluent_kafka.admin import AdminClient, OffsetSpec  # pyright: ignore[reportPrivateImportUsage]

        admin = AdminClient(self.config())
        try:
            told = admin.describe_topics(TopicCollection([name]), request_timeout=self.wait_seconds)
            found = told[name].result()
            partitions = [TopicPartition(name, each.id) for each in found.partitions]
            ends = [
                admin.list_offsets(
                    dict.fromkeys(partitions, spec),  # pyright: ignore[reportArgumentType]
                    isolation_level=IsolationLevel.READ_COMMITTED
                    if committed
                    else IsolationLevel.READ_UNCOMMITTED,
                    request_timeout=self.wait_seconds,
                )
                for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
            ]
            first, end = ({at.partition: told.result().offset for at, told in one.items()} for one in ends)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise self.away(error) from error
        return Topic(name, str(found.topic_id), first, end)

    def make_topic(self, name: str, partitions: int = -1, settings: Mapping[str, str] | None = None) -> None:
        """Make the topic where it is missing; with the broker's number of partitions where none is given."""
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.admin import AdminClient, NewTopic  # pyright: ignore[reportPrivateImportUsage]

        admin = AdminClient(self.config())
        new = NewTopic(name, num_partitions=partitions, replication_factor=-1, config=dict(settings or {}))
        try:
            admin.create_topics([new], request_timeout=self.wait_seconds)[name].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self.away(error) from error

    def away(self, error: Exception) -> KafkaAway:
        told: Any = error.args[0] if error.args else error
        reason = told.str() if hasattr(told, "str") else str(told)
        return KafkaAway(f"Kafka at {self.servers}: {reason}. Check ASGARD_KAFKA and ASGARD_KAFKA_OPTIONS")


def lag(topic: Topic, positions: Mapping[int, int]) -> int:
    """Records that wait, transaction marks included."""
    return sum(max(0, end - positions.get(part, topic.first[part])) for part, end in topic.end.items())


def spans(topic: Topic, positions: Mapping[int, int], most: int) -> Sequence[Span]:
    """The next offsets of each partition, together at most about `most`: shared among those that have some."""
    waiting = {part: end - positions[part] for part, end in topic.end.items() if end > positions[part]}
    left, found = most, list[Span]()
    for at, (part, count) in enumerate(sorted(waiting.items(), key=lambda one: one[1])):
        share = min(count, max(1, left // (len(waiting) - at)))
        left -= share
        found.append(Span(part, positions[part], positions[part] + share))
    return found
