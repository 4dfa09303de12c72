"""Which partitions of which tables an asset reads, from its edges; and the numbers that a run takes from them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import _check as dg_check
from pydantic import BaseModel

from asgard_assets.components.automation import ALL, LOOKBACK, lookback
from asgard_assets.components.following.zones import ZonesMapping
from asgard_assets.components.partitions import calendar_of, second_of, time_of
from asgard_assets.lake import Lake
from asgard_assets.lake.reads import Edge, Reads, number

READS = "reads"
"""Metadata of an asset whose publish writes down what it read: what its edges do not say, by stage/table."""
SAME, UNTIL, BEFORE = "same", "until", "before"
CORRECTIONS = "corrections_days"
"""Metadata of an asset: how far back a change of an input is followed; 0: only what was never built is asked for."""
NEVER_BUILT = "never_built_windows"
"""Metadata of an asset: so many of its newest windows are built if they never were; without it, all of them."""
RECEIPT = "receipt"
"""Metadata of an asset whose rows lie outside the lake: the small table that says what they were made from."""

REBUILD, ON_CODE_CHANGE = "rebuild", "on_code_change"
"""Metadata of an asset of which partitions that older code built are built again: `on_code_change`."""
OPEN_WINDOWS = "open_windows"
"""Metadata of an asset that follows its inputs into a window that has not ended."""

_RECEIPTS = "receipts"


@dataclass(frozen=True)
class Input:
    """One edge of an asset. `counts`: a change of it makes the asset stale; else it only has to be there."""

    edge: Edge
    counts: bool = True


def receipt_of(stage: str, name: str) -> str:
    """The table of an asset whose rows lie elsewhere."""
    return f"{_RECEIPTS}/{stage}.{name}"


def table_of(spec: dg.AssetSpec) -> str:
    """Where the numbers of the asset's partitions stand, as stage/table."""
    said = plain(spec.metadata.get(RECEIPT))
    return said if isinstance(said, str) else "/".join(spec.key.path)


def inputs_of(spec: dg.AssetSpec, specs: Mapping[dg.AssetKey, dg.AssetSpec]) -> list[Input]:
    """What a partition of the asset reads. Views are taken for the tables behind them."""
    declared: Any = plain(spec.metadata.get(READS)) or {}
    found = [
        each
        for dep in spec.deps
        for each in _of_edge(spec, dep, declared.get("/".join(dep.asset_key.path)), specs)
    ]
    own = "/".join(spec.key.path)
    if declared.get(own) == BEFORE:
        found.append(Input(_before(own, spec)))
    return list(dict.fromkeys(found))


def _before(table: str, spec: dg.AssetSpec) -> Edge:
    """A table's own partition before each of its partitions."""
    calendar = calendar_of(time_of(spec.partitions_def))
    every, zone = (calendar.every, str(calendar.zone)) if calendar else ("day", "UTC")
    return Edge(table, 1, -1, every, zone, every, zone)


def _of_edge(
    spec: dg.AssetSpec,
    dep: dg.AssetDep,
    said: str | None,
    specs: Mapping[dg.AssetKey, dg.AssetSpec],
    through: Sequence[dg.AssetKey] = (),
) -> list[Input]:
    upstream = specs.get(dep.asset_key)
    if upstream is not None and {"dbt", "view"} <= set(upstream.kinds):
        behind = [
            dg.AssetDep(each.asset_key, partition_mapping=dep.partition_mapping) for each in upstream.deps
        ]
        views = [*through, dep.asset_key]
        return [found for each in behind for found in _of_edge(spec, each, said, specs, views)]
    table = table_of(upstream) if upstream is not None else "/".join(dep.asset_key.path)
    mapping, own = dep.partition_mapping, calendar_of(time_of(spec.partitions_def))
    whole = Edge(table, None, None)
    if isinstance(mapping, dg.LastPartitionMapping):
        return [Input(whole, counts=False)]
    between_zones = isinstance(mapping, ZonesMapping)
    if own is None or (isinstance(mapping, dg.AllPartitionMapping) and not between_zones):
        return [Input(whole)]
    source = (
        own
        if upstream is None or upstream.partitions_def is None
        else calendar_of(time_of(upstream.partitions_def))
    )
    if source is None:
        return [Input(whole)]
    back, ahead = _reach(spec, dep, said, through)
    zones = str(own.zone), str(source.zone)
    first = source.first.isoformat() if source.first and zones[0] != zones[1] else ""
    second = second_of(upstream.partitions_def) if upstream else None
    mine = second_of(spec.partitions_def)
    alike = bool(second and mine and second[0] == mine[0])
    slices = second[1] if second else None
    return [
        Input(Edge(table, back, ahead, own.every, zones[0], source.every, zones[1], first, slices, alike))
    ]


def _reach(
    spec: dg.AssetSpec, dep: dg.AssetDep, said: str | None, through: Sequence[dg.AssetKey]
) -> tuple[int | None, int]:
    """How many windows before and after its own a partition reads; of a view's tables as many as of the view."""
    if said in (UNTIL, SAME):
        return (None if said == UNTIL else 0), 0
    if LOOKBACK in spec.metadata:
        days = [lookback(spec, key) for key in (dep.asset_key, *through)]
        return (None if ALL in days else max(map(int, days))), 0
    mapping = dep.partition_mapping
    if isinstance(mapping, ZonesMapping):
        return mapping.before, 0
    if isinstance(mapping, dg.TimeWindowPartitionMapping):
        return -mapping.start_offset, mapping.end_offset
    return 0, 0


def opened(context: dg.AssetExecutionContext, lake: Lake, key: dg.AssetKey | None = None) -> Reads:
    """The inputs of the run's asset, each opened once: to be called before the first of them is read."""
    specs = context.assets_def.specs_by_key
    spec = specs[key or context.asset_key]
    return reads_of(lake, spec, {**all_specs(context), **specs})


def reads_of(lake: Lake, spec: dg.AssetSpec, specs: Mapping[dg.AssetKey, dg.AssetSpec]) -> Reads:
    edges = [found.edge for found in inputs_of(spec, specs) if found.counts]
    return Reads.open(lake, edges, code_number(spec), outside=RECEIPT in spec.metadata)


def all_specs(context: dg.AssetExecutionContext) -> dict[dg.AssetKey, dg.AssetSpec]:
    """Every asset of the code location.

    A run within a test has no repository; its job knows all assets, but of those that it does not run no inputs.
    """
    try:
        made = list(context.repository_def.assets_defs_by_key.values())
    except dg_check.CheckError:
        made = context.job_def.asset_layer.asset_graph.assets_defs
    return {key: each.specs_by_key[key] for each in made for key in each.keys if key in each.specs_by_key}


def code_of(function: Callable[..., Any], contract: Any) -> str:
    """The version of a table's code: the function's own source, and what is declared beside it."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = ""
    return f"{number(source + contract.model_dump_json(exclude={'rebuild', *_unsaid(contract)})):x}"


_NO_CODE = {
    "description", "owners", "tags", "kinds", "fresh_hours", "retries", "clean", "notify", "deps", "ordered",
    "full_listing_hours", "checks", "load_from",
}  # fmt: skip
"""Of a source's YAML what changes no row."""


def source_code(source: Any) -> str:
    """The version of a source: its YAML, without what only the catalog and the sensor need."""
    return f"{number(source.model_dump_json(exclude=_NO_CODE | _unsaid(source))):x}"


_NO_CODE_EITHER = _NO_CODE | {
    "auth", "retry", "limits", "transport", "execution", "middleware", "lookback_days", "database", "tables", "pool",
    "connections", "statement_timeout_seconds", "max_offsets_per_batch", "starting", "on_data_loss",
}  # fmt: skip
"""How and when a source is asked, and by whom, changes no row either."""


def declared_code(*models: BaseModel) -> str:
    """The version of a source of an API, a database or a topic: what its YAML says of the rows."""
    without: dict[str, Any] = {
        **dict.fromkeys(_NO_CODE_EITHER, True),
        "quality": dict.fromkeys(_NO_CODE, True),
    }
    told = []
    for model in models:
        unsaid = dict.fromkeys(_unsaid(model), True)
        told.append(json.dumps(model.model_dump(exclude=without | unsaid), sort_keys=True, default=_plain))
    return f"{number(' '.join(told)):x}"


def _plain(value: Any) -> Any:
    """Sets in order: theirs differs from one process to the next."""
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def _unsaid(contract: Any) -> set[str]:
    """What came later and is not used: a version of before stays what it was."""
    return {name for name in ("time_zone", "partitions") if not getattr(contract, name, None)}


def code_number(spec: dg.AssetSpec) -> int:
    return number(spec.code_version) if spec.code_version else 0


def receipt(
    context: dg.AssetExecutionContext, lake: Lake, reads: Reads, table: str, days: Sequence[str] = ()
) -> None:
    """Write down that the days were made from `reads`, for an asset whose rows lie outside the lake."""
    import pyarrow as pa

    stage, name = table.split("/", 1)
    schema = pa.schema([("ds", pa.string())] if days else [("made", pa.string())])
    staging = lake.stage(stage, name, schema, days)
    lake.publish(staging, list(days) or None, metadata={"dagster_run_id": context.run.run_id}, reads=reads)


def plain(value: Any) -> Any:
    """A value of metadata, as it was given."""
    return value.value if isinstance(value, dg.MetadataValue) else value
