"""Scaffolds of streams, and of tables that are mirrored to Postgres."""

from __future__ import annotations

import dagster as dg
from pydantic import BaseModel, Field

from asgard_assets.components.authoring.defs_file import inline, name_for, write
from asgard_assets.ingest.api.source.schemes import SecretRef

_URL = "Address of Postgres, by reference such as env:SRC_POSTGRES."


class KafkaParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.stream.KafkaIngest`."""

    name: str | None = Field(default=None, description="Name of the Bronze table. Default: the last folder.")
    topic: str | None = Field(default=None, description="Topic that is read. Default: events.NAME.")


class KafkaScaffolder(dg.Scaffolder[KafkaParams]):
    """A topic of Kafka."""

    @classmethod
    def get_scaffold_params(cls) -> type[KafkaParams]:
        return KafkaParams

    def scaffold(self, request: dg.ScaffoldRequest[KafkaParams]) -> None:
        name = request.params.name or name_for(request.target_path)
        topic = request.params.topic or f"events.{name}"
        write(
            request,
            f"Records of a topic become rows of the table bronze/{name}. The brokers are ASGARD_KAFKA.",
            f"""\
  name: {inline(name)}
  topic: {inline(topic)}
  description: {inline(f"Records of the topic {topic}, one row each.")}
  # changes: debezium # where each record is a change of a database's row
""",
        )


class CurrentParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.stream.CurrentTable`."""

    name: str | None = Field(default=None, description="Name of the Silver table. Default: the last folder.")
    table: str | None = Field(
        default=None, description="Table of a stream with changes: debezium. Default: bronze/NAME_changes."
    )
    key: str = Field(default="id", description="Column that names a row: the database's primary key.")


class CurrentScaffolder(dg.Scaffolder[CurrentParams]):
    """The rows that a database has now."""

    @classmethod
    def get_scaffold_params(cls) -> type[CurrentParams]:
        return CurrentParams

    def scaffold(self, request: dg.ScaffoldRequest[CurrentParams]) -> None:
        given = request.params
        name = given.name or name_for(request.target_path)
        table = given.table or f"bronze/{name}_changes"
        write(
            request,
            f"The rows of {table} as they are now become the table silver/{name}.",
            f"""\
  name: {inline(name)}
  table: {inline(table)} # a stream with changes: debezium
  key: [{inline(given.key)}]
  columns: {{{inline(given.key)}: bigint}} # name and type of each column
  description: {inline(f"Rows of {table} as they are now.")}
""",
        )


class EventsParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.stream.PostgresSink`."""

    name: str | None = Field(default=None, description="Name of the sink. Default: the last folder.")
    table: str | None = Field(default=None, description="Table of a stream. Default: bronze/NAME.")
    url: SecretRef = Field(default="env:SRC_POSTGRES", description=_URL)


class EventsScaffolder(dg.Scaffolder[EventsParams]):
    """A stream's table in Postgres."""

    @classmethod
    def get_scaffold_params(cls) -> type[EventsParams]:
        return EventsParams

    def scaffold(self, request: dg.ScaffoldRequest[EventsParams]) -> None:
        given = request.params
        name = given.name or name_for(request.target_path)
        table = given.table or f"bronze/{name}"
        write(
            request,
            f"Records of {table} go to raw.api_events in Postgres, each once.",
            f"""\
  name: {inline(name)}
  table: {inline(table)} # a stream's table
  url: {inline(given.url)} # by reference only: postgresql://user:password@host/db
""",
        )


class MirrorParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.sinks.PostgresTable`."""

    name: str | None = Field(default=None, description="Name of the sink. Default: the last folder.")
    table: str | None = Field(default=None, description="Table of the lake. Default: gold/NAME.")
    target: str | None = Field(
        default=None, description="Table in Postgres, as schema.table. Default: public.NAME."
    )
    key: str = Field(default="id", description="Column that names a row within a partition.")
    url: SecretRef = Field(default="env:SRC_POSTGRES", description=_URL)


class MirrorScaffolder(dg.Scaffolder[MirrorParams]):
    """A table of the lake in Postgres."""

    @classmethod
    def get_scaffold_params(cls) -> type[MirrorParams]:
        return MirrorParams

    def scaffold(self, request: dg.ScaffoldRequest[MirrorParams]) -> None:
        given = request.params
        name = given.name or name_for(request.target_path)
        table, target = given.table or f"gold/{name}", given.target or f"public.{name}"
        write(
            request,
            f"The table {table} is mirrored to {target} in Postgres: upserts by key, deletes, new columns.",
            f"""\
  name: {inline(name)}
  table: {inline(table)}
  url: {inline(given.url)} # by reference only: postgresql://user:password@host/db
  target: {inline(target)} # made if it is missing
  key: [{inline(given.key)}] # names a row within a partition
""",
        )
