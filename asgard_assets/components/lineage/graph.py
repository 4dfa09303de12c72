"""Assets as datasets: their names, columns, parents, and what their columns are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from asgard_assets.components.api import API_SOURCE
from asgard_assets.components.stream import STREAM_SOURCE
from asgard_assets.lake import Lake
from asgard_assets.telemetry.lineage.columns import TableColumns
from asgard_assets.telemetry.lineage.steps import Column, Dataset, Place

COLUMNS, MADE_OF = "dagster/column_schema", "dagster/column_lineage"


@dataclass(frozen=True)
class Graph:
    """The assets of a project, by name, and the root of their lake."""

    specs: Mapping[str, dg.AssetSpec]
    root: str

    @classmethod
    def of(cls, specs: Iterable[dg.AssetSpec], lake: Lake) -> Graph:
        root = lake.root if "://" in lake.root else Path(lake.root).absolute().as_uri()
        return cls({spec.key.to_user_string(): spec for spec in specs}, root)

    def dataset(self, asset: str, told: Mapping[str, Any] | None = None) -> Dataset:
        """The asset as a dataset. `told` is the metadata of a run, which knows more than the definition."""
        spec = self.specs.get(asset)
        if spec is None:
            return Dataset(Place(self.root, asset))
        metadata = {**spec.metadata, **(told or {})}
        uri = str(_value(metadata.get("dagster/uri")) or "")
        if uri and "://" not in uri:
            uri = Path(uri).absolute().as_uri()
        return Dataset(self.place(asset), self._columns(metadata), spec.description or "", uri)

    def place(self, asset: str) -> Place:
        """How OpenLineage names it: of a topic the brokers and the topic, else the lake's root and stage/table."""
        spec = self.specs.get(asset)
        uri = str(_value(spec.metadata.get("dagster/uri")) or "") if spec else ""
        if uri.startswith("kafka://"):
            servers, _, topic = uri.removeprefix("kafka://").rpartition("/")
            return Place(f"kafka://{servers.partition(',')[0]}", topic)
        return Place(self.root, asset)

    def inputs(self, asset: str) -> list[Dataset]:
        """What the asset reads: other assets, and the API or the topic behind it."""
        spec = self.specs.get(asset)
        if spec is None:
            return []
        found = [self.dataset(dep.asset_key.to_user_string()) for dep in spec.deps]
        outside = self.outside(asset)
        return [*found, Dataset(outside)] if outside else found

    def outside(self, asset: str) -> Place | None:
        """The API that an asset is asked from, or the topic that nobody here fills."""
        metadata = self.specs[asset].metadata
        if told := _value(metadata.get(API_SOURCE)):
            endpoint = told["endpoint"]
            return Place(str(endpoint["base_url"]).rstrip("/"), str(endpoint["path"]))
        if told := _value(metadata.get(STREAM_SOURCE)):
            parents = [dep.asset_key.to_user_string() for dep in self.specs[asset].deps]
            return None if set(parents) & set(self.specs) else Place("kafka", told["topic"])
        return None

    def columns(self, known: Mapping[str, Mapping[str, Any]]) -> dict[str, TableColumns]:
        """Every asset with its columns; `known` is the metadata of the last run of each."""
        return {asset: self._table(asset, known.get(asset, {})) for asset in self.specs}

    def _table(self, asset: str, told: Mapping[str, Any]) -> TableColumns:
        spec, outside = self.specs[asset], self.outside(asset)
        columns = self._columns({**spec.metadata, **told})
        return TableColumns(
            asset,
            [column.name for column in columns],
            [dep.asset_key.to_user_string() for dep in spec.deps],
            {
                column: [(dep.asset_key.to_user_string(), dep.column_name) for dep in deps]
                for column, deps in _deps(told).items()
            },
            f"{outside.namespace}{'' if outside.name.startswith('/') else '/'}{outside.name}"
            if outside
            else "",
        )

    def _columns(self, metadata: Mapping[str, Any]) -> list[Column]:
        schema = _value(metadata.get(COLUMNS))
        deps = _deps(metadata)
        return [
            Column(
                one.name,
                one.type or "",
                one.description or "",
                [(self.place(d.asset_key.to_user_string()), d.column_name) for d in deps.get(one.name, ())],
            )
            for one in (schema.columns if schema else ())
        ]


def _deps(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    lineage = _value(metadata.get(MADE_OF))
    return lineage.deps_by_column if lineage else {}


def _value(value: Any) -> Any:
    """What metadata holds; JSON as it is."""
    found = getattr(value, "value", value)
    found = getattr(found, "schema", found) if type(found).__name__ == "TableSchemaMetadataValue" else found
    return json.loads(found) if isinstance(found, str) and found.startswith("{") else found
