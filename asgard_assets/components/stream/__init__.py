"""Streams in the asset graph: a topic that a fetcher fills, a topic as a Bronze table, a stream's table in Postgres."""

# No `from __future__ import annotations`: Dagster reads the annotations of the asset functions as objects.

from collections.abc import Iterator
from typing import Any, Self, cast

import dagster as dg
from pydantic import BaseModel

from asgard_assets.components.authoring.stream_scaffolds import (
    CurrentScaffolder,
    EventsScaffolder,
    KafkaScaffolder,
)
from asgard_assets.components.automation import on_update
from asgard_assets.components.failures import clear_failures, retry_policy
from asgard_assets.components.following.reads import declared_code
from asgard_assets.components.partitions import partitions_of
from asgard_assets.components.tables import metered, publish, table_asset
from asgard_assets.ingest.stream.current import CurrentState
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.ingest.stream.table import table_spec
from asgard_assets.lake.reads import number
from asgard_assets.settings import Settings
from asgard_assets.sinks.events import EventsSink

STREAM_SOURCE = "stream_source"
"""Metadata of the asset: the stream's configuration."""


@dg.scaffold_with(KafkaScaffolder)
class KafkaIngest(dg.Component):
    """A topic of Kafka as a Bronze table: micro-batches, exactly once; bad records go to quarantine."""

    def __init__(self, source: StreamSource) -> None:
        self.source = source

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return StreamSource

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        return cls(cast(StreamSource, attributes))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return dg.Definitions(assets=[stream_asset(self.source)], sensors=[lag_sensor(self.source)])


@dg.scaffold_with(EventsScaffolder)
class PostgresSink(dg.Component):
    """A stream's Bronze table in Postgres: `raw.api_events`, each record once."""

    def __init__(self, sink: EventsSink) -> None:
        self.sink = sink

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return EventsSink

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        return cls(cast(EventsSink, attributes))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return dg.Definitions(assets=[sink_asset(self.sink)])


@dg.scaffold_with(CurrentScaffolder)
class CurrentTable(dg.Component):
    """The rows that a database has now, from the changes that a stream brought."""

    def __init__(self, state: CurrentState) -> None:
        self.state = state

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return CurrentState

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        return cls(cast(CurrentState, attributes))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return dg.Definitions(assets=[current_asset(self.state)])


def current_asset(state: CurrentState) -> dg.AssetsDefinition:
    """The Silver asset: a run replaces the table as a whole, by one commit."""

    @table_asset(
        state.spec,
        name=f"current_{state.name}",
        deps=[dg.AssetKey(state.table.split("/"))],
        automation=on_update(),
        code_version=declared_code(state),
        required_resource_keys={"lake"},
    )
    def build_current(context: dg.AssetExecutionContext) -> Iterator[Any]:
        from asgard_assets.ingest.stream.current import stage_current

        lake = context.resources.lake.lake
        with clear_failures():
            yield from publish(context, lake, state.spec, stage_current(lake, state))

    return build_current


def stream_partitions(source: StreamSource) -> dg.PartitionsDefinition:
    """The windows of the source's table, crossed with its second column where it has one."""
    return partitions_of(source.every, source.time_zone, source.partitions)


def stream_asset(source: StreamSource) -> dg.AssetsDefinition:
    """The Bronze asset: a run publishes what the topic has when it begins, in whatever windows that lies."""
    spec = table_spec(source)
    deps = [dg.AssetKey(list(dep)) for dep in source.deps] or [topic_key(source.topic)]

    @table_asset(
        spec,
        name=f"stream_{source.name}",
        deps=deps,
        partitions_def=stream_partitions(source),
        code_version=declared_code(source),
        extra_metadata={STREAM_SOURCE: dg.MetadataValue.json(source.model_dump(mode="json"))},
        pool=f"stream:{source.name}",
        required_resource_keys={"lake"},
    )
    def load_stream(context: dg.AssetExecutionContext) -> Iterator[Any]:
        from asgard_assets.components.stream.caught_up import report_stream
        from asgard_assets.ingest.stream.kafka import Kafka
        from asgard_assets.ingest.stream.load import catch_up

        lake, settings = context.resources.lake.lake, Settings()
        with clear_failures():
            told = catch_up(
                lake,
                source,
                Kafka.from_settings(settings),
                settings.calendar(source.every, source.time_zone),
                metadata={"dagster_run_id": context.run.run_id},
                code=number(declared_code(source)),
            )
            yield from report_stream(context, lake, spec, told)

    return load_stream


def lag_sensor(source: StreamSource) -> dg.SensorDefinition:
    """Asks for a run when the topic has records that the table has not, one run at a time."""
    key = dg.AssetKey(["bronze", source.name])

    @dg.sensor(
        name=f"{source.name}_lag",
        asset_selection=dg.AssetSelection.assets(key),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Publishes what waits in the topic {source.topic} in bronze/{source.name}.",
    )
    def look_for_lag(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        from asgard_assets.components.stream.caught_up import requested

        return requested(context, source)

    return look_for_lag


def sink_asset(sink: EventsSink) -> dg.AssetsDefinition:
    """The table in Postgres as an asset; a run moves what Postgres has not yet."""

    @dg.multi_asset(
        name=f"postgres_{sink.name}",
        specs=[
            dg.AssetSpec(
                key=["postgres", sink.name],
                deps=[dg.AssetKey(sink.table.split("/"))],
                description=sink.description or f"{sink.table} in Postgres, in {sink.target}.",
                group_name="postgres",
                owners=list(sink.owners or (Settings().owner,)),
                kinds={"postgres"},
                metadata={"dagster/table_name": sink.target},
            )
        ],
        retry_policy=retry_policy(None),
        pool=f"postgres:{sink.name}",
        required_resource_keys={"lake"},
    )
    @metered
    def fill_postgres(context: dg.AssetExecutionContext) -> Iterator[Any]:
        from asgard_assets.ingest.api.source.secrets import resolve
        from asgard_assets.sinks.events import sink_events

        with clear_failures():
            url = resolve(sink.url, sink.name).value
            told = sink_events(context.resources.lake.lake, sink, url)
        yield dg.MaterializeResult(
            metadata={
                "rows": told.rows,
                "upserted": told.upserted,
                "deleted": told.deleted,
                "refused": told.refused,
                "batches": told.batches,
            }
        )

    return fill_postgres


def topic_key(topic: str) -> dg.AssetKey:
    """The asset of a topic: events/orders of events.orders."""
    return dg.AssetKey(topic.split(".", 1))
