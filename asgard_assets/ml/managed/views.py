"""Feature views that were sent to the API: any table of the lake, its key, and the columns that are features.

Feast reads the table's own files. A table without a time of its own holds what is known since it was committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from asgard_assets.errors import ConfigError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.lake.sql import identifier
from asgard_assets.lake.store import Store
from asgard_assets.ml.views import CREATED, EVENT_TIME, ORIGIN, FeatureType, FeatureViewSpec, KeyType
from asgard_assets.quality.tables import Model
from asgard_assets.revisions import NAME, Revisions

FOLDER = "_managed/features"
_TYPES: dict[str, FeatureType] = {
    "byte": "bigint", "short": "bigint", "integer": "bigint", "long": "bigint", "float": "double", "double": "double",
    "string": "string", "boolean": "boolean",
}  # fmt: skip
_TIMES = ("timestamp", "timestamp_ntz", "date")
_SQL = {"bigint": "bigint", "double": "double", "string": "varchar", "boolean": "boolean"}


class ManagedView(Model):
    """One revision of a feature view."""

    name: str = Field(pattern=NAME, description="Name of the view and of its asset.")
    table: str = Field(description="Table that the features are read from, as stage/name.")
    keys: dict[str, KeyType] = Field(min_length=1, description="Columns that name an entity, with types.")
    features: dict[str, FeatureType] = Field(min_length=1, description="The features, with types.")
    event_time: str = Field(default="", description="Column: since when a row holds. Empty: its commit.")
    created: str = Field(default="", description="Column: since when a row is known. Empty: as event_time.")
    ttl_days: int | None = Field(default=None, ge=1, description="How long a value holds; none: for ever.")
    workspace: str = Field(default="default", description="Workspace that the view belongs to.")
    owner: str = Field(default="", description="Who made it: an account of the gateway.")
    description: str = Field(default="", description="What the features say.")

    @classmethod
    def of_project(cls, view: FeatureViewSpec) -> ManagedView:
        """A view of the project's files, to be read beside those that were sent."""
        return cls(
            name=view.name, table=view.table, keys=view.keys, features={n: f.type for n, f in view.features.items()},
            event_time=EVENT_TIME, created=CREATED, ttl_days=view.ttl_days, workspace="", description=view.description,
        )  # fmt: skip

    @property
    def place(self) -> tuple[str, str]:
        """Stage and name of the table."""
        stage, _, name = self.table.partition("/")
        return stage, name


def views(store: Store) -> Revisions[ManagedView]:
    """The views of a lake."""
    return Revisions(store, FOLDER, ManagedView, "the feature view")


@dataclass(frozen=True)
class Columns:
    """What of a table's columns Feast can hold, and which are times."""

    types: Mapping[str, FeatureType]
    times: Sequence[str]

    def described(
        self, table: str, keys: Sequence[str], features: Sequence[str], event_time: str = ""
    ) -> dict[str, Any]:
        """`keys`, `features` and times of a view over it. Without features: all columns. Raises ConfigError."""
        types = dict[str, KeyType]()
        for name in keys:
            kind = self.types.get(name)
            if kind not in ("bigint", "string"):
                raise ConfigError(
                    f"entities: {name[:100]!r} is no column of {table} with whole numbers or text; there are "
                    f"{', '.join(n for n, k in self.types.items() if k in ('bigint', 'string'))[:500] or 'none'}"
                )
            types[name] = kind
        if event_time and event_time not in self.times:
            raise ConfigError(
                f"source.timestamp_field: {event_time[:100]!r} is no time of {table}; there are "
                f"{', '.join(self.times) or 'none'}"
            )
        event_time = event_time or (EVENT_TIME if EVENT_TIME in self.times else "")
        rest = [name for name in self.types if name not in {*keys, EVENT_TIME, CREATED, ORIGIN, event_time}]
        if unknown := [name for name in features if name not in rest]:
            raise ConfigError(
                f"features: {', '.join(unknown)[:200]} cannot be one of {table}; there are {', '.join(rest)[:500]}"
            )
        if not rest:
            raise ConfigError(f"{table} has no column beside its key that can be a feature")
        if ends := [name for name in features or rest if name.endswith("_y")]:
            raise ConfigError(
                f"features: Feast's join drops columns that end in _y: rename {', '.join(ends)}"
            )
        return {
            "keys": types,
            "features": {name: self.types[name] for name in features or rest},
            "event_time": event_time,
            "created": CREATED if event_time and CREATED in self.times else "",
        }


def columns(lake: Lake, stage: str, name: str) -> Columns:
    """Raises NotFoundError where there is no such table."""
    table = lake.table(stage, name)
    if table is None:
        raise NotFoundError(f"there is no table {stage}.{name}")
    types, times = dict[str, FeatureType](), list[str]()
    for field in table.schema().fields:
        kind = str(getattr(field.type, "type", ""))
        if kind in _TIMES:
            times.append(field.name)
        if kind in _TYPES or kind.startswith("decimal"):
            types[field.name] = _TYPES.get(kind, "double")
    return Columns(types, times)


@dataclass(frozen=True)
class Reading:
    """A view's rows in DuckDB's SQL, at one version of its table."""

    sql: str
    version: int


def reading(lake: Lake, view: ManagedView) -> Reading:
    """Keys and features, `event_timestamp` and `created_at`. Raises NotFoundError where the table is gone."""
    table = lake.table(*view.place)
    if table is None:
        raise NotFoundError(f"{view.table}, which the feature view {view.name} reads, is not there")
    version = table.version()
    committed = datetime.fromtimestamp(table.history(1)[0]["timestamp"] / 1000, UTC)
    known = f"timestamptz '{committed.isoformat()}'"
    event = f"{identifier(view.event_time)}::timestamptz" if view.event_time else known
    created = f"{identifier(view.created)}::timestamptz" if view.created else event
    chosen = [
        f"{identifier(n)}::{_SQL[kind]} as {identifier(n)}"
        for n, kind in {**view.keys, **view.features}.items()
    ]
    return Reading(
        f"select {', '.join(chosen)}, {event} as {EVENT_TIME}, {created} as {CREATED} "
        f"from {lake.delta_scan(*view.place, f'version={version}')}",
        version,
    )
