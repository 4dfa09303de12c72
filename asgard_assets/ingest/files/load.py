"""Load days of files: plan, read in Spark tasks, stage, and publish each file's rows once.

The driver lists, compares with the manifest, writes a plan, and hands the planned files to Spark tasks (a few small
ones it reads itself); a task writes Parquet into staging and hands only figures back. Where files show that a column
needs a wider type, those files are read once more with it. What cannot be read goes to quarantine. `commit` makes it
visible: one Delta commit that carries the plan's number for each day, whatever the number of days.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.plan.batch import Batch, batch_of
from asgard_assets.ingest.files.plan.judgement import DayFigures, count, figures_of, judged
from asgard_assets.ingest.files.plan.load_plan import LoadPlan, write_plan
from asgard_assets.ingest.files.plan.manifest import open_manifest
from asgard_assets.ingest.files.plan.progress import Meter
from asgard_assets.ingest.files.plan.quarantine import STAGE, BadFile, quarantine_schema, store, without_files
from asgard_assets.ingest.files.plan.read_task import Outcome, Part, Piece, ReadTask
from asgard_assets.ingest.files.plan.run import LoadRun
from asgard_assets.ingest.files.plan.schedule import DRIVER_FILES, read_pieces, sample
from asgard_assets.ingest.files.shape.conform import Shape, technical_fields
from asgard_assets.ingest.files.shape.fitting import retyped
from asgard_assets.ingest.files.shape.schema import Change, differences, record
from asgard_assets.ingest.files.source.models import TECHNICAL, VOLATILE, ByColumn, FileSource, Upsert
from asgard_assets.ingest.files.source.types import normal, unify
from asgard_assets.ingest.files.table.generations import outdated
from asgard_assets.ingest.files.table.merge import Merged, merge, seen_days
from asgard_assets.ingest.files.table.upsert import refuse_unknown, replace_older
from asgard_assets.lake import DS, Lake, Published, Rewrite, Staging
from asgard_assets.lake.numbers import plan_id
from asgard_assets.lake.reads import Reads
from asgard_assets.lake.sql import arrow_type, type_name
from asgard_assets.windows import window_of

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """Staged rows, ready to be audited and committed.

    `days` are those that were asked for; `failed` those of them that must not be published, and why: nothing of
    them is staged. `bad_files` went to quarantine; rows of
    `outdated` files leave the table. `staging.days` are the days of the rows.
    """

    source: FileSource
    staging: Staging
    plan: LoadPlan | None
    days: Mapping[str, DayFigures]
    failed: Mapping[str, str]
    bad_files: tuple[BadFile, ...] = ()
    changes: tuple[Change, ...] = ()
    undated: tuple[str, ...] = ()
    replaced: frozenset[str] = frozenset()
    replaced_in: frozenset[str] | None = frozenset()
    outdated: frozenset[str] = frozenset()
    parts: tuple[Part, ...] = field(default=(), repr=False)
    retype: bool = False
    upserted: Rewrite | None = None
    merged: Merged | None = None
    absent: tuple[str, ...] = ()
    links_out: tuple[str, ...] = ()

    @property
    def new_columns(self) -> tuple[str, ...]:
        return tuple(c.column for c in self.changes if c.kind == "NEW_COLUMN")

    @property
    def moved_days(self) -> tuple[str, ...]:
        """Days that lost rows to newer versions, though nobody asked for them."""
        return self.merged.moved_days if self.merged else ()

    @property
    def superseded_rows(self) -> int:
        return self.merged.superseded_rows if self.merged else 0

    @property
    def deleted_rows(self) -> int:
        return self.merged.deleted_rows if self.merged else 0

    @property
    def plans(self) -> dict[str, int]:
        """Transaction numbers of the good days."""
        if self.plan is None:
            return {}
        return {
            plan_id(self.source.name, d): self.plan.number for d in self.plan.previous if d not in self.failed
        }


def load(
    spark: Callable[[], SparkSession],
    lake: Lake,
    landing: Landing,
    source: FileSource,
    days: Sequence[str],
    now: datetime | None = None,
    full: bool = False,
    again: Collection[str] = (),
    driver_files: int = DRIVER_FILES,
    meter: Meter | None = None,
) -> Loaded:
    """Stage what is new or changed of `days`; with `full` every file that lies there, and `again` these in any case.

    `spark` opens the session. It is called where more than `driver_files` files, or than 4 MB, are to be read. `meter` is
    told how far the reading is.
    Raises SourceError where the source's folder cannot be listed, ConfigError where a declared type is not the
    table's and does not hold it.
    """
    run = LoadRun(
        lake, landing, source, tuple(dict.fromkeys(days)), now or datetime.now(UTC), full, frozenset(again), driver_files, meter
    )  # fmt: skip
    begun = _begin(run)
    if not begun.open_days:
        return begun.nothing_to_do()
    plan = begun.write_plan()
    read = _read(spark, begun)
    loaded = _settle(begun, plan, read)
    return _without_older_versions(begun, loaded)


@dataclass(frozen=True)
class _Begun:
    """A load whose files are listed and not yet read. `columns` are the table's, `others` all of its days."""

    run: LoadRun
    columns: Mapping[str, pa.DataType]
    others: Mapping[str, int]
    batch: Batch
    staging: Staging
    figures: dict[str, DayFigures]
    open_days: Sequence[str]

    def nothing_to_do(self) -> Loaded:
        self.run.lake.discard(self.staging)
        nothing, batch = replace(self.staging, days=()), self.batch
        return Loaded(
            self.run.source, nothing, None, self.figures, {}, undated=batch.undated, links_out=batch.links_out
        )

    def write_plan(self) -> LoadPlan:
        """Put down what is going to be read, before it is."""
        batch = self.batch
        return write_plan(
            self.run.lake,
            self.run.source.name,
            {day: batch.numbers[day] for day in {*self.open_days, *batch.moved_from}},
            {day: [*batch.todo[day], *batch.gone.get(day, ())] for day in self.open_days},
            replaces=batch.whole_days,
        )


@dataclass(frozen=True)
class _Read:
    """What the files held: staged parts, outcomes by file, and the columns that fit all of them."""

    outcomes: Sequence[Outcome]
    parts: Sequence[Part]
    fields: Mapping[str, pa.DataType]
    pieces: Sequence[Piece]
    quarantine: Staging


def _begin(run: LoadRun) -> _Begun:
    """List what is to be read. Raises ConfigError where a declared type does not hold the table's."""
    import pyarrow as pa

    lake, source = run.lake, run.source
    table = lake.table("bronze", source.name)
    columns = present_columns(pa.schema(table.schema().to_arrow()), source.second) if table else {}
    fields = known_columns(source, columns)
    # Before listing: a load that commits one of the days after this line wins, and this one is told.
    others = seen_days(lake, source)
    seen = lake.epochs("bronze", source.name, run.days)
    batch = batch_of(run)
    schema = _schema(fields, source.second)
    staging = lake.stage("bronze", source.name, schema, run.days, seen, dimension=source.second)
    if batch.undated:
        log.warning(
            "%s: %s in the name of %s", source.name, source.missing_in_path, ", ".join(batch.undated[:5])
        )
    if batch.links_out:
        shown = ", ".join(batch.links_out[:5])
        log.warning("%s: not listed, such as links that lead out of the landing root: %s", source.name, shown)
    # A day whose files were all cleared away keeps its rows; one that was never published is published empty.
    open_days = [day for day in run.days if batch.todo[day] or not seen[day]]
    return _Begun(run, columns, others, batch, staging, figures_of(batch), open_days)


def _read(spark: Callable[[], SparkSession], begun: _Begun) -> _Read:
    """Read the planned files into staging, what cannot be read into quarantine."""
    run, source = begun.run, begun.run.source
    quarantine = run.lake.stage(STAGE, source.name, quarantine_schema(), [*map(window_of, begun.open_days)])
    pieces = [Piece(day, file) for day in begun.open_days for file in begun.batch.todo[day]]
    fields = known_columns(source, begun.columns)
    if not begun.columns and source.types == "inferred":
        fields = sample(run.landing, source, fields, [piece.file for piece in pieces], run.now)
    task = ReadTask(
        run.landing, run.lake, begun.staging.path, quarantine.path, source, Shape(fields), run.now
    )
    outcomes, parts, fields = read_pieces(spark, task, pieces, run.driver_files, run.meter)
    return _Read(outcomes, parts, fields, pieces, quarantine)


def _settle(begun: _Begun, plan: LoadPlan, read: _Read) -> Loaded:
    """Decide what of the read files may be published; the rest leaves staging, or goes to quarantine."""
    run, source, batch = begun.run, begun.run.source, begun.batch
    if isinstance(source.write, Upsert):
        found = _columns_of(begun, [o for o in read.outcomes if not o.error], read.fields).fields
        refuse_unknown(begun.staging.table, source.write, found)
    failed, bad_files = judged(source, read.outcomes, read.pieces, begun.open_days)
    count(begun.figures, read.outcomes, bad_files)
    lost = {bad.file.path for bad in bad_files}
    parts = [
        p for p in read.parts if p.quarantine or (p.load_day not in failed and not lost.intersection(p.files))
    ]
    _sweep(run.lake, begun.staging, read.quarantine, parts)
    store(run.lake, read.quarantine, {piece.file.path for piece in read.pieces}, bad_files, run.now)
    rows = tuple(part for part in parts if not part.quarantine)
    touched = {part.day for part in rows} | (set(begun.open_days) - failed.keys())
    if not isinstance(source.ds, ByColumn):
        touched -= failed.keys()
    columns = _columns_of(
        begun, [o for o in read.outcomes if o.ds not in failed and not o.error], read.fields
    )
    days = tuple(dict.fromkeys([*sorted(touched), *failed]))
    staging = replace(begun.staging, schema=_schema(columns.fields, source.second), days=days)
    if batch.gone:
        _keep(run.lake, staging, {day: files for day, files in batch.gone.items() if day in touched})
    # What the table has of a file that changed meanwhile stays until the file is loaded.
    changed = {outcome.path for outcome in read.outcomes if outcome.changed}
    of_failed = {file.path for day in failed for file in batch.todo.get(day, ())}
    return Loaded(
        source,
        staging,
        plan,
        begun.figures,
        failed,
        tuple(bad_files),
        columns.changes,
        batch.undated,
        replaced=frozenset(batch.replaced - changed - of_failed),
        replaced_in=None
        if isinstance(source.ds, ByColumn)
        else frozenset({*begun.open_days, *batch.moved_from}),
        parts=rows,
        retype=columns.retype,
        absent=columns.absent,
        links_out=batch.links_out,
    )


@dataclass(frozen=True)
class _Columns:
    """The table's columns after the load, and how they differ from those before; `retype`: some need a wider type."""

    fields: Mapping[str, pa.DataType]
    absent: tuple[str, ...]
    changes: tuple[Change, ...]
    retype: bool


def _columns_of(begun: _Begun, good: Sequence[Outcome], fields: Mapping[str, pa.DataType]) -> _Columns:
    """Those that the table has, that are declared, or that a file which may be published has."""
    present, declared = begun.columns, begun.run.source.columns
    used = {name for outcome in good for name in outcome.columns}
    fields = {n: kind for n, kind in fields.items() if n in present or n in declared or n in used}
    absent = tuple(n for n in fields if n not in used) if good else ()
    stuck = {name: kind for outcome in good for name, kind in outcome.misfits.items()}
    changes = differences(present, fields, absent, stuck) if present else ()
    retype = any(present[n] != kind for n, kind in fields.items() if n in present)
    return _Columns(fields, absent, changes, retype)


def _without_older_versions(begun: _Begun, loaded: Loaded) -> Loaded:
    """Leave one row a key, where the source asks for that: of the staged days, and of what they replace."""
    lake, source, staging = begun.run.lake, loaded.source, loaded.staging
    loaded = replace(loaded, outdated=outdated(lake, begun.run.landing, source, staging))
    if source.merge is not None:
        merged = merge(lake, source, staging, begun.others, loaded.failed, loaded.outdated)
        days = tuple(dict.fromkeys([*merged.staging.days, *loaded.failed]))
        return replace(loaded, staging=replace(merged.staging, days=days), merged=merged)
    if not isinstance(source.write, Upsert):
        return loaded
    if loaded.retype:
        _retype(lake, loaded)
    return replace(loaded, upserted=replace_older(lake, staging, source.write, loaded.replaced))


def commit(
    lake: Lake,
    loaded: Loaded,
    good: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    code: int = 0,
) -> Published:
    """Make the good days visible in one commit (default: all that did not fail), with their plan's number.

    `code` is the version of the source's YAML. Columns that the table lacks are added, and wider types given, by commits before it that change no row. Raises
    FencedError where another load committed one of the days first: nothing of this one is visible then.
    """
    source, plan = loaded.source, loaded.plan
    staging = loaded.staging
    days = [d for d in (staging.days if good is None else good) if d not in loaded.failed]
    if plan is None or not days:
        return Published(staging.table, lake.version(staging.stage, staging.name), {}, 0, 0)
    if isinstance(source.ds, ByColumn):
        # A load day goes in with all its rows or not at all.
        blamed = {p.load_day for p in loaded.parts if p.day not in days}
        for part in loaded.parts:
            if part.load_day in blamed and part.day in days:
                lake.filesystem.delete_file(part.uri)
        load_days = {d for d in plan.previous if d not in blamed}
    else:
        load_days = {d for d in plan.previous if d in days or d not in staging.days}
    if loaded.retype:
        _retype(lake, loaded)
    numbers = {d: (plan.previous[d], plan.number) for d in sorted(load_days - loaded.failed.keys())}
    plans = {plan_id(source.name, d): pair for d, pair in numbers.items()}
    if plan.replaces:
        moved = {app: n for app, (_, n) in plans.items()}
        published = lake.publish(staging, days, moved, metadata, reads=Reads(code=code), volatile=VOLATILE)
    else:
        loaded_paths = {f.path for d in numbers for f in plan.files.get(d, ())}
        gone = loaded.replaced & loaded_paths
        rewrite: Any = loaded.upserted
        if rewrite is None:
            within = None if loaded.outdated else loaded.replaced_in
            rewrite = without_files(lake, staging, "_file", gone | loaded.outdated, within)
        published = lake.amend(staging, rewrite, plans, days, metadata, VOLATILE, code)
    fields = present_columns(staging.schema, source.second)
    record(lake, source.name, fields, loaded.changes, loaded.absent, plan.number)
    open_manifest(lake, source.name, fold=True)  # here, for sensors are not to hold what a big load read
    return published


def known_columns(source: FileSource, present: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    """Columns of the table and declared ones, in the table's spelling; a wider declared type holds."""
    found = {}
    spelled = {name.lower(): name for name in present}
    for name, column in source.columns.items():
        kind = arrow_type(column.type)
        mine = spelled.get(name.lower(), name)
        if mine in present and unify(present[mine], kind) != kind:
            raise ConfigError(
                f"{source.name}: column {name} is declared {column.type}, but the table has "
                f"{type_name(present[mine])}, which that does not hold; declare a wider type or another name",
            )
        found[mine] = kind
    return found | {name: kind for name, kind in present.items() if name not in found}


def _sweep(lake: Lake, staging: Staging, quarantine: Staging, parts: Sequence[Part]) -> None:
    """Remove what must not be published: leftovers of task attempts that died, and of files and days that failed."""
    from pyarrow import fs as pafs

    wanted = {part.uri for part in parts}
    for folder in (staging.path, quarantine.path):
        selector = pafs.FileSelector(folder, recursive=True, allow_not_found=True)
        for info in lake.filesystem.get_file_info(selector):
            if info.type == pafs.FileType.File and info.path not in wanted:
                lake.filesystem.delete_file(info.path)


def _keep(lake: Lake, staging: Staging, gone: Mapping[str, Sequence[File]]) -> None:
    """Carry the rows of files that are gone over into the replaced day: clearing the landing loses nothing."""
    table = lake.table(staging.stage, staging.name)
    for day, files in gone.items():
        if table is not None:
            paths = [file.path for file in files]
            rows = table.to_pyarrow_table(filters=[(DS, "=", day), ("_file", "in", paths)])
            names = [name for name in staging.schema.names if name in rows.column_names]
            schema = replace(staging, schema=_subset(staging.schema, names), days=(day,))
            lake.write(schema, rows)


def _subset(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([schema.field(name) for name in names])


def _retype(lake: Lake, loaded: Loaded) -> None:
    """Give the table the wider types; where another load already did so there is nothing to do."""
    import pyarrow as pa

    staging = loaded.staging
    wide = {f.name: f.type for f in staging.schema}

    def widened(now: pa.Schema) -> pa.Schema:
        held = {f.name for f in now if f.name in wide and unify(normal(f.type), wide[f.name]) == wide[f.name]}
        return pa.schema([pa.field(f.name, wide[f.name]) if f.name in held else f for f in now])

    lake.retype(staging.stage, staging.name, widened, retyped)


def present_columns(schema: pa.Schema, second: str = "") -> dict[str, pa.DataType]:
    """The source's columns of a table, in the types that the loader uses. `second` cuts the table: files do not have it."""
    return {f.name: normal(f.type) for f in schema if f.name not in TECHNICAL and f.name != second}


def _schema(fields: Mapping[str, pa.DataType], second: str = "") -> pa.Schema:
    import pyarrow as pa

    slices = [(second, pa.string())] if second else []
    return pa.schema([*fields.items(), *technical_fields(), *slices, (DS, pa.string())])
