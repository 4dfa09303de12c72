"""The project's sources: APIs, files, databases and Airbyte connections, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from asgard_assets import project
from asgard_assets.errors import ConfigError
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.ingest.sql.source import SqlSource

if TYPE_CHECKING:
    import dagster as dg

CONNECTION = "airbyte/connection_id"


class Kind(StrEnum):
    """What a source reads from."""

    api = "api"
    files = "files"
    database = "database"
    airbyte = "airbyte"


@dataclass(frozen=True)
class Source:
    """One source. `reads`: an address, a folder, or the id of a connection. `assets` are what a run of it makes;
    `tables` are its Bronze tables."""

    name: str
    kind: Kind
    reads: str
    assets: tuple[str, ...]
    tables: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True)
class Catalog:
    """The sources of a project, with what their YAML says. API sources are without their `auth`."""

    definitions: dg.Definitions
    files: Mapping[str, FileSource]
    apis: Mapping[str, ApiSource]
    databases: Mapping[str, SqlSource]
    sources: tuple[Source, ...] = field(default=())

    @property
    def graph(self) -> dg.AssetGraph:
        return self.definitions.resolve_asset_graph()

    def named(self, name: str) -> Source | None:
        """The source of that name; None where there is none. Raises ConfigError where two kinds have one."""
        found = [source for source in self.sources if source.name == name]
        if len(found) > 1:
            raise ConfigError(
                f"{name} is the name of {len(found)} sources; name a table instead: "
                + ", ".join(table for source in found for table in source.tables)
            )
        return found[0] if found else None

    def database_of(self, asset: str) -> SqlSource | None:
        """The database that a Bronze table is read from."""
        for source in self.databases.values():
            if asset in (f"bronze/{source.bronze_name(table)}" for table in source.tables):
                return source
        return None

    def of_table(self, asset: str) -> Source | None:
        """The source that fills a Bronze table, or that syncs a stream."""
        return next((source for source in self.sources if asset in source.assets), None)


def catalog(definitions: dg.Definitions | None = None) -> Catalog:
    """Every source that the code location has an asset for."""
    from asgard_assets.components.api import API_SOURCE
    from asgard_assets.components.files import SOURCE
    from asgard_assets.components.sql import SQL_SOURCE

    definitions = definitions or load_definitions()
    files, apis, databases = dict[str, FileSource](), dict[str, ApiSource](), dict[str, SqlSource]()
    streams: dict[tuple[str, str], list[str]] = {}
    for spec in definitions.resolve_all_asset_specs():
        if told := _value(spec.metadata.get(SOURCE)):
            source = FileSource.model_validate(told)
            files[source.name] = source
        elif told := _value(spec.metadata.get(API_SOURCE)):
            api = ApiSource.model_validate(told)
            apis[api.name] = api
        elif told := _value(spec.metadata.get(SQL_SOURCE)):
            database = SqlSource.model_validate(told)
            databases[database.name] = database
        elif connection := _value(spec.metadata.get(CONNECTION)):
            streams.setdefault((spec.tags["connection"], connection), []).append(spec.key.to_user_string())
    found = [
        *map(_of_files, files.values()), *map(_of_api, apis.values()), *map(_of_database, databases.values())
    ]  # fmt: skip
    for (name, connection), assets in streams.items():
        loaded = (f for f in files.values() if any("/".join(dep) in assets for dep in f.deps))
        tables = tuple(sorted(f"bronze/{f.name}" for f in loaded))
        found.append(
            Source(name, Kind.airbyte, connection, tuple(sorted(assets)), tables, "Airbyte connection")
        )
    return Catalog(definitions, files, apis, databases, tuple(sorted(found, key=lambda source: source.name)))


def load_definitions() -> dg.Definitions:
    return project.current().definitions()


def _of_files(source: FileSource) -> Source:
    table = f"bronze/{source.name}"
    return Source(source.name, Kind.files, f"{source.path}/", (table,), (table,), source.description)


def _of_api(source: ApiSource) -> Source:
    tables = (source.sink.table, *source.sink.child_tables)  # one step makes them all
    address = f"{source.endpoint.base_url}{source.endpoint.path}"
    return Source(source.name, Kind.api, address, tables, tables, source.quality.description)


def _of_database(source: SqlSource) -> Source:
    tables = tuple(f"bronze/{source.bronze_name(table)}" for table in source.tables)
    return Source(
        source.name, Kind.database, source.reads, tables, tables, f"{source.database.type} database"
    )


def _value(told: Any) -> Any:
    """Metadata as it was given, whether Dagster has wrapped it or not."""
    return told.value if hasattr(told, "value") else told
