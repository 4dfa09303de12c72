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
from asgard_assets.ingest.files.plan.batch import batch_of
from asgard_assets.ingest.files.plan.load_plan import LoadPlan, write_plan
from asgard_assets.ingest.files.plan.manifest import open_manifest
from asgard_assets.ingest.files.plan.quarantine import STAGE, BadFile, quarantine_schema, store, without_files
from asgard_assets.ingest.files.plan.read_task import Outcome, Part, Piece, ReadTask
from asgard_assets.ingest.files.plan.schedule import DRIVER_FILES, read_pieces, sample
from asgard_assets.ingest.files.shape.conform import Shape, technical_fields
from asgard_assets.ingest.files.shape.fitting import retyped
from asgard_assets.ingest.files.shape.schema import Change, differences, record
from asgard_assets.ingest.files.source.models import TECHNICAL, ByColumn, FileSource, Upsert
from asgard_assets.ingest.files.source.types import normal, unify
from asgard_assets.ingest.files.table.merge import Merged, merge, seen_days
from asgard_assets.ingest.files.table.upsert import Upserted, replace_older
from asgard_assets.lake import DS, Lake, Published, Staging
from asgard_assets.lake.numbers import plan_id
from asgard_assets.lake.types import arrow_type, type_name

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


@dataclass
class DayFigures:
    """What one day's files held. `deleted_files` are gone from the landing; their rows stay in the table."""

    files: int = 0
    bytes: int = 0
    rows: int = 0
    rescued_rows: int = 0
    quarantined_rows: int = 0
    left_out_rows: int = 0
    changed_files: int = 0
    failed_files: int = 0
    deleted_files: int = 0


@dataclass(frozen=True)
class Loaded:
    """Staged rows, ready to be audited and committed.

    `days` are those that were asked for; `failed` those of them that must not be published, and why: nothing of
    them is staged. `bad_files` went to quarantine. `staging.days` are the days of the rows.
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
    parts: tuple[Part, ...] = field(default=(), repr=False)
    retype: bool = False
    upserted: Upserted | None = None
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
) -> Loaded:
    """Stage what is new or changed of `days`; with `full` every file that lies there, and `again` these in any case.

    `spark` opens the session. It is called where more than `driver_files` files, or than 4 MB, are to be read.
    Raises SourceError where the source's folder cannot be listed, ConfigError where a declared type is not the
    table's and does not hold it.
    """
    import pyarrow as pa

    now = now or datetime.now(UTC)
    days = list(dict.fromkeys(days))
    table = lake.table("bronze", source.name)
    present = present_columns(pa.schema(table.schema().to_arrow())) if table else {}
    fields = known_columns(source, present)
    # Before listing: a load that commits one of the days after this line wins, and this one is told.
    others = seen_days(lake, source)
    seen = lake.epochs("bronze", source.name, days)
    batch = batch_of(lake, landing, source, days, full, set(again))
    staging = lake.stage("bronze", source.name, _schema(fields), days, seen)
    if batch.undated:
        log.warning("%s: no day in the name of %s", source.name, ", ".join(batch.undated[:5]))
    if batch.links_out:
        log.warning(
            "%s: links that lead out of the landing root are not followed: %s",
            source.name,
            ", ".join(batch.links_out[:5]),
        )
    figures = {
        day: DayFigures(
            len(batch.todo[day]),
            sum(f.size for f in batch.todo[day]),
            changed_files=sum(f.path in batch.replaced for f in batch.todo[day]),
            deleted_files=batch.deleted.get(day, 0),
        )
        for day in days
    }
    unpublished = [day for day in days if not seen[day]]
    # A day whose files were all cleared away keeps its rows.
    open_days = [d for d in days if batch.todo[d] or d in unpublished]
    if not open_days:
        lake.discard(staging)
        nothing = replace(staging, days=())
        return Loaded(source, nothing, None, figures, {}, undated=batch.undated, links_out=batch.links_out)
    plan = write_plan(
        lake,
        source.name,
        {day: batch.numbers[day] for day in {*open_days, *batch.moved_from}},
        {day: [*batch.todo[day], *batch.gone.get(day, ())] for day in open_days},
        replaces=batch.whole_days,
    )
    quarantine = lake.stage(STAGE, source.name, quarantine_schema(), open_days)
    pieces = [Piece(day, file) for day in open_days for file in batch.todo[day]]
    if not present and source.types == "inferred":
        fields = sample(landing, source, fields, [piece.file for piece in pieces], now)
    task = ReadTask(landing, lake, staging.path, quarantine.path, source, Shape(fields), now)
    outcomes, parts, fields = read_pieces(spark, task, pieces, driver_files)

    failed, bad_files = _judged(source, outcomes, pieces, open_days)
    for outcome in outcomes:
        day = figures[outcome.ds]
        day.rows += outcome.rows
        day.rescued_rows += outcome.rescued
        day.quarantined_rows += outcome.bad
        day.left_out_rows += outcome.left_out
    for bad in bad_files:
        figures[bad.ds].failed_files += 1
    lost = {bad.file.path for bad in bad_files}
    changed = {outcome.path for outcome in outcomes if outcome.changed}
    parts = [
        p for p in parts if p.quarantine or (p.load_day not in failed and not lost.intersection(p.files))
    ]
    _sweep(lake, staging, quarantine, parts)
    store(lake, quarantine, {piece.file.path for piece in pieces}, bad_files, now)
    good = [o for o in outcomes if o.ds not in failed and not o.error]
    used = {name for outcome in good for name in outcome.columns}
    fields = {n: kind for n, kind in fields.items() if n in present or n in source.columns or n in used}
    absent = tuple(n for n in fields if n not in used) if good else ()
    stuck = {name: kind for o in good for name, kind in o.misfits.items()}
    changes = differences(present, fields, absent if present else (), stuck) if present else ()
    touched = sorted({*open_days, *(p.day for p in parts if not p.quarantine)} - failed.keys())
    if isinstance(source.ds, ByColumn):
        touched = sorted({p.day for p in parts if not p.quarantine} | (set(open_days) - failed.keys()))
    staging = replace(staging, schema=_schema(fields), days=tuple(dict.fromkeys([*touched, *failed])))
    # What the table has of a file that changed meanwhile stays until the file is loaded.
    replaced = frozenset(batch.replaced - changed - {f.path for d in failed for f in batch.todo.get(d, ())})
    loaded = Loaded(
        source,
        staging,
        plan,
        figures,
        failed,
        tuple(bad_files),
        changes,
        batch.undated,
        replaced,
        None if isinstance(source.ds, ByColumn) else frozenset({*open_days, *batch.moved_from}),
        tuple(p for p in parts if not p.quarantine),
        any(present[n] != kind for n, kind in fields.items() if n in present),
        absent=absent,
        links_out=batch.links_out,
    )
    if batch.gone:
        _keep(lake, staging, {day: files for day, files in batch.gone.items() if day in touched})
    if source.merge is not None:
        merged = merge(lake, source, staging, others, failed)
        days_then = tuple(dict.fromkeys([*merged.staging.days, *failed]))
        return replace(loaded, staging=replace(merged.staging, days=days_then), merged=merged)
    if not isinstance(source.write, Upsert):
        return loaded
    if loaded.retype:
        _retype(lake, loaded)
    return replace(loaded, upserted=replace_older(lake, staging, source.write, replaced))


def commit(
    lake: Lake, loaded: Loaded, good: Sequence[str] | None = None, metadata: Mapping[str, Any] | None = None
) -> Published:
    """Make the good days visible in one commit (default: all that did not fail), with their plan's number.

    Columns that the table lacks are added, and wider types given, by commits before it that change no row. Raises
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
                lake.filesystem.delete_file(part.uri.removeprefix("s3://"))
        load_days = {d for d in plan.previous if d not in blamed}
    else:
        load_days = {d for d in plan.previous if d in days or d not in staging.days}
    if loaded.retype:
        _retype(lake, loaded)
    numbers = {d: (plan.previous[d], plan.number) for d in sorted(load_days - loaded.failed.keys())}
    plans = {plan_id(source.name, d): pair for d, pair in numbers.items()}
    if plan.replaces:
        published = lake.publish(staging, days, {app: n for app, (_, n) in plans.items()}, metadata)
    else:
        loaded_paths = {f.path for d in numbers for f in plan.files.get(d, ())}
        gone = loaded.replaced & loaded_paths
        rewrite: Any = loaded.upserted
        if rewrite is None:
            rewrite = without_files(lake, staging, "_file", gone, loaded.replaced_in)
        published = lake.amend(staging, rewrite, plans, days, metadata)
    fields = present_columns(staging.schema)
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


def _judged(
    source: FileSource, outcomes: Sequence[Outcome], pieces: Sequence[Piece], days: Sequence[str]
) -> tuple[dict[str, str], list[BadFile]]:
    """Days that must not be published, with the reasons, and the files that failed."""
    files = {piece.file.path: piece.file for piece in pieces}
    errors: dict[str, dict[str, Outcome]] = {}
    rows, bad = dict.fromkeys(days, 0), dict.fromkeys(days, 0)
    for outcome in outcomes:
        rows[outcome.ds] += outcome.records
        bad[outcome.ds] += outcome.bad
        if outcome.error:
            errors.setdefault(outcome.ds, {})[outcome.path] = outcome
    failed: dict[str, str] = {}
    for day in days:
        found = errors.get(day, {})
        reasons = [o.error for o in found.values()]
        limits = source.limits
        # A day that is overwritten would lose the rows that it has of a file that changed meanwhile.
        if len(reasons) > limits.bad_files or (source.overwrites and any(o.changed for o in found.values())):
            shown = reasons[:5] + ([f"and {len(reasons) - 5} files more"] if len(reasons) > 5 else [])
            failed[day] = "; ".join(shown)
        elif limits.bad_rows is not None and bad[day] > limits.bad_rows:
            failed[day] = f"{bad[day]} records are in quarantine, more than the limit of {limits.bad_rows}"
        elif limits.bad_share is not None and bad[day] > limits.bad_share * rows[day]:
            failed[day] = (
                f"{bad[day]} of {rows[day]} records are in quarantine, above the share {limits.bad_share}"
            )
    # A file that changed while its day failed is simply not loaded yet.
    return failed, [
        BadFile(files[path], day, o.error)
        for day, found in errors.items()
        for path, o in found.items()
        if not (o.changed and day in failed)
    ]


def _sweep(lake: Lake, staging: Staging, quarantine: Staging, parts: Sequence[Part]) -> None:
    """Remove what must not be published: leftovers of task attempts that died, and of files and days that failed."""
    from pyarrow import fs as pafs

    wanted = {part.uri.removeprefix("s3://") for part in parts}
    for folder in (staging.path, quarantine.path):
        selector = pafs.FileSelector(folder.removeprefix("s3://"), recursive=True, allow_not_found=True)
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


def present_columns(schema: pa.Schema) -> dict[str, pa.DataType]:
    """The source's columns of a table, in the types that the loader uses."""
    return {f.name: normal(f.type) for f in schema if f.name not in TECHNICAL}


def _schema(fields: Mapping[str, pa.DataType]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([*fields.items(), *technical_fields(), (DS, pa.string())])
