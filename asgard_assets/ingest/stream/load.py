"""A topic becomes a Bronze table: micro-batches until the table has what the topic had when the run began."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from asgard_assets.errors import LakeError, SourceError
from asgard_assets.ingest.stream.batch import Batch
from asgard_assets.ingest.stream.dead import DeadLetters
from asgard_assets.ingest.stream.kafka import Kafka, Span, Topic, lag, spans
from asgard_assets.ingest.stream.reading import read
from asgard_assets.ingest.stream.records import Reader
from asgard_assets.ingest.stream.registry import Registry
from asgard_assets.ingest.stream.schemas import Decoder
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.ingest.stream.table import positions, table_spec
from asgard_assets.lake import Lake, Published
from asgard_assets.quality.audit import Audit
from asgard_assets.windows import Calendar, slice_of

log = logging.getLogger(__name__)


class NoTopicError(SourceError):
    """There is no such topic yet."""


@dataclass
class CaughtUp:
    """What a run published. `offsets`: the next one of each partition; `lag`: records that came in meanwhile."""

    rows: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    offsets: Mapping[int, int] = field(default_factory=dict)
    lag: int = 0
    batches: int = 0
    published: Published | None = None
    audits: list[Audit] = field(default_factory=list)

    def count(self, batch: Batch, audit: Audit, published: Published) -> None:
        self.rows.update(batch.days)
        self.quarantined.update(batch.reasons)
        self.batches += 1
        self.audits.append(audit)
        self.published = published

    def add(self, later: CaughtUp) -> None:
        """Count what was published after this too."""
        self.rows.update(later.rows)
        self.quarantined.update(later.quarantined)
        self.offsets, self.lag = later.offsets, later.lag
        self.batches += later.batches
        self.audits += later.audits
        self.published = later.published or self.published


def catch_up(
    lake: Lake,
    source: StreamSource,
    kafka: Kafka,
    calendar: Calendar,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    metadata: Mapping[str, Any] | None = None,
    code: int = 0,
    stopped: Callable[[], bool] = lambda: False,
) -> CaughtUp:
    """Publish what the topic has now and the table has not. What is written meanwhile is left to the next run.

    Once `stopped`, no further batch is begun.

    Raises KafkaAway, SourceError where there is no such topic or records are lost, QualityError where a check blocks.
    """
    spec, told, decoder = table_spec(source), CaughtUp(), decoder_of(source)
    dead = DeadLetters(kafka, source.dead_letters, source.topic)
    target = topic_of(kafka, source, settled=True)
    while not stopped():
        seen = positions(lake, spec.stage, spec.name, target)
        begins = first_offsets(source, target, seen)
        taken = [*spans(target, begins, source.max_offsets_per_batch)]
        # Where a partition without records begins is put down too: else `latest` would be a later moment each time.
        taken += [
            Span(part, at, at) for part, at in begins.items() if part not in seen and at == target.end[part]
        ]
        if not taken:
            break
        now = clock()
        batch = Batch.open(
            lake, spec, target, taken, seen, first_key(source, calendar.key_at(now)), source.second
        )
        try:
            reader = Reader(source, target.id, calendar, now, decoder)
            for piece in read(kafka, source.topic, group_of(source), taken):
                rows = reader.rows(piece)
                batch.add(rows)
                dead.send(rows.dead)
        except BaseException:
            batch.discard()
            raise
        batch.code = code
        audit, published = batch.publish(metadata or {})
        if published is None:
            if positions(lake, spec.stage, spec.name, target) == seen:
                raise LakeError(
                    f"{source.table}: the commit was refused, and nobody else has published these offsets. Run it again; "
                    "report it if that does not help",
                    table=source.table,
                )
            log.warning("%s: another run published these offsets; going on behind them", source.table)
            continue
        told.count(batch, audit, published)
        tell_group(kafka, source, {span.partition: span.end for span in taken})
    told.offsets = positions(lake, spec.stage, spec.name, target)
    told.lag = lag(topic_of(kafka, source), told.offsets)
    return told


def first_key(source: StreamSource, window: str) -> str:
    """The partition that stands for a window where no record says which."""
    return slice_of(window, source.partitions[source.second][0] if source.second else "")


def decoder_of(source: StreamSource) -> Decoder | None:
    """Reads values by the registry's schemas. Raises ConfigError where it is not set, or forbids the declared schema."""
    if not source.registry:
        return None
    registry = Registry.from_settings()
    if source.declared_schema is not None:
        registry.check(source.topic, source.declared_schema)
    return Decoder(registry, source.format)


def topic_of(kafka: Kafka, source: StreamSource, settled: bool = False) -> Topic:
    """The topic as it is now, or once what was just written can be read. Raises NoTopicError where there is none."""
    found = kafka.settled(source.topic) if settled else kafka.topic(source.topic)
    if found is None:
        raise NoTopicError(
            f"{source.name}: Kafka at {kafka.servers} has no topic {source.topic}. `asgard fetch` makes it with its first "
            "record; or make it, or correct `topic`",
            source=source.name,
        )
    return found


def first_offsets(source: StreamSource, topic: Topic, seen: Mapping[int, int]) -> dict[int, int]:
    """Where each partition goes on. Raises SourceError where records were deleted that nobody has read."""
    found = dict[int, int]()
    for part, first in topic.first.items():
        at = seen.get(part)
        if at is not None and at < first and source.on_data_loss == "fail":
            raise SourceError(
                f"{source.name}: {topic.name}, partition {part}: the table has it up to offset {at}, and the broker begins "
                f"at {first}: {first - at} records were deleted before they were read. To go on without them set "
                "on_data_loss: continue; let the topic keep its records for longer (retention.ms)",
                source=source.name,
            )
        found[part] = first if at is None else max(at, first)
        if not seen and source.starting == "latest":
            found[part] = topic.end[part]
    return found


def group_of(source: StreamSource) -> str:
    return f"asgard.{source.name}"


def tell_group(kafka: Kafka, source: StreamSource, ends: Mapping[int, int]) -> None:
    """Tell Kafka how far the table is, for tools that show the lag of groups. The table itself is what counts."""
    from confluent_kafka import KafkaException, TopicPartition

    consumer = kafka.consumer(group_of(source))
    try:
        offsets = [TopicPartition(source.topic, part, end) for part, end in ends.items()]
        consumer.commit(offsets=offsets, asynchronous=False)
    except KafkaException as error:
        log.warning("%s: the group's offsets were not told: %s", source.name, error)
    finally:
        consumer.close()
