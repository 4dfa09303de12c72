"""Tables of the lake that are mirrored elsewhere."""

# No `from __future__ import annotations`: Dagster reads the annotations of the asset functions as objects.

from collections.abc import Iterator
from typing import Any, Self, cast

import dagster as dg
from pydantic import BaseModel

from asgard_assets.components.authoring.stream_scaffolds import MirrorScaffolder
from asgard_assets.components.automation import on_update
from asgard_assets.components.failures import clear_failures, retry_policy
from asgard_assets.components.tables import metered
from asgard_assets.settings import Settings
from asgard_assets.sinks.mirror import MirrorSink


@dg.scaffold_with(MirrorScaffolder)
class PostgresTable(dg.Component):
    """A table of the lake as a table of Postgres: upserts by key, deletes, new columns."""

    def __init__(self, sink: MirrorSink) -> None:
        self.sink = sink

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return MirrorSink

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        return cls(cast(MirrorSink, attributes))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return dg.Definitions(assets=[mirror_asset(self.sink)])


def mirror_asset(sink: MirrorSink) -> dg.AssetsDefinition:
    """The table in Postgres as an asset; a run brings it to what the lake has."""

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
                automation_condition=on_update() if sink.automation == "on_change" else None,
                metadata={"dagster/table_name": sink.target},
            )
        ],
        retry_policy=retry_policy(None),
        pool=f"postgres:{sink.name}",
        required_resource_keys={"lake"},
    )
    @metered
    def fill_table(context: dg.AssetExecutionContext) -> Iterator[Any]:
        from asgard_assets.ingest.api.source.secrets import resolve
        from asgard_assets.sinks.mirror import mirror

        with clear_failures():
            url = resolve(sink.url, sink.name).value
            told = mirror(context.resources.lake.lake, sink, url)
        yield dg.MaterializeResult(
            metadata={
                "rows": told.upserted,
                "upserted": told.upserted,
                "deleted": told.deleted,
                "partitions": len(told.partitions),
                "new_columns": ", ".join(told.columns) or "none",
            }
        )

    return fill_table
