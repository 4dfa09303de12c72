"""Feature views as plain data: one YAML file each, read by Dagster (assets) and by Feast (`feature_repo/`).

A view names a Gold table, its entity and its features. Nothing here imports Feast or Dagster, so a code
location knows every feature without paying for either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from asgard_assets import project
from asgard_assets.errors import ConfigError
from asgard_assets.quality.tables import Check, Column, Model, TableSpec, TimeZone, refuse_slices
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, Every

COMPONENT = "asgard_assets.components.feast.FeatureView"
# Columns that each Gold table under a feature view carries.
EVENT_TIME, CREATED, ORIGIN = "event_timestamp", "created_at", "ds"

FeatureType = Literal["bigint", "double", "string", "boolean"]
KeyType = Literal["bigint", "string"]
NUMERIC: tuple[FeatureType, ...] = ("bigint", "double", "boolean")


class Feature(Model):
    type: FeatureType = Field(description="Type of the Gold column.")
    description: str = Field(default="", description="What the feature means, for the catalog and for Feast.")
    required: bool = Field(default=False, description="Whether a null in this column is an error.")


class FeatureViewSpec(Model):
    """One feature view over one Gold table that has `ds`, `event_timestamp` and `created_at`."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the view and of its asset.")
    description: str = Field(description="What the features say, and as of when.")
    table: str = Field(
        pattern=r"^[a-z]+/[a-z0-9_]+$", description="Table that the features are read from, as stage/table."
    )
    entity: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        description="What the features are about, such as product. Views of one entity have the same key.",
    )
    key: str | dict[str, KeyType] = Field(
        description="Column that names one entity (a bigint), or columns with their types, such as "
        "{product_id: bigint, store: string}."
    )
    every: Every = Field(
        default="day",
        description="Length of the table's partitions: hour, day, week or month. Features hold as of their end.",
    )
    time_zone: TimeZone = Field(
        default="", description="Zone of the table's windows, such as Asia/Tokyo. Empty: ASGARD_TIME_ZONE."
    )
    ttl_days: int = Field(ge=1, description="A value older than this is no longer served or joined.")
    features: dict[str, Feature] = Field(
        min_length=1, description="The features by name. Each is a column of the table."
    )
    checks: tuple[Check, ...] = Field(
        default=(), description="Conditions on the rows that Feast reads, beside those of every view."
    )
    owners: tuple[str, ...] = Field(
        default=(),
        description="Owners, as Dagster writes them: team:billing or an e-mail address. Default: ASGARD_OWNER.",
    )
    tags: dict[str, str] = Field(
        default_factory=dict, description="Tags of the asset, such as domain: billing."
    )
    kinds: tuple[str, ...] = Field(
        default=("feast", "duckdb"), description="Kinds that the UI shows at the asset, such as delta."
    )
    fresh_hours: float = Field(
        default=26, gt=0, description="A view older than this many hours is shown as stale."
    )
    retries: int | None = Field(
        default=None, ge=0, description="Retries of a run's step; default: setting ASGARD_RETRIES."
    )
    open_windows: bool = Field(
        default=False, description="Take a day that has not ended too, if somebody asks for it."
    )

    @model_validator(mode="before")
    @classmethod
    def _has_no_slices(cls, given: Any) -> Any:
        column = next(iter(given.get("partitions") or {}), "region") if isinstance(given, dict) else ""
        return refuse_slices(
            given,
            "a feature view has no second column, for the online store has one value for each entity. Leave it out: the view reads "
            f"all slices of its table. To have a value for each {column}, add it to the key, as {{product_id: bigint, {column}: "
            "string}",
        )

    @field_validator("key", mode="after")
    @classmethod
    def _has_a_key(cls, key: str | dict[str, KeyType]) -> str | dict[str, KeyType]:
        if not key:
            raise ValueError("a view needs at least one key column")
        return key

    @model_validator(mode="after")
    def _names_survive_feast(self) -> FeatureViewSpec:
        reserved = {EVENT_TIME, CREATED, ORIGIN, *self.keys}
        for name in self.features:
            if name.endswith("_y"):
                raise ValueError(f"feature {name}: Feast's join drops columns that end in _y; rename it")
            if name in reserved:
                raise ValueError(f"feature {name}: the view carries this column already")
        return self

    @property
    def keys(self) -> dict[str, KeyType]:
        """The key columns with their types, in order."""
        return {self.key: "bigint"} if isinstance(self.key, str) else self.key

    @property
    def calendar(self) -> Calendar:
        """The windows of the table."""
        return Settings().calendar(self.every, self.time_zone)

    @property
    def code(self) -> str:
        """All that it says, as text. What came later and is not said is left out: a version of before stays what it was."""
        return self.model_dump_json(exclude=None if self.time_zone else {"time_zone"})

    @property
    def stage(self) -> str:
        return self.table.split("/")[0]

    @property
    def source(self) -> str:
        return self.table.split("/")[1]

    def column(self, feature: str) -> str:
        """The feature's name in a training set, as Feast spells it."""
        return f"{self.name}__{feature}"

    @property
    def contract(self) -> TableSpec:
        """What a window must fulfil as Feast reads it. `ds` is the Gold partition, `window_end` its end."""
        types = [f'typeof("{name}") in ({_sql_types(f.type)})' for name, f in self.features.items()]
        required = [f'"{name}" is not null' for name, f in self.features.items() if f.required]
        checks = [
            Check(
                name="types_match",
                sql=" and ".join(types),
                description="Every feature has the type that the view declares.",
            ),
            Check(
                name="required_features_are_present",
                sql=" and ".join(required) or "true",
                description="No null in a required feature.",
            ),
            Check(
                name="is_within_ttl",
                sql=f"{EVENT_TIME} <= window_end and {EVENT_TIME} > window_end - interval {self.ttl_days} day",
                description=f"At the partition's end each row may be served: not later, not older than {self.ttl_days} days.",
            ),
            Check(
                name="was_known_at_event_time",
                sql=f"{CREATED} <= {EVENT_TIME}",
                severity="warn",
                description="Rows that got late data; training leaves them out of snapshots before they were known.",
            ),
            Check(
                name="reads_every_gold_row",
                sql="true",
                description="Feast's window has exactly the rows that Gold published for each day.",
            ),
            Check(
                name="copies_no_byte",
                sql="true",
                description="The files that Feast's DuckDB opens are those of Gold's Delta log, path by path.",
            ),
            *self.checks,
        ]
        columns = {n: Column(type=kind, description="Entity key.") for n, kind in self.keys.items()}
        columns |= {n: Column(type=f.type, description=f.description) for n, f in self.features.items()}
        columns |= {
            EVENT_TIME: Column(type="timestamp", description="As of when the features hold."),
            CREATED: Column(type="timestamp", description="Since when they were knowable."),
            ORIGIN: Column(type="string", description="Gold partition that the row lies in."),
        }
        return TableSpec(
            stage="features",
            name=self.name,
            description=self.description,
            key=tuple(self.keys),
            columns=columns,
            checks=tuple(checks),
            owners=self.owners,
            tags={"table": self.table.replace("/", "."), **self.tags},
            kinds=self.kinds,
            every=self.every,
            time_zone=self.time_zone,
            fresh_hours=self.fresh_hours,
            retries=self.retries,
        )


def _sql_types(kind: FeatureType) -> str:
    accepted = {
        "bigint": ("BIGINT", "INTEGER", "SMALLINT", "TINYINT"),
        "double": ("DOUBLE", "FLOAT"),
        "string": ("VARCHAR",),
        "boolean": ("BOOLEAN",),
    }[kind]
    return ", ".join(f"'{name}'" for name in accepted)


def files_of_views(folder: Path | None = None) -> list[Path]:
    """The files below `folder` (the project's definitions) that declare a feature view."""
    files = sorted((folder or project.current().defs).rglob("defs.yaml"))
    return [file for file in files if COMPONENT in file.read_text()]


def feature_views(folder: Path | None = None) -> dict[str, FeatureViewSpec]:
    """Every view under `folder` by name. Raises ConfigError naming the file where one is wrong."""
    import yaml

    found: dict[str, FeatureViewSpec] = {}
    for file in files_of_views(folder):
        for document in yaml.safe_load_all(file.read_text()):
            if not document or document.get("type") != COMPONENT:
                continue
            try:
                view = FeatureViewSpec.model_validate(document.get("attributes") or {})
            except ValidationError as error:
                raise ConfigError(f"{file}: {error}", file=str(file)) from error
            if view.name in found:
                raise ConfigError(f"{file}: the feature view {view.name} is declared twice", file=str(file))
            found[view.name] = view
    return found


def keys_of(views: Iterable[FeatureViewSpec]) -> dict[str, KeyType]:
    """Every key column of several views with its type, in the order in which the views name them."""
    return {name: kind for view in views for name, kind in view.keys.items()}


def fingerprint(views: dict[str, FeatureViewSpec]) -> str:
    """A short hash of what the views define; a model's run names it."""
    text = "\n".join(views[name].code for name in sorted(views))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
