"""The views that were sent to the API, as Feast's objects. They have a registry and an online store of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from asgard_assets import project
from asgard_assets.lake import Lake
from asgard_assets.ml.managed.views import ManagedView, reading
from asgard_assets.ml.views import CREATED, EVENT_TIME

_PLAIN: dict[str, Any] = {
    "provider": "local",
    "offline_store": {"type": "duckdb"},
    "online_store": {"type": "sqlite"},
    "entity_key_serialization_version": 3,
}


@dataclass(frozen=True)
class ManagedRepository:
    """These views. Feast reads each by its `path`, which stands for a query over the table's own files."""

    views: Sequence[ManagedView]

    @property
    def folder(self) -> Path:
        return project.current().features

    def declared(self) -> dict[str, Any]:
        """As the project sets Feast, where it does, under a name of its own."""
        import yaml

        file = self.folder / "feature_store.yaml"
        found = yaml.safe_load(file.read_text()) if file.exists() else dict(_PLAIN)
        return {**found, "project": f"{found.get('project', 'asgard')}_api"}

    def kept(self, home: Path) -> Path:
        return home / "feast" / "api"

    def stamp(self, lake: Lake) -> bytes:
        return "\0".join([lake.root, *(view.model_dump_json() for view in self.views)]).encode()

    def query(self, lake: Lake, path: str) -> str | None:
        found = next((view for view in self.views if _path(view) == path), None)
        return reading(lake, found).sql if found else None

    def objects(self, lake: Lake) -> list[Any]:
        from feast import Entity, FeatureView, Field, FileSource, ValueType
        from feast.data_format import DeltaFormat
        from feast.types import Bool, Float64, Int64, String

        types: dict[str, Any] = {"bigint": Int64, "double": Float64, "string": String, "boolean": Bool}
        values = {"bigint": ValueType.INT64, "string": ValueType.STRING}
        entities, found = dict[tuple[str, str], Any](), list[Any]()
        for name, kind in {key for view in self.views for key in view.keys.items()}:
            called = name if kind == "bigint" else f"{name}_{kind}"  # one column may be both, in two tables
            entities[name, kind] = Entity(name=called, join_keys=[name], value_type=values[kind])
        for view in self.views:
            source = FileSource(
                name=f"{view.name}_source", path=_path(view), file_format=DeltaFormat(), timestamp_field=EVENT_TIME,
                created_timestamp_column=CREATED,
            )  # fmt: skip
            schema = [
                Field(name=name, dtype=types[kind]) for name, kind in {**view.keys, **view.features}.items()
            ]
            found.append(
                FeatureView(
                    name=view.name,
                    entities=[entities[key] for key in view.keys.items()],
                    schema=schema,
                    source=source,
                    ttl=timedelta(days=view.ttl_days or 0),
                    description=view.description,
                    tags={"table": view.table.replace("/", "."), "workspace": view.workspace},
                )  # fmt: skip
            )
        return [*entities.values(), *found]


def _path(view: ManagedView) -> str:
    """What Feast knows the view's rows by."""
    return f"/asgard/api/{view.name}"
