"""A table from one Python function, for whatever is neither Spark nor SQL: a model's scores, a segmentation."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from asgard_assets.components.authoring.code_references import defined_by
from asgard_assets.components.authoring.table_scaffolds import TableScaffolder
from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.following.reads import READS, code_of, opened
from asgard_assets.components.partitions import partitions_of
from asgard_assets.components.tables import Yielded, days_of, publish, refuse_open, table_asset
from asgard_assets.errors import ConfigError
from asgard_assets.lake import DS, Lake
from asgard_assets.quality.tables import Check, Column, Rebuild, TableSpec
from asgard_assets.resources.lake import LakeResource
from asgard_assets.windows import Every, by_value

if TYPE_CHECKING:
    import pyarrow as pa


@dg.scaffold_with(TableScaffolder)
def table(
    address: str,
    *,
    deps: Sequence[str],
    key: Sequence[str],
    columns: Mapping[str, str],
    description: str,
    kinds: Sequence[str] = ("python", "delta"),
    checks: Sequence[Check] = (),
    owners: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    retries: int | None = None,
    rebuild: Rebuild = "never",
    open_windows: bool | None = None,
    every: Every = "day",
    time_zone: str = "",
    partitions: Mapping[str, Sequence[str] | Literal["dynamic"]] | None = None,
) -> Callable[[Callable[..., "pa.Table"]], dg.AssetsDefinition]:
    """Make `function(lake, days)` the partitioned asset `address` ("stage/name").

    The function returns the rows of all `days` as one Arrow table with a `ds` column. They are staged, audited
    day by day and published in one commit, as every table is; the asset follows its `deps` ("stage/name").
    `open_windows`: whether it may be built for a day that has not ended; default: not in the stage `model`.
    `rebuild`: on_code_change has days built again that older code built. `every`: hour, day, week or month, and `days` are
    the names of such windows, in `time_zone` if it is not the project's. `partitions`: a second column beside time, such as
    `{"region": ["eu", "us"]}` or `{"tenant": "dynamic"}`; then the function is called for each value with the days of it,
    `function(lake, days, "eu")`, and its rows need not have the column.
    """
    stage, _, name = address.partition("/")
    second = next(iter(partitions or {}), "")
    spec = TableSpec(
        stage=stage,
        name=name,
        description=description,
        key=tuple(key),
        columns={
            column: Column(type=kind)
            for column, kind in (dict(columns) | dict.fromkeys([second] if second else [], "string")).items()
        },
        checks=tuple(checks),
        owners=tuple(owners),
        tags=dict(tags or {}),
        kinds=tuple(kinds),
        retries=retries,
        rebuild=rebuild,
        every=every,
        time_zone=time_zone,
    )

    into_open = stage != "model" if open_windows is None else open_windows

    def make(function: Callable[..., "pa.Table"]) -> dg.AssetsDefinition:
        @table_asset(
            spec,
            name=f"{stage}_{name}",
            deps=[dg.AssetKey(dep.split("/")) for dep in deps],
            partitions_def=partitions_of(every, time_zone, partitions),
            automation=on_upstream_change(),
            code_version=code_of(function, spec),
            into_open=into_open,
            extra_metadata={**defined_by(function), READS: {}},
        )
        def asset(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[Yielded]:
            with clear_failures():
                days = days_of(context)
                if not into_open:
                    refuse_open(spec, days)
                seen = lake.lake.epochs(stage, name, days)
                reads = opened(context, lake.lake)
                rows = (
                    _sliced(spec, function, lake.lake, days, second)
                    if second
                    else conforming(spec, function(lake.lake, days))
                )
                staging = lake.lake.stage(stage, name, rows.schema, days, seen, dimension=second)
                lake.lake.write(staging, rows)
                yield from publish(context, lake.lake, spec, staging, reads=reads)

        return asset

    return make


def _sliced(
    spec: TableSpec, function: Callable[..., Any], lake: Lake, keys: Sequence[str], column: str
) -> "pa.Table":
    """The rows of each value, which the function makes without the others, with the column."""
    import pyarrow as pa

    found = []
    for value, days in by_value(keys).items():
        rows = function(lake, days, value)
        if isinstance(rows, pa.Table):
            rows = rows.drop_columns([column]) if column in rows.column_names else rows
            rows = rows.append_column(column, pa.array([value] * rows.num_rows, pa.string()))
        found.append(conforming(spec, rows))
    return pa.concat_tables(found)


def conforming(spec: TableSpec, rows: Any) -> "pa.Table":
    """The declared columns and `ds`, in this order. Raises ConfigError where the function returned something else."""
    import pyarrow as pa

    name = f"{spec.stage}/{spec.name}"
    if not isinstance(rows, pa.Table):
        raise ConfigError(f"{name}: the function returned {type(rows).__name__}, not a pyarrow.Table")
    wanted = list(dict.fromkeys([*spec.columns, DS]))
    wrong = [f"{column} is missing" for column in wanted if column not in rows.column_names]
    wrong += [f"{column} is not declared" for column in rows.column_names if column not in wanted]
    if wrong:
        raise ConfigError(f"{name}: the function's columns differ: {'; '.join(wrong)}")
    return rows.select(wanted)
