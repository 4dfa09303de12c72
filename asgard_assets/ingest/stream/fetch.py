"""Ask an API and send what it answers to Kafka: the API engine with a topic as its sink, without Spark.

A fetch is one transaction for each window: its records, and the state that says where the next fetch goes on. A fetcher
that is killed leaves an open transaction, which nobody reads; the next one ends it, and asks again from the state
before. So a reader of committed records sees each record once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from asgard_assets.errors import ConfigError, SourceError, Transient
from asgard_assets.ingest.api.pipeline import stage_source
from asgard_assets.ingest.api.plan.calendar import calendar_of
from asgard_assets.ingest.api.plan.checkpoint import overlap_of
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.source.forms import PullForm
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.table.bronze import RETRYABLE, SUCCESS
from asgard_assets.ingest.api.values.cursors import earlier, later
from asgard_assets.ingest.stream.dead import REASON
from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.records import (
    IDEMPOTENCY_KEY,
    PULLED_AT,
    SOURCE,
    external_id,
    idempotency_key,
)
from asgard_assets.ingest.stream.registry import Registry
from asgard_assets.ingest.stream.schemas import Encoder, MisfitError
from asgard_assets.ingest.stream.state import STATE_TOPIC, FetchState, read_state
from asgard_assets.lake import Lake, Staging

if TYPE_CHECKING:
    from confluent_kafka import Producer

    from asgard_assets.ingest.api.table.figures import Summary

log = logging.getLogger(__name__)

_ALL = 1 << 62  # requests that this process sends itself
_MARK = 12  # characters of a hash that the state remembers


class FetchIncomplete(Transient, SourceError):
    """Some requests had no usable answer: nothing of the window was sent."""


@dataclass(frozen=True)
class Fetched:
    """What one window sent. `unchanged`: records that were sent before, with the same content. `refused`: items that
    break the topic's schema; they went to its dead letters."""

    source: str
    topic: str
    window: str
    sent: int = 0
    unchanged: int = 0
    requests: int = 0
    retries: int = 0
    throttles: int = 0
    refused: int = 0
    cursor: Any = None
    skipped: bool = False


def fetch(
    source: ApiSource,
    windows: Sequence[str],
    kafka: Kafka,
    *,
    again: bool = False,
    on_sent: Callable[[int], None] = lambda count: None,
) -> Iterator[Fetched]:
    """Ask the API for each window and send its records; a closed window that was sent before is skipped, unless `again`.

    `on_sent` is told after each record how many the transaction has. Raises FetchIncomplete where a request has no
    answer, Refused or Unreachable where none has, KafkaAway.
    """
    topic, schema = topic_of(source), source.sink.kafka_schema
    encoder = Encoder(schema, Registry.from_settings().register(topic, schema)) if schema else None
    kafka.make_topic(topic)
    if encoder:
        kafka.make_topic(dead_letters_of(topic))
    producer = _producer(kafka, source)
    try:
        for window in windows:
            yield _fetch_window(source, topic, window, kafka, producer, again, on_sent, encoder)
    finally:
        producer.flush(0)


def dead_letters_of(topic: str) -> str:
    """Where items go that break the topic's schema."""
    return f"{topic}.dead"


def topic_of(source: ApiSource) -> str:
    if source.sink.kafka is None:
        raise ConfigError(
            f"{source.name} has no topic: its answers go to the table {source.sink.table}. To send them to Kafka write "
            f"sink: {{kafka: events.{source.name}}}",
            field="sink.kafka",
        )
    return source.sink.kafka


def _fetch_window(
    source: ApiSource,
    topic: str,
    window: str,
    kafka: Kafka,
    producer: Producer,
    again: bool,
    on_sent: Callable[[int], None],
    encoder: Encoder | None,
) -> Fetched:
    from confluent_kafka import KafkaException

    state = read_state(kafka, source.name)
    ended = not calendar_of(source).window(window).is_open(datetime.now(UTC))
    if not source.incremental and ended and not again and window in state.windows:
        return Fetched(source.name, topic, window, skipped=True)
    with tempfile.TemporaryDirectory(prefix="asgard-fetch-") as folder:
        lake = Lake(folder)
        run = Run(lake, source, (window,), "refresh", process_requests=_ALL, cursor=_cursor(source, state))
        staged = stage_source(_no_spark, run)
        _refuse_incomplete(source, window, staged.summary)
        out = _Outbox(producer, source, topic, {} if again else state.recent, encoder)
        reached = _reached(source, state, staged.summary.cursor)
        try:
            producer.begin_transaction()
            for record in _records(source, lake, staged.staging):
                out.send(record)
                on_sent(out.sent)
            after = state.after(window, reached, out.marks)
            _queue(producer, STATE_TOPIC, source.name, after.to_json(), [])
            producer.commit_transaction()
        except BaseException as error:
            _give_up(producer)
            if isinstance(error, KafkaException):
                raise kafka.away(error) from error
            raise
    did = staged.summary
    return Fetched(
        source.name,
        topic,
        window,
        out.sent,
        out.unchanged,
        did.requests,
        did.retries,
        did.throttles,
        out.refused,
        reached,
    )


def _refuse_incomplete(source: ApiSource, window: str, summary: Summary) -> None:
    counts = Counter[str]()
    for outcomes in summary.outcomes.values():
        counts.update(outcomes)
    if failed := sum(count for name, count in counts.items() if name != SUCCESS):
        why = "; ".join(str(failure.get("error_message")) for failure in summary.failures[:3])
        kind = FetchIncomplete if counts[RETRYABLE] else SourceError
        raise kind(
            f"{source.name}: {failed} requests of {window} had no usable answer ({why}). Nothing of it was sent; the next "
            "fetch asks again",
            source=source.name,
        )


@dataclass
class _Outbox:
    """Records into the open transaction, less those that were sent last with the same content."""

    producer: Producer
    source: ApiSource
    topic: str
    recent: Mapping[str, str]
    encoder: Encoder | None = None
    refused: int = 0
    sent: int = 0
    unchanged: int = 0
    marks: dict[str, str] = field(default_factory=dict[str, str])

    def send(self, record: _Sent) -> None:
        headers = [(SOURCE, self.source.name.encode()), (IDEMPOTENCY_KEY, record.idempotency_key.encode())]
        if record.pulled_at:
            headers.append((PULLED_AT, record.pulled_at.isoformat().encode()))
        key = hashlib.sha256(record.key.encode()).hexdigest()[:_MARK]
        mark = record.idempotency_key[:_MARK]
        if self.marks.get(key, self.recent.get(key)) == mark:
            self.unchanged += 1
            return
        self.marks.pop(key, None)
        self.marks[key] = mark
        topic, value = self.topic, record.value
        if self.encoder:
            try:
                value = self.encoder.value(json.loads(value))
            except MisfitError as error:
                topic = dead_letters_of(self.topic)
                headers.append((REASON, str(error).encode()))
                self.refused += 1
        _queue(self.producer, topic, record.key, value, headers)
        self.sent += topic == self.topic


def _cursor(source: ApiSource, state: FetchState) -> Any:
    """Where an incremental source is asked from: a little before where it stood, as a run of a table does."""
    how = source.incremental
    if how is None or state.cursor is None:
        return None
    if how.overlap_seconds is not None:
        return state.cursor  # the engine asks from so many seconds before it
    return earlier(state.cursor, overlap_of(source, state.cursor, by_run=True))


def _reached(source: ApiSource, state: FetchState, cursor: Any) -> Any:
    """Where the next fetch goes on. The greatest value of a field never falls; a token is taken as it is."""
    if source.incremental is None:
        return None
    return later(state.cursor, cursor) if source.incremental.field else cursor


def _no_spark() -> NoReturn:
    raise ConfigError(
        "a fetch has no Spark: set execution.run_in: process, or ask for fewer requests at once"
    )


@dataclass(frozen=True)
class _Sent:
    """One record on its way."""

    key: str
    value: bytes
    pulled_at: datetime | None
    idempotency_key: str


def _records(source: ApiSource, lake: Lake, staging: Staging) -> Iterator[_Sent]:
    import pyarrow.parquet as pq

    keys = source.form.key_columns if isinstance(source.form, PullForm) else ()
    for uris in lake.staged_files(staging).values():
        for uri in sorted(uris):
            with pq.ParquetFile(uri) as file:
                for batch in file.iter_batches(5_000):
                    for row in batch.to_pylist():
                        yield _record(source, keys, row)


def _record(source: ApiSource, keys: Sequence[str], row: Mapping[str, Any]) -> _Sent:
    import orjson

    value, named = row["payload"].encode(), [row.get(name) for name in keys]
    if named and all(each is not None for each in named):
        key = str(named[0]) if len(named) == 1 else orjson.dumps(named, default=str).decode()
    else:
        key = external_id(json.loads(value), value)
    return _Sent(key, value, row.get("finished_at"), idempotency_key(source.name, key, value))


def _queue(producer: Producer, topic: str, key: str, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    """Hand a record over; waits while the producer's queue is full."""
    while True:
        try:
            producer.produce(topic, value, key=key.encode(), headers=headers)  # type: ignore[arg-type]
            producer.poll(0)
            return
        except BufferError:
            producer.poll(0.5)


def _producer(kafka: Kafka, source: ApiSource) -> Producer:
    """A producer that ends what an earlier fetcher of the source has left open."""
    from confluent_kafka import KafkaException, Producer

    producer = Producer(
        kafka.config(
            **{
                "transactional.id": f"asgard.fetch.{source.name}",
                "transaction.timeout.ms": 600_000,
                "compression.type": "lz4",
                "linger.ms": 20,
                "message.max.bytes": 32 << 20,
            }
        )
    )
    try:
        producer.init_transactions(kafka.wait_seconds)
    except KafkaException as error:
        raise kafka.away(error) from error
    return producer


def _give_up(producer: Producer) -> None:
    """End the open transaction; where the broker is away, the next fetcher does."""
    from confluent_kafka import KafkaException

    with contextlib.suppress(KafkaException):
        producer.abort_transaction(5)
