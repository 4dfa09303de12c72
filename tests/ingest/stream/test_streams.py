"""From an API through Kafka and Bronze to Postgres, with each process killed once: every record is there once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from asgard_assets.errors import SourceError
from asgard_assets.ingest.api.source.config import load
from asgard_assets.ingest.stream.fetch import fetch
from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.load import catch_up
from asgard_assets.ingest.stream.replay import replay
from asgard_assets.ingest.stream.source import StreamSource, StreamWindow
from asgard_assets.lake import Lake
from asgard_assets.sinks.events import EventsSink, sink_events
from asgard_assets.windows import Calendar
from deployments.local.streaming.postgres import Postgres
from tests.checkout import ROOT
from tests.fakes.orders_feed import orders_feed
from tests.patience import patience, wait_until

pytestmark = pytest.mark.servers
DAY = "2026-10-05"


def killed(*arguments: str) -> None:
    """Run a step in a process of its own that kills itself."""
    command = [sys.executable, "-m", "tests.ingest.stream.killed", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=patience(60), check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def send(kafka: Kafka, topic: str, records: Sequence[tuple[str | None, bytes | None]], **more: Any) -> None:
    from confluent_kafka import Producer

    producer = Producer(kafka.config(**{"message.max.bytes": 32 << 20}))
    for key, value in records:
        producer.produce(topic, value, key=key, **more)
    assert producer.flush(patience(20)) == 0


def stream(**fields: Any) -> StreamSource:
    """A stream of a topic of its own."""
    name = f"s{uuid.uuid4().hex[:8]}"
    return StreamSource(**{"name": name, "topic": f"events.{name}", "description": "Records.", **fields})


def rows(lake: Lake, query: str) -> list[tuple[Any, ...]]:
    with lake.connect() as connection:
        return connection.sql(query).fetchall()


def asked(database: Postgres, query: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(database.url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()
    finally:
        connection.close()


def test_every_order_is_there_once_though_each_process_was_killed(
    home: Path, brokers: Kafka, database: Postgres, tmp_path: Path
):
    lake, file = Lake(str(home / "lake")), tmp_path / "orders.json"
    source = StreamSource(
        name="orders", topic="events.orders", description="Orders.", max_offsets_per_batch=150
    )
    sink = EventsSink(name="orders", table="bronze/orders", url="env:SRC_POSTGRES", target="raw.orders")

    def pull() -> None:
        list(fetch(load(file), [DAY], brokers))

    with orders_feed(250) as feed:
        file.write_text(json.dumps(feed.document()))
        killed("fetch", str(file), "90")
        pull()
        feed.add(150)
        pull()
    killed("load", "orders", "events.orders", "before")
    killed("load", "orders", "events.orders", "after")
    caught = catch_up(lake, source, brokers, Calendar())
    killed("sink", "orders")
    sunk = sink_events(lake, sink, database.url, batch_rows=100)

    assert caught.lag == 0 and caught.batches >= 1
    assert rows(lake, "select count(*), count(distinct external_id), min(source) from bronze.orders") == [
        (400, 400, "orders")
    ]
    assert sunk.rows == 300  # the first hundred were committed before the kill
    assert asked(
        database,
        "select count(*), count(distinct external_id), sum((payload->>'amount')::numeric) from raw.orders",
    ) == [(400, 400, sum(n / 4 for n in range(400)))]
    assert sink_events(lake, sink, database.url).rows == 0
    assert catch_up(lake, source, brokers, Calendar()).batches == 0


def test_records_of_all_kinds_are_rows_or_say_why_not(brokers: Kafka, tmp_path: Path, database: Postgres):
    lake = Lake(str(tmp_path / "lake"))
    source = stream(
        max_record_bytes=1 << 20,
        json_schema={"type": "object", "required": ["id"], "properties": {"at": {"type": "string"}}},
        window=StreamWindow(type="event", field="at"),
    )
    brokers.make_topic(source.topic, 2)
    good = {"at": "2026-10-05T12:00:00Z"}
    send(
        brokers,
        source.topic,
        [
            ("a", json.dumps(good | {"id": 1}).encode()),
            (None, json.dumps(good | {"id": "from the record"}).encode()),
            ("a", None),
            ("b", b'{"id": 2, "at": "2026-10-05T12:00:00Z", "text": "nul \\u0000 and \\\\u0000"}'),
            ("c", b'{"id": 3, "at": "2026-10-05T12:00:00Z", "n": ' + b"9" * 140_000 + b"}"),
            ("d", b"{broken"),
            ("e", b"\xff\xfe"),
            ("f", b""),
            (None, None),
            ("g", b'{"at": "2026-10-05"}'),
            ("h", b'{"id": 1, "at": 5}'),
            ("i", b'{"id": 1}'),
            ("j", b'{"id": 1, "at": "2999-01-01"}'),
            ("k", b'{"id": 1, "at": "yesterday"}'),
            ("l", json.dumps({"id": 1, "x": "x" * (10 << 20)}).encode()),
            ("m", json.dumps(good | {"id": "last"}).encode()),
        ],
    )

    caught = catch_up(lake, source, brokers, Calendar())

    assert sum(caught.rows.values()) + sum(caught.quarantined.values()) == 16
    table = dict(rows(lake, f"select external_id, count(*) from bronze.{source.name} group by 1"))
    assert table == {"a": 2, "from the record": 1, "b": 1, "c": 1, "m": 1}
    reasons = dict(rows(lake, f"select coalesce(external_id, ''), reason from quarantine.{source.name}"))
    assert {key: reason.partition(":")[0] for key, reason in reasons.items()} == {
        "d": "not JSON", "e": "not JSON", "f": "not JSON", "": "neither key nor value",
        "g": "breaks its schema at $", "h": "breaks its schema at $.at", "i": "no time at at",
        "j": "from the future", "k": "no time at at", "l": "longer than max_record_bytes",
    }  # fmt: skip

    sink = EventsSink(name=source.name, table=source.table, url="env:X", target=f"raw.{source.name}")
    sunk = sink_events(lake, sink, database.url)
    assert sunk.refused == 1  # a number that is longer than those of Postgres
    kept = dict(asked(database, f"select external_id, payload->>'text' from raw.{source.name}"))
    assert set(kept) == {"from the record", "b", "m"}, "a was deleted, c is refused"
    assert kept["b"] == "nul \ufffd and \\u0000"
    assert asked(database, f"select external_id from raw.{source.name}_refused") == [("c",)]


def test_what_an_open_or_aborted_transaction_wrote_is_not_read(brokers: Kafka, tmp_path: Path):
    from confluent_kafka import Producer

    lake, source = Lake(str(tmp_path / "lake")), stream()
    brokers.make_topic(source.topic, 1)
    producer = Producer(brokers.config(**{"transactional.id": source.name}))
    producer.init_transactions(patience(20))
    for number, ends in enumerate((producer.commit_transaction, producer.abort_transaction, None)):
        producer.begin_transaction()
        producer.produce(source.topic, b"{}", key=f"k{number}")
        producer.flush(patience(20))
        if ends:
            ends()
    assert sum(catch_up(lake, source, brokers, Calendar()).rows.values()) == 1
    producer.commit_transaction()
    assert sum(catch_up(lake, source, brokers, Calendar()).rows.values()) == 1
    assert sorted(rows(lake, f"select external_id from bronze.{source.name}")) == [("k0",), ("k2",)]


def test_a_topic_made_anew_is_read_from_its_beginning(brokers: Kafka, tmp_path: Path, database: Postgres):
    from confluent_kafka.admin import AdminClient

    lake, source = Lake(str(tmp_path / "lake")), stream()
    sink = EventsSink(name=source.name, table=source.table, url="env:X", target=f"raw.{source.name}")
    brokers.make_topic(source.topic, 1)
    send(brokers, source.topic, [("a", b'{"n": 1}'), ("b", b'{"n": 1}')])
    catch_up(lake, source, brokers, Calendar())
    sink_events(lake, sink, database.url)
    admin = AdminClient(brokers.config())  # its answers come only while it lives
    admin.delete_topics([source.topic])[source.topic].result(patience(30))
    wait_until(lambda: brokers.topic(source.topic) is None, 20, "the topic is gone", pause=0.2)
    brokers.make_topic(source.topic, 1)
    send(brokers, source.topic, [("c", b'{"n": 2}')])
    catch_up(lake, source, brokers, Calendar())
    sink_events(lake, sink, database.url)
    assert {row[0] for row in asked(database, f"select external_id from raw.{source.name}")} == {
        "a",
        "b",
        "c",
    }


def test_records_that_the_broker_deleted_unread_are_an_error(brokers: Kafka, tmp_path: Path):
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    lake, source = Lake(str(tmp_path / "lake")), stream()
    brokers.make_topic(source.topic, 1)
    send(brokers, source.topic, [("a", b"{}")])
    catch_up(lake, source, brokers, Calendar())
    send(brokers, source.topic, [("b", b"{}"), ("c", b"{}"), ("d", b"{}")])
    behind = TopicPartition(source.topic, 0, 3)
    admin = AdminClient(brokers.config())
    admin.delete_records([behind])[behind].result(patience(30))
    with pytest.raises(SourceError, match="2 records were deleted before they were read"):
        catch_up(lake, source, brokers, Calendar())
    going_on = source.model_copy(update={"on_data_loss": "continue"})
    assert sum(catch_up(lake, going_on, brokers, Calendar()).rows.values()) == 1


def test_what_was_sent_before_is_not_sent_again(brokers: Kafka, tmp_path: Path, home: Path):
    file, topic = tmp_path / "orders.json", f"events.{uuid.uuid4().hex[:8].replace('0', 'x')}"
    with orders_feed(30) as feed:
        document = feed.document(name="again", sink={"kafka": f"events.t{topic[7:]}"})
        document["form"]["incremental"]["overlap_seconds"] = 10
        file.write_text(json.dumps(document))
        assert [one.sent for one in fetch(load(file), [DAY], brokers)] == [30]
        feed.add(5)
        feed.orders[29]["amount"] = 100  # changed, with the time that it had
        second = list(fetch(load(file), [DAY], brokers))
    assert [(one.sent, one.unchanged) for one in second] == [(6, 10)]


def test_a_replay_changes_no_result(brokers: Kafka, tmp_path: Path, database: Postgres):
    lake, source = Lake(str(tmp_path / "lake")), stream()
    sink = EventsSink(name=source.name, table=source.table, url="env:X", target=f"raw.{source.name}")
    brokers.make_topic(source.topic, 1)
    send(brokers, source.topic, [("a", b'{"n": 1}'), ("a", b'{"n": 2}'), ("b", b'{"n": 1}'), ("b", None)])
    catch_up(lake, source, brokers, Calendar())
    sink_events(lake, sink, database.url)
    before = asked(database, f"select external_id, payload, pulled_at from raw.{source.name}")
    assert [row[:2] for row in before] == [("a", {"n": 2})]
    days = [row[0] for row in rows(lake, f"select distinct ds from bronze.{source.name}")]
    slept: list[float] = []
    sent = replay(
        lake, source.table, days, brokers, source.topic, per_second=1, sleep=slept.append, clock=lambda: 0
    )
    assert sent == 4 and slept == [1, 2, 3, 4]
    catch_up(lake, source, brokers, Calendar())
    sink_events(lake, sink, database.url)
    assert rows(lake, f"select replayed, count(*) from bronze.{source.name} group by 1 order by 1") == [
        (False, 4),
        (True, 4),
    ]
    assert asked(database, f"select external_id, payload, pulled_at from raw.{source.name}") == before
