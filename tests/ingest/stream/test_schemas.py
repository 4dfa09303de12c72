"""Schemas of a real registry: written by a fetch, read by a stream; what breaks them is set aside, with a reason."""

from __future__ import annotations

import base64
import json
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from asgard_assets.components.stream import stream_asset
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.source.config import load
from asgard_assets.ingest.api.source.sink import TopicSchema
from asgard_assets.ingest.stream.fetch import fetch
from asgard_assets.ingest.stream.kafka import Kafka
from asgard_assets.ingest.stream.load import catch_up
from asgard_assets.ingest.stream.registry import IncompatibleError, Registry, RegistryAway
from asgard_assets.ingest.stream.schemas import Encoder
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.lake import Lake
from asgard_assets.operations.outside.schemas import schema_notes
from asgard_assets.operations.sources import catalog
from asgard_assets.windows import Calendar
from tests.fakes.orders_feed import orders_feed
from tests.ingest.stream.test_streams import DAY, rows, send
from tests.servers.apicurio import apicurio

pytestmark = pytest.mark.servers
AVRO = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "amount", "type": "double"},
        {"name": "updated_at", "type": "string"},
    ],
}
JSON = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}


def compiled() -> str:
    """A Protobuf file with two messages, as its compiler would give it."""
    from google.protobuf import descriptor_pb2

    file = descriptor_pb2.FileDescriptorProto(name="orders.proto", package="shop", syntax="proto3")
    for name in ("Order", "Refund"):
        message = file.message_type.add(name=name)
        message.field.add(name="id", number=1, type=9, label=1)
        message.field.add(name="amount", number=2, type=1, label=1)
    return base64.b64encode(file.SerializeToString()).decode()


SCHEMAS = {
    "avro": TopicSchema(format="avro", definition=AVRO),
    "json": TopicSchema(format="json", definition=JSON),
    "protobuf": TopicSchema(format="protobuf", definition=compiled()),
}
ORDERS = [{"id": f"o{n}", "amount": n / 4, "updated_at": "2026-10-05"} for n in range(5)]


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with apicurio(tmp_path_factory.mktemp("apicurio")) as found:
        yield found


@pytest.fixture
def registry(address: str, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("ASGARD_SCHEMA_REGISTRY", address)
    return Registry(address)


def stream(**fields: Any) -> StreamSource:
    name = f"s{uuid.uuid4().hex[:8]}"
    told = {"name": name, "topic": f"events.{name}", "description": "Orders.", "registry": True, **fields}
    return StreamSource(**told)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_values_are_read_by_the_schema_that_they_name(
    kind: str, registry: Registry, brokers: Kafka, tmp_path: Path
):
    lake = Lake(str(tmp_path / "lake"))
    source = stream(format=kind, dead_letters=f"events.dead{uuid.uuid4().hex[:8]}")
    number = registry.register(source.topic, SCHEMAS[kind])
    encoder = Encoder(SCHEMAS[kind], number)
    fields = ("id", "amount") if kind == "protobuf" else tuple(ORDERS[0])
    good = [(o["id"], encoder.value({name: o[name] for name in fields})) for o in ORDERS]
    other = Encoder(SCHEMAS["json" if kind == "avro" else "avro"], registry.register(f"{source.topic}.other", SCHEMAS["json" if kind == "avro" else "avro"]))  # fmt: skip
    broken = [
        ("plain", b'{"id": "x"}'),
        ("unknown", struct.pack(">bI", 0, 99_999) + b"{}"),
        ("cut", good[0][1][:5] if kind != "protobuf" else good[0][1][:-3]),
        ("other", other.value(ORDERS[0])),
    ]
    brokers.make_topic(source.topic, 1)
    send(brokers, source.topic, [*good, *broken, ("gone", None)])

    told = catch_up(lake, source, brokers, Calendar())

    assert sum(told.rows.values()) == 6 and sum(told.quarantined.values()) == 4
    found = dict(rows(lake, f"select external_id, payload from bronze.{source.name} where not deleted"))
    assert [json.loads(found[o["id"]])["id"] for o in ORDERS] == [o["id"] for o in ORDERS]
    assert [json.loads(found[o["id"]]).get("amount", 0.0) for o in ORDERS] == [o["amount"] for o in ORDERS]
    reasons = dict(rows(lake, f"select external_id, reason from quarantine.{source.name}"))
    assert "no schema id" in reasons["plain"] and "99999 is not in the registry" in reasons["unknown"]
    assert f"breaks schema {number}" in reasons["cut"] and f"and {kind} is declared" in reasons["other"]
    dead = letters(brokers, source.dead_letters)
    assert {key for key, _, _ in dead} == {"plain", "unknown", "cut", "other"}
    assert dict((key, value) for key, value, _ in dead)["plain"] == b'{"id": "x"}'
    assert all(headers["reason"].decode() == reasons[key] for key, _, headers in dead)
    assert {headers["place"].decode() for _, _, headers in dead} == {
        f"{source.topic}/0/{5 + n}" for n in range(4)
    }


def letters(kafka: Kafka, topic: str) -> list[tuple[str, bytes | None, dict[str, bytes]]]:
    """Everything that a topic of one partition, or several, has."""
    from asgard_assets.ingest.stream.kafka import Span
    from asgard_assets.ingest.stream.reading import read

    found = kafka.topic(topic)
    assert found is not None
    spans = [Span(part, found.first[part], end) for part, end in found.end.items()]
    return [
        ((one.key or b"").decode(), one.value, {name: value or b"" for name, value in one.headers})
        for piece in read(kafka, topic, "letters", spans)
        for one in piece
    ]


def test_a_fetch_registers_its_schema_and_sets_aside_what_breaks_it(
    registry: Registry, brokers: Kafka, home: Path, tmp_path: Path
):
    lake, source = Lake(str(home / "lake")), stream(format="avro")
    file = tmp_path / "orders.json"
    with orders_feed(20) as feed:
        feed.orders[7]["amount"] = "a lot"
        sink = {"kafka": source.topic, "kafka_schema": {"format": "avro", "definition": AVRO}}
        file.write_text(json.dumps(feed.document(name=source.name, sink=sink)))
        [first] = fetch(load(file), [DAY], brokers)
        [again] = fetch(load(file), [DAY], brokers)
    assert (first.sent, first.refused) == (19, 1) and (again.sent, again.refused) == (0, 0)
    told = catch_up(lake, source, brokers, Calendar())
    assert sum(told.rows.values()) == 19 and not told.quarantined
    [(key, value, headers)] = letters(brokers, f"{source.topic}.dead")
    assert key == "o7" and value and b"a lot" in value and b"breaks its schema" in headers["reason"]


def test_a_schema_that_is_not_compatible_stops_a_fetch_before_it_asks_the_api(
    registry: Registry, brokers: Kafka, home: Path, tmp_path: Path
):
    source, file = stream(format="avro"), tmp_path / "orders.json"
    registry.register(source.topic, SCHEMAS["avro"])
    needs = {**AVRO, "fields": [*AVRO["fields"], {"name": "currency", "type": "string"}]}
    allows = {**AVRO, "fields": [*AVRO["fields"], {"name": "currency", "type": ["null", "string"], "default": None}]}  # fmt: skip
    with orders_feed(5) as feed:
        for definition, requests in ((needs, 0), (allows, 1)):
            sink = {"kafka": source.topic, "kafka_schema": {"format": "avro", "definition": definition}}
            file.write_text(json.dumps(feed.document(name=source.name, sink=sink)))
            if definition is needs:
                with pytest.raises(IncompatibleError, match="Give new fields a default"):
                    list(fetch(load(file), [DAY], brokers))
            else:
                assert [one.sent for one in fetch(load(file), [DAY], brokers)] == [5]
            assert feed.requests >= requests and (requests or not feed.requests)


def test_a_plan_says_that_a_schema_is_not_compatible(
    registry: Registry, home: Path, monkeypatch: pytest.MonkeyPatch
):
    source = stream(json_schema={**JSON, "required": ["id", "currency"]})
    registry.register(source.topic, SCHEMAS["json"])
    nothing = {"lake": dg.ResourceDefinition.none_resource()}
    found = catalog(dg.Definitions([stream_asset(source)], resources=nothing))
    [note] = schema_notes(found, source.table)
    assert f"the schema of {source.topic} is not compatible" in note
    new = stream(json_schema=JSON)
    assert schema_notes(catalog(dg.Definitions([stream_asset(new)], resources=nothing)), new.table) == ()
    monkeypatch.setenv("ASGARD_SCHEMA_REGISTRY", "http://127.0.0.1:1")
    [note] = schema_notes(found, source.table)
    assert "does not answer" in note


def test_a_registry_that_is_away_stops_the_stream_and_sets_nothing_aside(
    registry: Registry, brokers: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lake, source = Lake(str(tmp_path / "lake")), stream()
    encoder = Encoder(SCHEMAS["json"], registry.register(source.topic, SCHEMAS["json"]))
    brokers.make_topic(source.topic, 1)
    send(brokers, source.topic, [("a", encoder.value({"id": "a"}))])
    monkeypatch.setenv("ASGARD_SCHEMA_REGISTRY", "http://127.0.0.1:1")
    with pytest.raises(RegistryAway, match="Check ASGARD_SCHEMA_REGISTRY"):
        catch_up(lake, source, brokers, Calendar())
    assert lake.table("quarantine", source.name) is None
    monkeypatch.setenv("ASGARD_SCHEMA_REGISTRY", registry.url)
    assert sum(catch_up(lake, source, brokers, Calendar()).rows.values()) == 1
    monkeypatch.setenv("ASGARD_SCHEMA_REGISTRY", "")
    with pytest.raises(ConfigError, match="no schema registry is set"):
        catch_up(lake, source, brokers, Calendar())
