"""The engine from end to end: plan, send, stage; and publish, where no Dagster does."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import ConfigError, LakeError
from asgard_assets.ingest.api.access.auth import Fixed, Issuer
from asgard_assets.ingest.api.access.destination import base_url
from asgard_assets.ingest.api.access.oauth import issuer
from asgard_assets.ingest.api.access.service import JobService
from asgard_assets.ingest.api.execution import Execution
from asgard_assets.ingest.api.http.messages import Refused, Unreachable
from asgard_assets.ingest.api.http.recording import begin, recorded_base_url
from asgard_assets.ingest.api.http.tls import WireSecrets, wire_secrets
from asgard_assets.ingest.api.job import Job
from asgard_assets.ingest.api.plan.calendar import calendar_of, refuse_days, today, usual_days, with_values
from asgard_assets.ingest.api.plan.checkpoint import CursorPlan, close_plan, days_asked_again, open_plan
from asgard_assets.ingest.api.plan.ledger import RequestPlan, modes, plan_rows, refuse_cut
from asgard_assets.ingest.api.plan.parent_cursors import write_ledger
from asgard_assets.ingest.api.plan.requests import PLAN_COLUMNS, PlanFiles
from asgard_assets.ingest.api.plan.resume import EarlierRun, Left, announce, earlier_runs
from asgard_assets.ingest.api.plan.run import Run
from asgard_assets.ingest.api.plan.walk_state import set_aside_broken, take_over
from asgard_assets.ingest.api.rate.budget import Budget
from asgard_assets.ingest.api.rate.lease import Wait, clock_time
from asgard_assets.ingest.api.source.config import load, located
from asgard_assets.ingest.api.source.models import ApiSource, Mode
from asgard_assets.ingest.api.source.payload import Schema
from asgard_assets.ingest.api.source.wire import Tls
from asgard_assets.ingest.api.table.bronze import RETRYABLE, SUCCESS, arrow_schema, table_spec
from asgard_assets.ingest.api.table.children import StagedChild, stage_children
from asgard_assets.ingest.api.table.conditional import KEPT, keep
from asgard_assets.ingest.api.table.figures import Figures, Summary, slowest
from asgard_assets.ingest.api.table.postprocess import (
    drop_repeated,
    drop_unchanged,
    fill_payloads,
    known_schema,
    removed,
    type_payloads,
)
from asgard_assets.ingest.api.table.progress import FOLDER, Progress, Watch, watching
from asgard_assets.ingest.api.worker import load_middleware
from asgard_assets.lake import Lake, Staging
from asgard_assets.lake.arrow import without_pandas
from asgard_assets.lake.numbers import plan_id
from asgard_assets.lake.sql import literally
from asgard_assets.lake.staging import partition_folder
from asgard_assets.quality.audit import audit
from asgard_assets.roots import spark_address

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from asgard_assets.ingest.api.execution import Spark

log = logging.getLogger(__name__)

_ROWS = "_rows"
_FEW, _SHARED = 5, 0.1  # items, and their share, from which keys that repeat are worth a word


@dataclass(frozen=True)
class Staged:
    """Results that nobody sees yet."""

    staging: Staging
    summary: Summary
    plans: Mapping[str, int] = field(default_factory=dict)  # to be committed with their days
    children: Sequence[StagedChild] = ()  # to be published right before


def run_pipeline(
    spark: Spark,
    config: str | Path | ApiSource | None = None,
    source_df: DataFrame | str | None = None,
    *,
    config_path: str | Path | None = None,
    days: Sequence[str] | None = None,
    mode: Mode = "auto",
    lake: Lake | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Run one source for `days` (default: today, and the days that events may be late) and publish those that
    pass their checks.

    `spark` is an open session, which then sends, or what opens one: it is called only where the job is too large
    for this process. `config` is the path of a YAML or JSON file, or a source; `config_path` names the file too.
    `limit` sends no more requests a day (of a pull source: takes no more items); `cursor` asks an
    incremental source from there on, this once, and the cursor that is kept does not fall behind; `on_progress` is
    told about once a second how far the job is.
    `source_df` is for a source that names no rows of its own: key columns, and `ds` where days differ, as a frame
    or as Parquet files (a glob). Raises ConfigError for a wrong configuration, SourceError for an API or a table
    that cannot be read.
    """
    given = config_path if config is None else config
    if given is None or (config is not None and config_path is not None):
        raise ConfigError(
            "run_pipeline: give either config_path, the path of a YAML or JSON file, or config, a source; not "
            + ("neither" if config is None else "both")
        )
    if not isinstance(given, ApiSource):
        with located(given):
            source, more = load(given), {"days": days, "mode": mode, "lake": lake, "limit": limit}
            more["cursor"] = cursor
            return run_pipeline(spark, source, source_df, on_progress=on_progress, **more)
    lake = lake or Lake.from_settings()
    days = days or with_values(given, usual_days(given, today(given.every, given.time_zone)))
    run = Run(lake, given, tuple(days), mode, limit, cursor=cursor)
    staged = stage_source(spark, run, source_df, on_progress)
    bad = audit(lake, staged.staging, table_spec(given)).bad_days
    for child in staged.children:
        broken = audit(lake, child.staging, child.spec).bad_days | {
            day: [why] for day, why in child.failed.items()
        }
        for day, reasons in broken.items():
            bad.setdefault(day, []).extend(f"{child.branch.child.table}: {reason}" for reason in reasons)
    good = [day for day in staged.staging.days if day not in bad]
    plans = {app: number for app, number in staged.plans.items() if app.rsplit("/", 1)[-1] in good}
    # What a check refused is not to be taken over by the next run: it is asked for again.
    lake.discard(staged.staging, list(bad))
    for child in staged.children:
        lake.discard(child.staging, list(bad) if good else None)
        if good:
            lake.publish(child.staging, good)
    version = lake.publish(staged.staging, good, plans).version if good else None
    return replace(staged.summary, version=version, bad_days=bad)


def stage_source(
    spark: Spark,
    run: Run,
    rows: DataFrame | str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_wait: Callable[[Wait], None] | None = None,
) -> Staged:
    """Send what the run asks for, all its days in one job, and stage the results.

    Raises Unreachable or Refused where the API gave no usable answer to anything; then nothing is left
    behind. Row failures are rows. `on_wait` is told of each longer wait that the API asks for, as it begins;
    without it, the log is.
    """
    without_pandas()
    begun = _begin(run, rows)
    execution = Execution(spark, begun.run.source, run.process_requests)
    try:
        plan, walk = _prepare(begun, rows, execution)
    except BaseException:
        run.lake.discard(begun.staging)
        raise
    # From here on, what workers have written is kept whatever happens: the next run takes it over.
    figures = _send(begun, plan, walk, execution, on_progress, on_wait)
    return _with_children(begun, _settle(begun, plan, walk, figures, execution))


def _with_children(begun: _Begun, staged: Staged) -> Staged:
    """The staged rows, and those of the lists in them."""
    source = begun.run.source
    if not source.sink.children:
        return staged
    children = stage_children(begun.run.lake, source, staged.staging, begun.children)
    summary = replace(
        staged.summary,
        children={child.branch.child.table: child.rows for child in children},
        notes=(*staged.summary.notes, *(child.note for child in children if child.note)),
    )
    return replace(staged, summary=summary, children=children)


@dataclass(frozen=True)
class _Begun:
    """A run with its source as workers find it, what goes with that, and the place of its results."""

    run: Run
    issuing: Issuer
    wire: WireSecrets
    base_url: str
    payload: Schema | None
    staging: Staging
    children: Mapping[str, Mapping[str, int]]  # transaction numbers of the child tables, by table and day


def _begin(run: Run, rows: DataFrame | str | None) -> _Begun:
    """Everything that can be refused before anything is sent or read."""
    if not run.source.transport.replay:
        refuse_days(run.source, run.days, today(run.source.every, run.source.time_zone))
    issuing, wire, source, base_url = connected(run.source, run.lake)
    for path in source.middleware:
        load_middleware(path, source)
    _check_rows(source, rows)
    payload = known_schema(run.lake, source)
    if source.transport.record:
        begin(Path(source.transport.record), source.name, base_url)
    sink, schema = source.sink, arrow_schema(source, payload)
    # Before the parent's own: who publishes both in between is found out by both.
    named = {table: table.split("/") for table in sink.child_tables}
    children = {table: run.lake.epochs(stage, name, run.days) for table, (stage, name) in named.items()}
    staging = run.lake.stage(
        sink.stage, sink.name, schema, run.days, properties=sink.properties, dimension=source.second
    )
    run = replace(run, source=source, days=staging.days)
    return _Begun(run, issuing, wire, base_url, payload, staging, children)


def _prepare(
    begun: _Begun, rows: DataFrame | str | None, execution: Execution
) -> tuple[RequestPlan, CursorPlan | None]:
    """What will be sent, what earlier runs have of it already, and where an incremental walk begins."""
    run, staging, walk = begun.run, begun.staging, None
    earlier = earlier_runs(run, staging)
    if run.source.incremental:
        walk = open_plan(run.lake, run.source, staging.days[0], run.cursor)
    elif run.cursor is not None:
        raise ConfigError(f"{run.source.name} has no cursor: it says nothing in form.incremental")
    plan = _plan(run, staging, rows, execution, earlier, walk.cursor if walk else None)
    if run.source.rows is None and run.limit is None:
        for day in staging.days:
            begins = walk.cursor if walk else None
            take_over(Left(run.lake, run.source, staging, earlier, day, plan.epochs[day]), begins)
    announce(run, staging, plan.epochs)
    return plan, walk


def _send(
    begun: _Begun,
    plan: RequestPlan,
    walk: CursorPlan | None,
    execution: Execution,
    on_progress: Callable[[Progress], None] | None,
    on_wait: Callable[[Wait], None] | None,
) -> Figures:
    run, staging = begun.run, begun.staging
    begins = {walk.ds: run.source.first_cursor if run.source.rows else walk.cursor} if walk else {}
    job = Job(
        run.source, run.lake, staging.path, staging.schema, begun.base_url, None, plan.epochs, run.run_id,
        payload=begun.payload, cursors=begins, limit=run.limit,
        overlap_seconds=walk.overlap_seconds if walk else 0,
        progress=on_progress is not None, calendar=calendar_of(run.source),
    )  # fmt: skip
    limits = run.source.limits
    tell = on_wait or (lambda wait: log.warning("%s: %s", run.source.name, wait))
    patience = run.source.patience_seconds
    budget = Budget(limits.requests_per_second, limits.pause_share, patience=patience, tell=tell)
    planned = plan.requests if run.source.one_request_a_row else None
    watch = Watch(run.lake, staging.path, planned, waiting=lambda: budget.waiting)
    with (
        JobService(begun.issuing, budget, begun.wire) as service,
        watching(watch, on_progress),
    ):
        figures = execution.run(job, service, plan.tasks)
    figures.waits = [
        {"until": clock_time(w.until), "seconds": round(w.seconds), "waited": w.waited, "why": w.why}
        for w in budget.waits
    ]
    return figures


def _settle(
    begun: _Begun, plan: RequestPlan, walk: CursorPlan | None, figures: Figures, execution: Execution
) -> Staged:
    """What was sent, proven complete and made ready to be published."""
    lake, source, staging = begun.run.lake, begun.run.source, begun.staging
    try:
        _raise_useless(source, figures)
    except (Refused, Unreachable):
        lake.discard(staging)
        raise
    if figures.kept:
        figures.files += keep(lake, source, staging, figures.kept)
    _drop_strays(lake, staging, plan, figures)
    if source.rows is None:
        set_aside_broken(lake, staging, {day for day, by in figures.outcomes.items() if RETRYABLE in by})
    figures.drift |= removed(begun.payload, figures)
    summary = replace(_summary(source, plan, figures), ran_in=execution.ran_in, why=execution.why)
    _prove_complete(lake, source, staging, plan, summary)
    if begun.payload is None and source.sink.payload and source.sink.payload.type == "struct":
        staging = type_payloads(lake, source, staging, figures.shape)
    elif begun.payload is not None and source.sink.payload and source.sink.payload.columns is None:
        staging, typed = fill_payloads(lake, source, staging, begun.payload, figures.shape)
        note = f"payload has its first values of {', '.join(typed)}"
        summary = replace(summary, notes=(*summary.notes, note)) if typed else summary
    summary = _without(summary, drop_repeated(lake, source, staging))
    if walk is None:
        return Staged(staging, summary)
    if walk.overlap_seconds and source.incremental and source.incremental.overlap_seconds is None:
        again = drop_unchanged(lake, source, staging, walk.ds, days_asked_again(lake, source, walk))
        summary = _less(summary, walk.ds, again)
    if source.rows:
        resumed = plan.modes[walk.ds] == "resume"
        end, ended = write_ledger(lake, source, staging, walk, figures.noted, resumed)
        close_plan(lake, source, walk, end)
        told: Any = f"{ended:,} parents"
    else:
        told = close_plan(lake, source, walk, figures.cursors.get(walk.ds))
    return Staged(staging, replace(summary, cursor=told), {plan_id(source.name, walk.ds): walk.number})


def _without(summary: Summary, duplicates: Mapping[str, int]) -> Summary:
    outcomes = {day: dict(by) for day, by in summary.outcomes.items()}
    for day, rows in duplicates.items():
        outcomes[day][SUCCESS] -= rows
    dropped, items = sum(duplicates.values()), summary.succeeded
    if dropped < max(_FEW, items * _SHARED) or any("read twice" in note for note in summary.notes):
        return replace(summary, outcomes=outcomes, duplicates=duplicates)
    note = f"{dropped:,} of {items:,} items share their key with a later one and were left out; is form.key all of it?"
    return replace(summary, outcomes=outcomes, duplicates=duplicates, notes=(*summary.notes, note))


def _less(summary: Summary, day: str, again: int) -> Summary:
    if not again:
        return summary
    outcomes = {ds: dict(by) for ds, by in summary.outcomes.items()}
    outcomes[day][SUCCESS] -= again
    note = f"{again:,} items came again unchanged, because the run asked from before the cursor on; left out"
    return replace(summary, outcomes=outcomes, notes=(*summary.notes, note))


def connected(source: ApiSource, lake: Lake | None = None) -> tuple[Issuer, WireSecrets, ApiSource, str]:
    """Who issues credentials, the connection's own secrets, the source with its folders as workers find them,
    and its base URL. A replay needs no secret and knows the API's address by itself.
    """
    wire = source.transport
    folders = {
        name: str(Path(path).absolute()) for name in ("record", "replay") if (path := getattr(wire, name))
    }
    source = source.model_copy(update={"transport": wire.model_copy(update=folders)})
    if wire.replay:
        plain = wire.model_copy(update=folders | {"tls": Tls(), "proxy": None})
        source = source.model_copy(update={"transport": plain})
        return Fixed(), WireSecrets(), source, recorded_base_url(Path(wire.replay), source.name)
    return issuer(source, lake), wire_secrets(source), source, base_url(source)


def _check_rows(source: ApiSource, rows: DataFrame | str | None) -> None:
    """Rows come from one place: the source's own table or query, or a frame."""
    if source.rows is None:
        if rows is not None:
            raise ConfigError(f"{source.name}: a pull source takes no rows", field="form.type")
    elif (rows is not None) == bool(source.rows.table or source.rows.query):
        raise ConfigError(
            f"{source.name}: give either form.rows.table or query, or a frame; not "
            f"{'both' if rows is not None else 'neither'}",
            field="form.rows",
        )


def _plan(
    run: Run,
    staging: Staging,
    rows: DataFrame | str | None,
    execution: Execution,
    earlier: Sequence[EarlierRun],
    cursor: Any,
) -> RequestPlan:
    if run.source.rows is None:
        return _plan_walks(run, staging)
    if rows is not None and not isinstance(rows, str):
        target = f"{staging.path}/{_ROWS}/frame"
        rows.write.parquet(spark_address(target))
        rows = f"{literally(target)}/*.parquet"
    plan = plan_rows(run, staging, rows, execution.tasks, earlier, cursor)
    refuse_cut(run, plan.modes)
    return plan


def _plan_walks(run: Run, staging: Staging) -> RequestPlan:
    """One walk a day, each in a file of its own: which task it will be in is not known yet."""
    import pyarrow as pa

    days = staging.days
    chosen, epochs = modes(run)
    refuse_cut(run, chosen)
    with PlanFiles(run.lake, staging, lambda _: len(days)) as files:
        files.batch_rows(len(days))
        for day in days:
            row = [[day], [""], ["{}"], ["{}"], pa.nulls(1, pa.string())]
            files.add([pa.record_batch(row, names=list(PLAN_COLUMNS))])
        count = files.tasks
    return RequestPlan(dict.fromkeys(days, 1), dict.fromkeys(days, 0), chosen, epochs, count)


def _raise_useless(source: ApiSource, figures: Figures) -> None:
    if figures.usable and not figures.aborted:
        return
    if figures.refused:
        raise Refused(figures.refused, source=source.name)
    if figures.unreachable:
        raise Unreachable(figures.unreachable, source=source.name)


def _drop_strays(lake: Lake, staging: Staging, plan: RequestPlan, figures: Figures) -> None:
    """Remove the plan, and files of task attempts that Spark gave up: their rows were sent again."""
    wanted = {*figures.files} | {
        f"{partition_folder(day, staging.dimension)}/part-{name}.parquet"
        for day in plan.send
        for name in ("carried", "left")
    }
    wanted |= set(plan.kept)
    base = staging.path
    for uris in lake.staged_files(staging).values():
        for uri in uris:
            inside = uri[len(staging.path) + 1 :]
            if inside not in wanted:
                log.warning("%s: dropping %s of a lost task attempt", staging.table, inside)
                lake.filesystem.delete_file(f"{base}/{inside}")
    for folder in ("_plan", _ROWS, "_scratch", FOLDER, KEPT):
        if lake.remote:
            lake.filesystem.delete_dir_contents(f"{base}/{folder}", missing_dir_ok=True)
        else:
            shutil.rmtree(f"{base}/{folder}", ignore_errors=True)


def _prove_complete(
    lake: Lake, source: ApiSource, staging: Staging, plan: RequestPlan, summary: Summary
) -> None:
    """Every planned request has an outcome, and every outcome lies in a file; else nothing is published."""
    import pyarrow.parquet as pq

    for day, uris in lake.staged_files(staging).items():
        told = sum(summary.outcomes.get(day, {}).values())
        lying = sum(pq.read_metadata(uri, filesystem=lake.filesystem).num_rows for uri in uris)
        # How many items a list has is only known when it was walked.
        planned = plan.send[day] + plan.carried[day] if source.one_request_a_row else told
        if not told == lying == planned:
            raise LakeError(
                f"{staging.table}: {day} has {planned} requests, {told} outcomes and {lying} staged rows; "
                "nothing was published. Run it again, and report this if it happens twice",
                table=staging.table,
            )


def _summary(source: ApiSource, plan: RequestPlan, figures: Figures) -> Summary:
    for day, rows in plan.carried.items():
        if rows:
            figures.count(day, SUCCESS, rows)
    return Summary(
        source=source.name,
        days=tuple(plan.modes),
        modes=plan.modes,
        outcomes=figures.outcomes,
        carried=plan.carried,
        requests=figures.requests,
        retries=figures.retries,
        throttles=figures.throttles,
        unchanged=figures.unchanged,
        bytes=figures.bytes,
        seconds=figures.seconds,
        max_in_flight=figures.max_in_flight,
        workers=tuple(figures.workers),
        failures=tuple(figures.failures),
        pagination=figures.pagination,
        drift=figures.drift,
        hosts=slowest(figures.hosts),
        pace=figures.pace,
        notes=tuple(figures.notes),
        waits=tuple(figures.waits),
    )
