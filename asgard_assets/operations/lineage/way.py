"""The way of a column through the project's tables, from the definitions and the last run of each asset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from asgard_assets.components.lineage.graph import Graph
from asgard_assets.errors import NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.telemetry.lineage.columns import EVERY, Edge, TableColumns, downstream, upstream

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True)
class Way:
    """Edges of one column: back to its sources, and on to what is made of it."""

    table: str
    column: str
    made_of: Sequence[Edge]
    used_by: Sequence[Edge]


def way(definitions: dg.Definitions, instance: dg.DagsterInstance, lake: Lake, target: str) -> list[Way]:
    """Of `stage/table.column`, or of each column of `stage/table`. Raises NotFoundError."""
    graph = Graph.of(definitions.resolve_all_asset_specs(), lake)
    tables = graph.columns(_told(instance, graph))
    table, _, column = target.partition(".")
    if table not in tables:
        near = get_close_matches(table, tables, 3)
        raise NotFoundError(
            f"there is no table {table}; {'did you mean ' + ' or '.join(near) if near else 'asgard sources lists them'}"
        )
    names = [column] if column else list(tables[table].columns) or [EVERY]
    if column and column.partition(".")[0] not in tables[table].columns:
        raise NotFoundError(
            f"{table} has no column {column}; it has {', '.join(tables[table].columns) or 'none that are known'}"
        )
    return [_way(tables, table, name) for name in names]


def _way(tables: Mapping[str, TableColumns], table: str, column: str) -> Way:
    return Way(table, column, upstream(tables, table, column), downstream(tables, table, column))


def _told(instance: dg.DagsterInstance, graph: Graph) -> dict[str, Mapping[str, Any]]:
    """What the last run of each asset told: of dbt models the columns that their SQL reads."""
    found = dict[str, Mapping[str, Any]]()
    for record in instance.get_asset_records([spec.key for spec in graph.specs.values()]):
        entry = record.asset_entry.last_materialization
        if entry is not None and entry.asset_materialization is not None:
            found[record.asset_entry.asset_key.to_user_string()] = entry.asset_materialization.metadata
    return found
