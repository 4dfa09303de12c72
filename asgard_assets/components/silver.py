"""Silver tables as assets: each Python file of a folder that declares one with `@silver`."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from asgard_assets.components.authoring.code_references import defined_by
from asgard_assets.components.authoring.table_scaffolds import SilverScaffolder
from asgard_assets.components.automation import days_before, on_upstream_change
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.following.reads import (
    BEFORE,
    READS,
    SAME,
    UNTIL,
    code_of,
    opened,
)
from asgard_assets.components.partitions import calendar_of, partitions_of, second_of, time_of
from asgard_assets.components.tables import (
    Yielded,
    asset_spec,
    check_specs,
    days_of,
    publish,
    table_asset,
)
from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.lake import DS, Lake, Staging
from asgard_assets.lake.numbers import rows_of
from asgard_assets.settings import Settings
from asgard_assets.transforms.rejects import Rejects, rejects
from asgard_assets.transforms.silver import SilverTable, conforms
from asgard_assets.transforms.slices import Slices
from asgard_assets.transforms.windows_read import WindowsRead
from asgard_assets.windows import by_value, slice_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

RATE = "rejected_rate"
# History goes day by day. A dependency of the table on itself would say so, but with checks in the same step
# Dagster 1.13 then requests the day before again with each day (`_handle_execution_set` maps a step onto itself).
# Asking for the day before of the *inputs* has the same effect: a day that arrives early waits for its
# predecessor, and then both run as one range. `require` refuses what still comes out of order.
_DAY_AND_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=0)


@dg.scaffold_with(SilverScaffolder)
class SilverTables(dg.Component, dg.Model, dg.Resolvable):
    """Turns every Python file beside its `defs.yaml` into a Silver asset; files named `_…` are left alone."""

    @classmethod
    def get_code_references_for_yaml(cls, *_: Any, **__: Any) -> list[Any]:
        """None: each table's own file defines it."""
        return []

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Raises ConfigError where a file declares no table, or two declare the same."""
        files = sorted(path for path in context.path.glob("*.py") if not path.name.startswith("_"))
        tables: dict[str, SilverTable] = {}
        for path in files:
            for table in tables_in(context.load_defs_relative_python_module(path)):
                if table.spec.name in tables:
                    raise ConfigError(f"{path}: silver/{table.spec.name} is declared twice", file=str(path))
                tables[table.spec.name] = table
        assets = [silver_asset(table) for table in tables.values()]
        return dg.Definitions(assets=[*assets, *(rejected_spec(table) for table in tables.values())])


def tables_in(module: ModuleType) -> list[SilverTable]:
    """Tables that a module declares. Raises ConfigError where there is none."""
    found = [value for value in vars(module).values() if isinstance(value, SilverTable)]
    if not found:
        raise ConfigError(
            f"{module.__file__}: no table here; decorate a function with @silver, or begin the file's name "
            "with an underscore if it only helps others",
            file=module.__file__,
        )
    return found


def rejected_spec(table: SilverTable) -> dg.AssetSpec:
    """The catalog's entry of a table's rejected rows: nobody materializes it, the table's own runs record it.

    It has a link and no edge: what cannot be executed must not be in `key:"bronze/usage"+`.
    """
    columns = {
        "record": "The source row as JSON.",
        "reason": "Why it is no row of the table.",
        DS: "Its day.",
    }
    name, contract = (
        table.spec.name,
        asset_spec(table.spec, partitions_def=_partitions(table)),
    )
    return contract.replace_attributes(
        key=["rejected", name],
        description=f"Source rows that silver/{name} did not take, each with its reason. Materialize silver/{name}.",
        group_name="rejected",
        tags={**contract.tags, "stage": "rejected"},
        metadata={
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(c, "string", text) for c, text in columns.items()]
            ),
            "dagster/uri": Lake.from_settings().path("rejected", name),
            "dagster/table_name": f"rejected.{name}",
            "recorded_by": dg.MetadataValue.asset(contract.key),
            **defined_by(table.function),
        },
    )


def silver_asset(table: SilverTable) -> dg.AssetsDefinition:
    """The asset of one table: a range of days is one Spark job, one commit and one more for its rejects."""
    spec, key = table.spec, dg.AssetKey(table.spec.asset_key)
    # Dagster maps windows to windows only; what a slice reads the metadata says.
    mapping = _DAY_AND_BEFORE if table.history and not table.second else None
    # Lookups are read up to each day: a late row of theirs changes the days after it as well.
    lookups = [dg.AssetKey([e.stage, e.name]) for e in table.inputs if e.until and not table.history]
    deps = [
        days_before(upstream, Settings().lookback_days)
        if (upstream := dg.AssetKey([entry.stage, entry.name])) in lookups and not table.second
        else dg.AssetDep(upstream, partition_mapping=mapping)
        for entry in table.inputs
    ]
    rate = dg.AssetCheckSpec(
        RATE, asset=key, description=f"At most {table.max_rejected:.0%} of a day's source rows are rejected."
    )

    @table_asset(
        spec,
        name=f"silver_{spec.name}",
        deps=deps,
        partitions_def=_partitions(table),
        automation=on_upstream_change(lookups),
        extra_metadata={
            "rejected": dg.MetadataValue.asset(dg.AssetKey(["rejected", spec.name])),
            **defined_by(table.function),
            READS: _reads(table),
        },
        code_version=code_of(table.function, spec),
        into_open=True,
        checks=[*check_specs(spec), rate],
        required_resource_keys={"spark", "lake", "step_launcher"},
    )
    def build(context: dg.AssetExecutionContext) -> Iterator[Yielded]:
        with clear_failures():
            lake, days = context.resources.lake.lake, days_of(context)
            read, slices = _windows_read(context, table), _slices(context, table)
            require(lake, table, days, read, slices)
            reads = opened(context, lake)
            staged = stage(context.resources.spark.session, lake, table, days, read, reads.versions, slices)
            yield _rate_result(key, table, staged.rejected)

            def rejects_first(good: list[str]) -> None:
                """Whoever sees a day's rows finds what was left out of them."""
                lake.publish(staged.bad, good)
                for event in _rejected_events(spec.name, staged.rejected, good):
                    context.log_event(event)

            yield from publish(
                context, lake, spec, staged.good, first=rejects_first, reads=reads, **_shown(staged.rejected)
            )

    return build


def _partitions(table: SilverTable) -> dg.PartitionsDefinition:
    return partitions_of(table.spec.every, table.spec.time_zone, table.partitions)


def _slices(context: dg.AssetExecutionContext, table: SilverTable) -> Slices:
    """By which columns the table and its inputs are cut, beside time."""
    graph, found = context.job_def.asset_layer.asset_graph, dict[str, tuple[str, tuple[str, ...]]]()
    for entry in table.inputs:
        key = dg.AssetKey([entry.stage, entry.name])
        if graph.has(key) and (second := second_of(graph.get(key).partitions_def)):
            found[entry.table] = second
    return Slices(table.second, found)


def _windows_read(context: dg.AssetExecutionContext, table: SilverTable) -> dict[str, WindowsRead]:
    """How the windows of each input make up those of the table, by the input's name."""
    graph, read = context.job_def.asset_layer.asset_graph, dict[str, WindowsRead]()
    own = table.spec.calendar
    for entry in table.inputs:
        key = dg.AssetKey([entry.stage, entry.name])
        source = calendar_of(time_of(graph.get(key).partitions_def)) if graph.has(key) else None
        read[entry.name] = WindowsRead(
            f"silver/{table.spec.name}", own, source or own, entry.at, lookup=entry.until
        )
    return read


def _reads(table: SilverTable) -> dict[str, str]:
    """What the edges of the graph do not say: lookups are read up to the day, and history its own day before."""
    read = {entry.table: UNTIL if entry.until else SAME for entry in table.inputs}
    return read | ({f"silver/{table.spec.name}": BEFORE} if table.history else {})


@dataclass(frozen=True)
class Staged:
    """A run's rows, staged side by side, and what is known of the rejected ones."""

    good: Staging
    bad: Staging
    rejected: Rejects


def require(
    lake: Lake,
    table: SilverTable,
    days: Sequence[str],
    read: Mapping[str, WindowsRead] | None = None,
    slices: Slices | None = None,
) -> None:
    """Raise SourceError unless every input has the days that this run reads, naming them and what to run.

    A day that was published without a row counts as there: its result is an empty day.
    """
    slices = slices or Slices()
    for entry in table.inputs:
        if entry.until:
            if lake.version(entry.stage, entry.name) < 0:
                raise _absent(entry.table, f"{entry.table} does not exist yet; needed for", days)
            continue
        there, absent = rows_of(lake.snapshot(entry.stage, entry.name).numbers), list[str]()
        for value, windows in by_value(days).items():
            needed = read[entry.name].needed(windows) if read else windows
            absent += slices.absent(entry.table, needed, value, there)
        if absent:
            raise _absent(entry.table, f"{entry.table} has no data for", list(dict.fromkeys(absent)))
    for value, windows in by_value(days).items() if table.history else ():
        _require_before(lake, table, min(windows), value)


def _require_before(lake: Lake, table: SilverTable, first: str, value: str) -> None:
    calendar, own = table.spec.calendar, f"silver/{table.spec.name}"
    window = calendar.after(first, -1)
    before = slice_of(window, value)
    if calendar.has(calendar.window(window)) and not lake.epochs("silver", table.spec.name, [before])[before]:
        raise _absent(own, f"{own} keeps history, so that {first} needs the day before it:", [before])


def _absent(table: str, problem: str, days: Sequence[str]) -> SourceError:
    first, last = min(days), max(days)
    span = f"--partition {first}" if first == last else f"--partition-range {first}...{last}"
    more = f" (and {len(days) - 5} more)" if len(days) > 5 else ""
    return SourceError(
        f"{problem} {', '.join(days[:5])}{more}; materialize it first: "
        f"dagster asset materialize --select {table} {span}",
        source=table,
        days=list(days),
    )


def stage(
    spark: "SparkSession",
    lake: Lake,
    table: SilverTable,
    days: Sequence[str],
    read: Mapping[str, WindowsRead] | None = None,
    versions: Mapping[str, int] | None = None,
    slices: Slices | None = None,
) -> Staged:
    """Run the function over `days` and stage both of its frames: two Spark writes, a file or so a day.

    Inputs are read at `versions`, by stage/table; others as they are now.
    """
    from asgard_assets.spark import tables

    name, slices = table.spec.name, slices or Slices(table.second)
    # Before the inputs are read: a run that reads newer ones and is done first must not be overwritten.
    seen = {target: lake.epochs(target, name, days) for target in ("silver", "rejected")}
    made = [
        _made(spark, table, frames(spark, lake, table, windows, read, versions, slices, value), slices, value)
        for value, windows in by_value(days).items()
    ]
    valid, rejected = (functools.reduce(_union, each) for each in zip(*made, strict=True))
    good = lake.stage(
        "silver", name, tables.arrow_schema(valid), days, seen["silver"], dimension=table.second
    )
    bad = lake.stage(
        "rejected", name, tables.arrow_schema(rejected), days, seen["rejected"], dimension=table.second
    )
    tables.write_side_by_side(
        [
            (frame.hint("rebalance", *staging.partition_by), staging)
            for frame, staging in ((valid, good), (rejected, bad))
        ]
    )
    sources = [(entry.stage, entry.name) for entry in table.inputs if not entry.until]
    named = {(e.stage, e.name): read[e.name].name for e in table.inputs if not e.until} if read else {}
    return Staged(good, bad, rejects(lake, bad, sources, named, slices))


def _made(
    spark: "SparkSession", table: SilverTable, given: Mapping[str, "DataFrame"], slices: Slices, value: str
) -> tuple["DataFrame", "DataFrame"]:
    """The function's rows and what it rejected, of one value of the second column where there is one."""
    from asgard_assets.transforms.rows import Split

    told: dict[str, Any] = {table.second: value} if table.takes_value else {}
    result = table(**given, **told)
    if not isinstance(result, Split):
        result = Split(result, spark.createDataFrame([], "record string, reason string, ds string"))
    return conforms(table, slices.named(result.valid, value)), slices.named(result.rejected, value)


def _union(one: "DataFrame", other: "DataFrame") -> "DataFrame":
    return one.unionByName(other)


def frames(
    spark: "SparkSession",
    lake: Lake,
    table: SilverTable,
    days: Sequence[str],
    read: Mapping[str, WindowsRead] | None = None,
    versions: Mapping[str, int] | None = None,
    slices: Slices | None = None,
    value: str = "",
) -> dict[str, "DataFrame"]:
    """The function's arguments: each input's days of this run, and the table's own days before it.

    `value`: of which value of the second column.
    """
    from pyspark.sql.types import StructType

    from asgard_assets.spark import tables

    found, slices = dict[str, "DataFrame"](), slices or Slices()
    for entry in table.inputs:
        windows_read = read[entry.name] if read else None
        keys = windows_read.keys(days) if windows_read and not entry.until else list(days)
        chosen, version = None if entry.until else keys, (versions or {}).get(entry.table)
        frame = tables.read(spark, lake, entry.stage, entry.name, chosen, version=version)
        frame = slices.own(entry.table, frame, value)
        if entry.until:
            frame = frame.where(f"ds <= '{windows_read.until(days) if windows_read else max(days)}'")
        found[entry.name] = windows_read.renamed(frame, days) if windows_read else frame
    if table.history:
        own = tables.read(
            spark, lake, "silver", table.spec.name, schema=cast(StructType, StructType.fromDDL(table.ddl))
        ).where(f"ds < '{min(days)}'")
        found["earlier"] = own.where(own[table.second] == value).drop(table.second) if table.second else own
    return found


def _shown(found: Rejects) -> dict[str, Any]:
    """Metadata of the run and of each of its days."""
    run = {
        "rejected_rows": found.total,
        "rejected_by_reason": dg.MetadataValue.json(found.reasons()),
        "rejected_sample": dg.MetadataValue.md(found.sample),
    }
    by_day = {
        day: {
            "rows_read": found.read[day],
            "rejected_rows": sum(reasons.values()),
            "rejected_by_reason": dg.MetadataValue.json(dict(reasons)),
        }
        for day, reasons in found.by_day.items()
    }
    return {"metadata": run, "day_metadata": by_day}


def _rejected_events(name: str, found: Rejects, days: Sequence[str]) -> Iterator[dg.AssetMaterialization]:
    for day in days:
        metadata = {
            "dagster/partition_row_count": sum(found.by_day[day].values()),
            "rejected_by_reason": dg.MetadataValue.json(dict(found.by_day[day])),
        }
        yield dg.AssetMaterialization(["rejected", name], partition=day, metadata=metadata)


def _rate_result(key: dg.AssetKey, table: SilverTable, found: Rejects) -> dg.AssetCheckResult:
    high = {day: round(rate, 4) for day, rate in found.rates().items() if rate > table.max_rejected}
    return dg.AssetCheckResult(
        passed=not high,
        asset_key=key,
        check_name=RATE,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "rejected": found.total,
            "allowed": table.max_rejected,
            "failing": dg.MetadataValue.json(high),
        },
    )
