"""The feature views as Feast's objects: entities and views from YAML, the rest from `feature_repo/definitions.py`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from asgard_assets import project
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.ml.views import (
    CREATED,
    EVENT_TIME,
    ORIGIN,
    FeatureViewSpec,
    feature_views,
    files_of_views,
)


@dataclass(frozen=True)
class Repository:
    """Where a project declares its features: `views` holds a YAML file for each view, `folder` what needs code."""

    folder: Path
    views: Path

    @classmethod
    def of_project(cls) -> Repository:
        found = project.current()
        return cls(found.features, found.defs)

    @property
    def settings(self) -> Path:
        return self.folder / "feature_store.yaml"

    @property
    def code(self) -> Path:
        """On-demand views and services. A project without any has no such file."""
        return self.folder / "definitions.py"

    def declared(self) -> dict[str, Any]:
        """What the project sets of Feast."""
        import yaml

        return yaml.safe_load(self.settings.read_text())

    def kept(self, home: Path) -> Path:
        """Where the registry and a local online store lie."""
        return home / "feast"

    def sources(self) -> list[Path]:
        """Every file that decides what Feast knows."""
        return [file for file in (self.code, *files_of_views(self.views)) if file.exists()]

    def stamp(self, lake: Lake) -> bytes:
        """What changes where Feast must be told anew."""
        return b"\0".join([lake.root.encode(), *(f.read_bytes() for f in self.sources())])

    def query(self, lake: Lake, path: str) -> str | None:
        """DuckDB's SQL of a source that is no plain table."""
        return None

    def objects(self, lake: Lake) -> list[Any]:
        """Every Feast object: those of the YAML files, and what the code defines beside them."""
        found = feast_objects(feature_views(self.views), lake)
        if self.code.exists():
            found |= _defined(_loaded(self.code))
        return list(found.values())


def feast_objects(
    views: Mapping[str, FeatureViewSpec] | None = None, lake: Lake | None = None
) -> dict[tuple[str, str], Any]:
    """Entities and views by kind and name. Raises ConfigError where two views disagree about an entity's key."""
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.data_format import DeltaFormat
    from feast.types import Bool, Float64, Int64, String

    types: dict[str, Any] = {"bigint": Int64, "double": Float64, "string": String, "boolean": Bool}
    values = {"bigint": ValueType.INT64, "string": ValueType.STRING}
    lake = lake or Lake.from_settings()
    found: dict[tuple[str, str], Any] = {}
    seen: dict[str, FeatureViewSpec] = {}
    for spec in (feature_views() if views is None else views).values():
        other = seen.setdefault(spec.entity, spec)
        if other.keys != spec.keys:
            raise ConfigError(
                f"the feature views {other.name} and {spec.name} are about {spec.entity}, with the keys "
                f"{other.keys} and {spec.keys}; give both the same key, or the entity another name"
            )
        entities = []
        for column, kind in spec.keys.items():
            # Feast's entities have one key each: of several columns each is an entity of its own.
            name = spec.entity if len(spec.keys) == 1 else column
            entity = Entity(name=name, join_keys=[column], value_type=values[kind])
            entities.append(found.setdefault(("Entity", name), entity))
        schema = [
            *(Field(name=column, dtype=types[kind]) for column, kind in spec.keys.items()),
            *(
                Field(name=n, dtype=types[f.type], description=f.description)
                for n, f in spec.features.items()
            ),
            # Which Gold row a joined value came from.
            Field(name=ORIGIN, dtype=String),
        ]
        source = FileSource(
            name=f"{spec.name}_source",
            path=lake.duckdb_path(spec.stage, spec.source),
            file_format=DeltaFormat(),
            timestamp_field=EVENT_TIME,
            created_timestamp_column=CREATED,
        )
        found["FeatureView", spec.name] = FeatureView(
            name=spec.name,
            entities=entities,
            ttl=timedelta(days=spec.ttl_days),
            schema=schema,
            source=source,
            description=spec.description,
            tags=dict(spec.tags),
            owner=next(iter(spec.owners), ""),
        )
    return found


def feast_views() -> dict[str, Any]:
    """The project's views by name, and its entities, for the module that the feast CLI reads."""
    return {
        name if kind == "FeatureView" else f"{name}_entity": value
        for (kind, name), value in feast_objects().items()
    }


def _defined(module: ModuleType) -> dict[tuple[str, str], Any]:
    """What a module defines, as the feast CLI would collect it."""
    from feast import Entity, FeatureService, FeatureView
    from feast.data_source import DataSource
    from feast.on_demand_feature_view import OnDemandFeatureView

    kinds = (Entity, FeatureService, FeatureView, OnDemandFeatureView, DataSource)
    return {
        (type(value).__name__, value.name): value
        for value in vars(module).values()
        if isinstance(value, kinds)
    }


def _loaded(file: Path) -> ModuleType:
    name = "feature_repo.definitions"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Feast reads the source of on-demand views through their module.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
