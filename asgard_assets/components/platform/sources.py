"""Databases and topics that were connected through the API: immutable definitions in the lake, and their assets.

<lake>/_managed/sources/<id>.json       a source
<lake>/_managed/ingestions/<id>.json    what is read from it: the same document as in a `defs.yaml`
"""

# No `from __future__ import annotations`: Dagster wants to see types, not their names.
import json
import logging
from typing import Any, Literal, TypeVar

import dagster as dg
from pydantic import Field, JsonValue, ValidationError

from asgard_assets.components.pulls import Pull
from asgard_assets.components.sql import sql_asset, sql_schedules
from asgard_assets.components.stream import stream_asset
from asgard_assets.errors import AsgardError, ConfigError, ConflictError
from asgard_assets.ingest.sql.source import Server, SqlSource
from asgard_assets.ingest.stream.source import StreamSource
from asgard_assets.lake import Lake
from asgard_assets.lake.store import Store
from asgard_assets.quality.tables import Model

log = logging.getLogger(__name__)
FOLDER = "_managed"


class ManagedSource(Model):
    """A database or a topic. A password is a reference; it is not in here."""

    source_id: str = Field(description="Id of the source.")
    name: str = Field(description="Its name, as it was sent.")
    source_type: Literal["postgres", "mysql", "kafka"] = Field(description="What it is.")
    workspace: str = Field(description="Workspace that it belongs to.")
    server: Server | None = Field(default=None, description="The database; none of a topic.")
    db_schema: str = Field(default="", description="Schema of the tables.")
    streams: tuple[str, ...] = Field(
        default=(), description="Tables or topics to read. Of a database, none: all."
    )
    cursors: dict[str, JsonValue] = Field(default_factory=dict, description="How single tables are loaded.")
    created: int = Field(description="Seconds since 1970.")


class ManagedIngestion(Model):
    """Streams of a source, and the Bronze tables that they become. `tables`: name of the stream to name in Bronze."""

    connection_id: str = Field(description="Id of the ingestion.")
    name: str = Field(description="Its name, as it was sent.")
    source_id: str = Field(description="Id of the source.")
    destination_id: str = Field(description="Id of the sink.")
    workspace: str = Field(description="Workspace that it belongs to.")
    schedule: str = Field(default="", description="Cron line; empty: it runs once.")
    tables: dict[str, str] = Field(description="Bronze table of each stream.")
    database: SqlSource | None = Field(default=None, description="What is read of a database.")
    topics: tuple[StreamSource, ...] = Field(default=(), description="What is read of Kafka.")
    created: int = Field(description="Seconds since 1970.")


Kept = TypeVar("Kept", ManagedSource, ManagedIngestion)
_FOLDERS: dict[type[Model], str] = {
    ManagedSource: f"{FOLDER}/sources",
    ManagedIngestion: f"{FOLDER}/ingestions",
}


def keep(store: Store, one: ManagedSource | ManagedIngestion) -> None:
    """Write it down. Raises ConflictError where there is one of this id."""
    id = one.source_id if isinstance(one, ManagedSource) else one.connection_id
    content = one.model_dump_json(by_alias=True).encode()
    if not store.put_new(f"{_FOLDERS[type(one)]}/{id}.json", content):
        raise ConflictError(f"there is a definition {id} already")


def kept(store: Store, kind: type[Kept]) -> list[Kept]:
    """All of a kind, the oldest first. Raises ConfigError for one that cannot be read."""
    found = list[Kept]()
    for name in store.names(_FOLDERS[kind]):
        try:
            found.append(kind.model_validate(json.loads(store.get(f"{_FOLDERS[kind]}/{name}"))))
        except (ValueError, ValidationError) as error:
            raise ConfigError(f"{_FOLDERS[kind]}/{name} in the lake is no definition: {error}") from error
    return sorted(found, key=lambda one: one.created)


def managed_sources(own: dg.Definitions, store: Store | None = None) -> dg.Definitions:
    """Assets and schedules of what was connected, but for tables that the project's `own` definitions make."""
    try:
        found = kept(store or Lake.from_settings(), ManagedIngestion)
    except (AsgardError, OSError) as error:
        log.warning("sources that were made through the API are not loaded: %s", error)
        return dg.Definitions()
    taken = {key for each in own.assets or () if isinstance(each, dg.AssetsDefinition) for key in each.keys}
    assets: list[dg.AssetsDefinition] = []
    schedules: list[Any] = []
    for one in found:
        made = _assets(one)
        if taken & {key for asset in made for key in asset.keys}:
            log.warning("%s: the project's own files make one of its tables: it is left out", one.name)
            continue
        assets += made
        if one.database and one.schedule:
            schedules += sql_schedules(one.database, Pull(cron=one.schedule))
    return dg.Definitions(assets=assets, schedules=schedules)


def _assets(one: ManagedIngestion) -> list[dg.AssetsDefinition]:
    if one.database:
        return [sql_asset(one.database, table) for table in one.database.tables]
    return [stream_asset(topic) for topic in one.topics]
