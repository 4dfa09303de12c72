"""A record becomes a row or a bad row; spans share a batch. No server."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from pydantic import ValidationError

from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.api.source.sink import Format
from asgard_assets.ingest.stream.kafka import Span, Topic, lag, spans
from asgard_assets.ingest.stream.records import Reader, Record, Rows, external_id
from asgard_assets.ingest.stream.registry import Registered as RegisteredSchema
from asgard_assets.ingest.stream.registry import Registry, RegistryAway
from asgard_assets.ingest.stream.schemas import Decoder, MisfitError
from asgard_assets.ingest.stream.source import StreamSource, StreamWindow
from asgard_assets.ingest.stream.state import REMEMBERED, FetchState
from asgard_assets.telemetry.lineage.send import LineageAway, send
from asgard_assets.windows import Calendar
from tests.fakes.orders_feed import Feed

NOW = datetime(2026, 10, 5, 12, tzinfo=UTC)
MILLISECONDS = int(NOW.timestamp() * 1000)


def read(*records: Record, **fields: Any) -> Rows:
    source = StreamSource(**{"name": "orders", "topic": "events.orders", "description": "Orders.", **fields})
    return Reader(source, "id", Calendar(), NOW).rows(records)


def record(key: bytes | None, value: bytes | None, timestamp: int = MILLISECONDS, **headers: bytes) -> Record:
    return Record(0, 7, timestamp, key, value, tuple(headers.items()))


def test_a_row_has_the_record_and_its_place():
    table, bad = read(
        record(b"o1", b'{"id": 1}', source=b"shop", pulled_at=b"2026-10-05T11:59:00+00:00")
    ).tables()
    assert bad.num_rows == 0
    row = table.to_pylist()[0]
    assert row["idempotency_key"]
    assert row | {"idempotency_key": ""} == {
        "source": "shop", "external_id": "o1", "payload": '{"id": 1}', "deleted": False,
        "pulled_at": NOW - timedelta(minutes=1), "ingest_ts": NOW, "idempotency_key": "", "replayed": False,
        "topic": "events.orders", "topic_id": "id", "kafka_partition": 0, "kafka_offset": 7, "kafka_timestamp": NOW,
        "ds": "2026-10-05",
    }  # fmt: skip


def test_a_record_without_key_has_its_id_or_its_hash():
    assert external_id({"id": 5}, b"") == "5"
    one, other = (external_id(document, b"") for document in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert one == other and len(one) == 64


@pytest.mark.parametrize("timestamp", [-1, 0, 4_102_444_800_000, 2**62])
def test_a_time_that_cannot_be_does_not_stop_the_stream(timestamp: int):
    table, bad = read(record(b"k", b"{}", timestamp)).tables()
    assert (table.num_rows, bad.num_rows) == (1, 0)
    assert table["ds"].to_pylist() == ["1970-01-01" if timestamp == 0 else "2026-10-05"]


@pytest.mark.parametrize(
    "value",
    [b"{", b"\xff", b"[" * 100_000, b'"\xed\xa0\x80"', b"NaN", b"\0", b'{"a": "\x01"}', b'"' + b"x" * 20],
)
def test_bytes_that_are_no_json_are_bad_rows_with_what_was_sent(value: bytes):
    _, bad = read(record(b"k", value)).tables()
    row = bad.to_pylist()[0]
    assert row["reason"].startswith("not JSON") and row["bytes"] == len(value) and row["raw"]


@pytest.mark.parametrize(
    "at",
    ["2026-10-05T10:00:00Z", "2026-10-05 10:00:00", 1791194400, 1791194400000, "2026-10-05T12:00:00+02:00"],
)
def test_an_event_is_in_the_window_of_its_own_time(at: Any):
    import orjson

    window = StreamWindow(type="event", field="order.at")
    table, bad = read(record(b"k", orjson.dumps({"order": {"at": at}})), window=window).tables()
    assert bad.num_rows == 0 and table["ds"].to_pylist() == ["2026-10-05"]


def test_a_batch_is_shared_among_the_partitions_that_have_records():
    topic = Topic("t", "id", {0: 0, 1: 0, 2: 5, 3: 0}, {0: 1000, 1: 10, 2: 5, 3: 0})
    begun = {0: 0, 1: 0, 2: 5, 3: 0}
    assert spans(topic, begun, 100) == [Span(1, 0, 10), Span(0, 0, 90)]
    assert spans(topic, topic.end, 100) == []
    assert lag(topic, begun) == 1010


def test_a_fetcher_remembers_the_last_content_of_each_key():
    state = FetchState().after("2026-10-05", 5, {"a": "1", "b": "1"}).after("2026-10-05", None, {"a": "2"})
    assert (state.cursor, list(state.windows), state.recent) == (5, ["2026-10-05"], {"b": "1", "a": "2"})
    many = state.after("2026-10-06", 6, {str(n): "x" for n in range(REMEMBERED)})
    assert len(many.recent) == REMEMBERED and "a" not in many.recent


def test_a_source_goes_to_a_topic_or_to_a_table():
    document = Feed(url="http://127.0.0.1:1").document()
    assert ApiSource.model_validate(document).sink.table == "events/orders"
    for sink, reason in (
        ({"kafka": "events.orders", "table": "bronze/orders"}, "either kafka or table"),
        ({"kafka": "events.orders", "payload": {"type": "text"}}, "as the API sent it"),
        ({"kafka": "orders"}, "pattern"),
    ):
        with pytest.raises(ValidationError, match=reason):
            ApiSource.model_validate(document | {"sink": sink})


class Registered(Registry):
    """Has one schema under each id."""

    def __init__(self, format: Format, text: str) -> None:
        super().__init__("http://nowhere")
        self._told = RegisteredSchema(format, text)

    def schema(self, number: int) -> RegisteredSchema:
        return self._told


NODE = {"type": "record", "name": "shop.Node", "fields": [{"name": "next", "type": ["null", "shop.Node"]}]}
REGISTERED: dict[str, tuple[Format, Any, bytes]] = {
    "nested too deep": ("json", {}, b"[" * 200_000),
    "a schema without end": ("json", {"$ref": "#"}, b"{}"),
    "no JSON Schema": ("json", {"type": "nonsense"}, b"{}"),
    "no Avro": ("avro", {"type": "nonsense"}, b""),
    "no Protobuf": ("protobuf", "!", b"\0"),
    "Avro without end": ("avro", NODE, b"\2" * 200_000),
    "a reference to a file": ("json", {"$ref": "file:///etc/hostname"}, b"{}"),
}


@pytest.mark.parametrize("name", REGISTERED)
def test_no_value_and_no_registered_schema_stops_the_topic(name: str):
    format, schema, value = REGISTERED[name]
    text = schema if isinstance(schema, str) else json.dumps(schema)
    source = StreamSource(
        name="orders", topic="events.orders", description="Orders.", registry=True, format=format
    )
    reader = Reader(source, "id", Calendar(), NOW, Decoder(Registered(format, text), format))
    found = reader.rows([record(b"o1", b"\0\0\0\0\1" + value), record(b"o2", None)])
    assert (len(found.good), len(found.bad)) == (1, 1)


def test_avro_that_holds_itself_is_read():
    value = b"\0\0\0\0\1" + b"\2" * 100 + b"\0"
    assert "next" in Decoder(Registered("avro", json.dumps(NODE)), "avro").document(value)["next"]


def test_a_long_number_before_a_protobuf_message_is_read_no_further():
    file = FileDescriptorProto(name="orders.proto", package="shop", syntax="proto3")
    file.message_type.add(name="Order").field.add(name="id", number=1, type=9, label=1)
    text = base64.b64encode(file.SerializeToString()).decode()
    decoder, began = Decoder(Registered("protobuf", text), "protobuf"), time.perf_counter()
    with pytest.raises(MisfitError, match="no message number"):
        decoder.document(b"\0\0\0\0\1" + b"\xff" * 500_000)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("registered", [True, False])
def test_what_a_schema_refers_to_is_not_fetched(registered: bool):
    asked = list[str]()

    class Secret(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

    with HTTPServer(("127.0.0.1", 0), Secret) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        schema = {"$ref": f"http://127.0.0.1:{server.server_port}/latest/meta-data"}
        if registered:
            value, decoder = b"\0\0\0\0\1{}", Decoder(Registered("json", json.dumps(schema)), "json")
            source = StreamSource(name="orders", topic="events.orders", description="Orders.", format="json")
            found = Reader(source, "id", Calendar(), NOW, decoder).rows([record(b"o1", value)])
        else:
            found = read(record(b"o1", b"{}"), json_schema=schema)
        server.shutdown()
    assert (asked, len(found.good), len(found.bad)) == ([], 0, 1)


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n[{}]"]
)  # fmt: skip
def test_a_registry_that_speaks_of_something_else_is_away(answer: bytes):
    with answering(answer) as port, pytest.raises(RegistryAway):
        Registry(f"http://127.0.0.1:{port}").schema(1)


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b"HTTP/1.1\r\n\r\n"])
def test_an_endpoint_of_lineage_that_is_none_is_away(answer: bytes):
    with answering(answer) as port, pytest.raises(LineageAway):
        send(f"http://127.0.0.1:{port}", [{"job": {"name": "a"}}])


@contextmanager
def answering(text: bytes) -> Iterator[int]:
    """The port of a server that answers whatever it is asked with this, once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def once() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(text)

        thread = threading.Thread(target=once, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)
