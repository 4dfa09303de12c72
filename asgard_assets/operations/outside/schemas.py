"""Whether the schema registry takes the schemas that topics and streams declare: said by a plan, before a fetch fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from asgard_assets.components.stream import STREAM_SOURCE
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.stream.registry import Registry
from asgard_assets.ingest.stream.schemas import problem
from asgard_assets.ingest.stream.source import StreamSource

if TYPE_CHECKING:
    from asgard_assets.ingest.api.source.sink import TopicSchema
    from asgard_assets.operations.sources import Catalog


def schema_notes(catalog: Catalog, asset: str) -> tuple[str, ...]:
    """What stands against the schemas of an asset; nothing where it declares none, or the registry takes it."""
    found = list(_declared(catalog, asset))
    if not found:
        return ()
    try:
        registry = Registry.from_settings()
    except ConfigError as error:
        return (error.message,)
    return tuple(filter(None, (problem(registry, topic, schema) for topic, schema in found)))


def _declared(catalog: Catalog, asset: str) -> Iterator[tuple[str, TopicSchema]]:
    for api in catalog.apis.values():
        if api.sink.kafka and api.sink.kafka_schema and api.sink.table == asset:
            yield api.sink.kafka, api.sink.kafka_schema
    for spec in catalog.definitions.resolve_all_asset_specs():
        if spec.key.to_user_string() == asset and (told := _value(spec.metadata.get(STREAM_SOURCE))):
            stream = StreamSource.model_validate(told)
            if stream.declared_schema:
                yield stream.topic, stream.declared_schema


def _value(value: Any) -> Any:
    return getattr(value, "value", value)
