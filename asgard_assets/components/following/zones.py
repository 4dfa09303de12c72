"""Edges between calendars of two zones, and those of tables that a second column cuts: Dagster's own mapping refuses them."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

import dagster as dg

from asgard_assets.components.partitions import calendar_of, second_of, time_of
from asgard_assets.errors import ConfigError
from asgard_assets.windows import Calendar

CUTS = "cuts_by_time"
"""Metadata of a dbt model that takes the rows which happened in its windows, whatever those of its inputs are."""


class ZonesMapping(dg.AllPartitionMapping):
    """A window reads the windows of the input, in another zone, that share time with it or with those `before` it.

    Dagster's webserver and daemon know only mappings of Dagster's: to them it is one of everything to everything.
    """

    before: int = 0

    @classmethod
    def of(cls, before: int) -> ZonesMapping:
        found = cls()
        found.before = before
        return found

    @property
    def description(self) -> str:
        return "Windows of another time zone that share time with the partition's."

    def get_upstream_mapped_partitions_result_for_partitions(
        self,
        downstream_partitions_subset: Any,
        downstream_partitions_def: dg.PartitionsDefinition | None,
        upstream_partitions_def: dg.PartitionsDefinition,
        current_time: datetime | None = None,
        dynamic_partitions_store: Any = None,
    ) -> Any:
        everything = super().get_upstream_mapped_partitions_result_for_partitions(
            downstream_partitions_subset, downstream_partitions_def, upstream_partitions_def, current_time,
            dynamic_partitions_store,
        )  # fmt: skip
        own, source = calendar_of(downstream_partitions_def), calendar_of(upstream_partitions_def)
        if own is None or source is None or downstream_partitions_subset is None:
            return everything
        read = {
            k
            for key in downstream_partitions_subset.get_partition_keys()
            for k in self._read(key, own, source)
        }
        with dg.partition_loading_context(current_time, dynamic_partitions_store):
            there = _there(upstream_partitions_def, read)
        return type(everything)(
            partitions_subset=there, required_but_nonexistent_subset=upstream_partitions_def.empty_subset()
        )

    def get_downstream_partitions_for_partitions(
        self,
        upstream_partitions_subset: Any,
        upstream_partitions_def: dg.PartitionsDefinition,
        downstream_partitions_def: dg.PartitionsDefinition,
        current_time: datetime | None = None,
        dynamic_partitions_store: Any = None,
    ) -> Any:
        own, source = calendar_of(downstream_partitions_def), calendar_of(upstream_partitions_def)
        if own is None or source is None:
            return super().get_downstream_partitions_for_partitions(
                upstream_partitions_subset, upstream_partitions_def, downstream_partitions_def, current_time,
                dynamic_partitions_store,
            )  # fmt: skip
        windows = [source.window(key) for key in upstream_partitions_subset.get_partition_keys()]
        touched = {each.key for window in windows for each in own.overlapping(window.start, window.end)}
        reading = {own.after(key, count) for key in touched for count in range(self.before + 1)}
        with dg.partition_loading_context(current_time, dynamic_partitions_store):
            return _there(downstream_partitions_def, reading)

    def _read(self, key: str, own: Calendar, source: Calendar) -> Iterator[str]:
        first, last = own.window(own.after(key, -self.before)), own.window(key)
        yield from (each.key for each in source.overlapping(first.start, last.end))


ZonesMapping.__name__ = (
    dg.AllPartitionMapping.__name__
)  # the name under which Dagster writes it for its other processes


def _there(definition: dg.PartitionsDefinition, keys: Collection[str]) -> Any:
    return definition.subset_with_partition_keys(
        [key for key in sorted(keys) if definition.has_partition_key(key)]
    )


def between_zones(loaded: dg.Definitions) -> dg.Definitions:
    """Definitions in which every edge between calendars of two zones has a mapping, and no edge of slices has one that
    goes with windows only: what is read of earlier windows the metadata says.

    Raises ConfigError where a dbt model or a feature view reads a table of another zone: rows are cut in Silver.
    """
    specs = {spec.key: spec for spec in loaded.resolve_all_asset_specs()}
    zones = {
        str(found.zone) for spec in specs.values() if (found := calendar_of(time_of(spec.partitions_def)))
    }
    if len(zones) < 2 and not any(second_of(spec.partitions_def) for spec in specs.values()):
        return loaded
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return loaded.map_asset_specs(func=lambda spec: _mapped(spec, specs))


def _mapped(spec: dg.AssetSpec, specs: Mapping[dg.AssetKey, dg.AssetSpec]) -> dg.AssetSpec:
    deps = [_mapped_edge(spec, dep, specs.get(dep.asset_key)) for dep in spec.deps]
    return spec if deps == list(spec.deps) else spec.replace_attributes(deps=deps)


def _takes_rows_as_they_lie(spec: dg.AssetSpec) -> bool:
    """Whether the rows of a window are those that the input has under its name."""
    kinds = set(spec.kinds)
    return ("dbt" in kinds and CUTS not in spec.metadata) or (
        spec.key.path[0] == "features" and "feast" in kinds
    )


def _mapped_edge(spec: dg.AssetSpec, dep: dg.AssetDep, upstream: dg.AssetSpec | None) -> dg.AssetDep:
    ends = spec.partitions_def, upstream.partitions_def if upstream else None
    own, source = (calendar_of(time_of(each)) for each in ends)
    mapping = dep.partition_mapping
    sliced = any(map(second_of, ends))
    if sliced and isinstance(mapping, dg.TimeWindowPartitionMapping):
        dep = dg.AssetDep(dep.asset_key)
    if own is None or source is None or str(own.zone) == str(source.zone):
        return dep
    if mapping is not None and not isinstance(mapping, dg.TimeWindowPartitionMapping):
        return dep
    if _takes_rows_as_they_lie(spec):
        name, other = spec.key.to_user_string(), dep.asset_key.to_user_string()
        raise ConfigError(
            f"{name} has windows of {own.zone} and reads {other}, which has those of {source.zone}: let a Silver table "
            f"bring its rows into windows of {own.zone}, and read that"
            + ("; or take them by time, with in_windows_at" if "dbt" in spec.kinds else "")
        )
    if sliced:
        return dep
    return dg.AssetDep(
        dep.asset_key, partition_mapping=ZonesMapping.of(-mapping.start_offset if mapping else 0)
    )
