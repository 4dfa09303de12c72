"""The engine from end to end: plan, send from Spark's workers, stage; and publish, where no Dagster does."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from asgard_assets.errors import ConfigError, LakeError
from asgard_assets.ingest.api.access.auth import Fixed, Issuer, references
from asgard_assets.ingest.api.access.oauth import issuer
from asgard_assets.ingest.api.access.service import JobService
from asgard_assets.ingest.api.http.messages import Refused, Unreachable
from asgard_assets.ingest.api.http.recording import begin, recorded_base_url
from asgard_assets.ingest.api.http.tls import WireSecrets, wire_secrets
from asgard_assets.ingest.api.job import Job
from asgard_assets.ingest.api.plan.calendar import refuse_days, today, usual_days
from asgard_assets.ingest.api.plan.checkpoint import close_plan, open_plan
from asgard_assets.ingest.api.plan.ledger import RequestPlan, modes, plan_rows, refuse_cut
from asgard_assets.ingest.api.plan.requests import PLAN_COLUMNS, PlanFiles
from asgard_assets.ingest.api.plan.resume import EarlierRun, announce, earlier_runs
from asgard_assets.ingest.api.plan.walk_state import set_aside_broken, take_over
from asgard_assets.ingest.api.rate.budget import Budget
from asgard_assets.ingest.api.source.config import load, located
from asgard_assets.ingest.api.source.models import ApiSource, Mode
from asgard_assets.ingest.api.source.secrets import expand, variable, withheld
from asgard_assets.ingest.api.source.wire import Tls
from asgard_assets.ingest.api.table.bronze import RETRYABLE, SUCCESS, arrow_schema, table_spec
from asgard_assets.ingest.api.table.conditional import KEPT, keep
from asgard_assets.ingest.api.table.figures import Figures, Summary, slowest
from asgard_assets.ingest.api.table.postprocess import drop_repeated, known_schema, removed, type_payloads
from asgard_assets.ingest.api.table.progress import FOLDER, Progress, Watch, watching
from asgard_assets.ingest.api.worker import load_middleware, sender
from asgard_assets.lake import DS, Lake, Staging
from asgard_assets.lake.numbers import plan_id
from asgard_assets.lake.reader import literally
from asgard_assets.quality.audit import audit

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

_ROWS = "_rows"


@dataclass(frozen=True)
class Staged:
    """Results that nobody sees yet."""

    staging: Staging
    summary: Summary
    plans: Mapping[str, int] = field(default_factory=dict)  # to be committed with their days


def run_pipeline(
    spark: SparkSession,
    config: str | Path | ApiSource,
    source_df: DataFrame | None = None,
    *,
    days: Sequence[str] | None = None,
    mode: Mode = "auto",
    lake: Lake | None = None,
    limit: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Run one source for `days` (default: today, and the days that events may be late) and publish those that
    pass their checks.

    `config` is the path of a YAML or JSON file, or a source. `limit` sends no more requests a day (of a pull
    source: takes no more items); `on_progress` is told about once a second how far the job is. `source_df` is for a source that names no rows of its own: key columns, and `ds` where days differ. Raises
    ConfigError for a wrong configuration, SourceError for an API or a table that cannot be read.
    """
    if not isinstance(config, ApiSource):
        with located(config):
            source = load(config)
            return run_pipeline(
                spark,
                source,
                source_df,
                days=days,
                mode=mode,
                lake=lake,
                limit=limit,
                on_progress=on_progress,
            )
    lake = lake or Lake.from_settings()
    days = days or usual_days(config, today())
    staged = stage_source(
        spark, lake, config, days, mode, rows=source_df, limit=limit, on_progress=on_progress
    )
    bad = audit(lake, staged.staging, table_spec(config)).bad_days
    good = [day for day in staged.staging.days if day not in bad]
    plans = {app: number for app, number in staged.plans.items() if app.rsplit("/", 1)[-1] in good}
    # What a check refused is not to be taken over by the next run: it is asked for again.
    lake.discard(staged.staging, list(bad))
    version = lake.publish(staged.staging, good, plans).version if good else None
    return replace(staged.summary, version=version, bad_days=bad)


def stage_source(
    spark: SparkSession,
    lake: Lake,
    source: ApiSource,
    days: Sequence[str],
    mode: Mode = "auto",
    run_id: str | None = None,
    rows: DataFrame | None = None,
    limit: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Staged:
    """Send what `mode` asks for, for all `days` in one Spark job, and stage the results.

    Raises Unreachable or Refused where the API gave no usable answer to anything; then nothing is left
    behind. Row failures are rows.
    """
    if not source.transport.replay:
        refuse_days(source, days, today())
    issuing, wire, source, base_url = connected(source)
    for path in source.middleware:
        load_middleware(path, source)
    _check_rows(source, rows)
    run_id = run_id or uuid.uuid4().hex
    payload = known_schema(lake, source)
    if source.transport.record:
        begin(Path(source.transport.record), source.name, base_url)
    staging = lake.stage(
        source.sink.stage,
        source.sink.name,
        arrow_schema(source, payload),
        days,
        properties=source.sink.properties,
    )
    walk = None
    try:
        earlier = earlier_runs(lake, source, staging, run_id, mode)
        tasks = source.execution.tasks or spark.sparkContext.defaultParallelism
        plan = _plan(lake, source, staging, mode, rows, limit, tasks, earlier)
        if source.incremental:
            walk = open_plan(lake, source, staging.days[0])
        if source.rows is None and limit is None:
            for day in staging.days:
                begins = walk.cursor if walk else None
                take_over(lake, source, staging, earlier, day, plan.epochs[day], begins)
        announce(lake, source, staging, plan.epochs, run_id)
    except BaseException:
        lake.discard(staging)
        raise
    # From here on, what workers have written is kept whatever happens: the next run takes it over.
    planned = plan.requests if source.one_request_a_row else None
    with (
        _service(spark, source, issuing, wire) as address,
        watching(Watch(lake, staging.path, planned), on_progress),
    ):
        job = Job(
            source, lake, staging.path, staging.schema, base_url, address, plan.epochs, run_id, plan.tasks,
            payload=payload, cursors={walk.ds: walk.cursor} if walk else {}, limit=limit,
            progress=on_progress is not None,
        )  # fmt: skip
        with _environment(spark, source):
            figures = _send(spark, job)
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
    figures.drift |= removed(payload, figures)
    summary = _summary(source, plan, figures)
    _prove_complete(lake, source, staging, plan, summary)
    if payload is None and source.sink.payload and source.sink.payload.type == "struct":
        staging = type_payloads(lake, source, staging, figures.shape)
    summary = _without(summary, drop_repeated(lake, source, staging))
    if walk is None:
        return Staged(staging, summary)
    reached = close_plan(lake, source, walk, figures.cursors.get(walk.ds))
    return Staged(staging, replace(summary, cursor=reached), {plan_id(source.name, walk.ds): walk.number})


def _without(summary: Summary, duplicates: Mapping[str, int]) -> Summary:
    outcomes = {day: dict(by) for day, by in summary.outcomes.items()}
    for day, rows in duplicates.items():
        outcomes[day][SUCCESS] -= rows
    return replace(summary, outcomes=outcomes, duplicates=duplicates)


def _base_url(source: ApiSource) -> str:
    url = expand(source.endpoint.base_url, source.name)
    if source.endpoint.by_row:
        return url  # looked at for each row
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{source.name}: endpoint.base_url is {url!r}; it must begin with http:// or https://",
            field="endpoint.base_url",
        )
    return url


def connected(source: ApiSource) -> tuple[Issuer, WireSecrets, ApiSource, str]:
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
    return issuer(source), wire_secrets(source), source, _base_url(source)


def _service(spark: SparkSession, source: ApiSource, issuing: Issuer, wire: WireSecrets) -> JobService:
    """The driver's service for this job's workers, which then need no secret of their own."""
    conf = spark.sparkContext.getConf()
    host = conf.get("spark.driver.host", "127.0.0.1")
    assert host is not None
    limits = source.limits
    budget = Budget(limits.requests_per_second, limits.pause_share)
    return JobService(issuing, budget, wire, host, conf.get("spark.driver.bindAddress", host) or host)


def _check_rows(source: ApiSource, rows: DataFrame | None) -> None:
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
    lake: Lake,
    source: ApiSource,
    staging: Staging,
    mode: Mode,
    rows: DataFrame | None,
    limit: int | None,
    tasks: int,
    earlier: Sequence[EarlierRun],
) -> RequestPlan:
    if source.rows is None:
        return _plan_walks(lake, source, staging, mode, limit, tasks)
    if rows is None:
        plan = plan_rows(lake, source, staging, mode, None, limit, tasks, earlier)
    else:
        target = f"{staging.path}/{_ROWS}/frame"
        rows.write.parquet(target.replace("s3://", "s3a://", 1))
        plan = plan_rows(lake, source, staging, mode, f"{literally(target)}/*.parquet", limit, tasks, earlier)
    refuse_cut(source, plan.modes, limit)
    return plan


def _plan_walks(
    lake: Lake, source: ApiSource, staging: Staging, mode: Mode, limit: int | None, tasks: int
) -> RequestPlan:
    """One walk a day."""
    import pyarrow as pa

    chosen, epochs = modes(lake, source, staging.days, "refresh" if mode == "auto" else mode)
    refuse_cut(source, chosen, limit)
    with PlanFiles(lake, staging, tasks) as files:
        for day in staging.days:
            files.add(
                [
                    pa.record_batch(
                        [[day], [""], ["{}"], ["{}"], pa.nulls(1, pa.string())], names=list(PLAN_COLUMNS)
                    )
                ]
            )
        count = files.tasks
    return RequestPlan(dict.fromkeys(staging.days, 1), dict.fromkeys(staging.days, 0), chosen, epochs, count)


@contextmanager
def _environment(spark: SparkSession, source: ApiSource) -> Iterator[None]:
    """What the job's workers see of the driver's environment: nothing that could be a secret.

    Where they run on its machine they inherit all of it, other sources' secrets included.
    """
    context = spark.sparkContext
    names = {name for name in map(variable, references(source)) if name}
    if (context.master or "").startswith("local"):
        jvm: Any = context._jvm  # what workers inherit is its environment, not this process's
        names |= {str(name) for name in jvm.java.lang.System.getenv().keySet()}
    before = context.environment
    context.environment = before | withheld(names, source.execution.environment)
    try:
        yield
    finally:
        context.environment = before


def _send(spark: SparkSession, job: Job) -> Figures:
    """The Spark job. No shuffle stands above the network call, so that none can make it run twice."""
    if not job.tasks:
        return Figures()
    frame = spark.range(0, job.tasks, 1, job.tasks)
    handed = frame.mapInArrow(sender(job), "figures string").collect()
    return Figures.total(row[0] for row in handed)


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
        f"{DS}={day}/part-{name}.parquet" for day in plan.send for name in ("carried", "left")
    }
    base = staging.path.removeprefix("s3://")
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
        lying = sum(
            pq.read_metadata(uri.removeprefix("s3://"), filesystem=lake.filesystem).num_rows for uri in uris
        )
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
    )
