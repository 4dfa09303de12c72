"""An API source as a partitioned Bronze asset: one `defs.yaml`, no code."""

# No `from __future__ import annotations`: Dagster reads the annotations of the asset function as objects.

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal, Self

import dagster as dg
from pydantic import BaseModel, Field, model_validator

from asgard_assets.components.api_metadata import day_metadata, metadata
from asgard_assets.components.authoring.source_scaffolds import ApiScaffolder
from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.following.reads import declared_code
from asgard_assets.components.partitions import partitions_of
from asgard_assets.components.pulls import Pull, pull_schedule
from asgard_assets.components.stream.fetching import fetch_asset
from asgard_assets.components.tables import (
    Release,
    Yielded,
    days_of,
    publish,
    report,
    table_asset,
    unpublished,
)
from asgard_assets.ingest.api.plan.calendar import pulled_windows
from asgard_assets.ingest.api.source.models import ApiSource, Mode
from asgard_assets.ingest.api.table.bronze import table_spec
from asgard_assets.ingest.api.table.children import StagedChild, branches, child_spec
from asgard_assets.lake import Lake, Published
from asgard_assets.lake.reads import Reads, number
from asgard_assets.quality.audit import audit
from asgard_assets.quality.tables import Model
from asgard_assets.settings import Settings
from asgard_assets.windows import Window, window_of

API_SOURCE = "api_source"


class ApiIngestModel(Model):
    """What `defs.yaml` holds."""

    source: ApiSource = Field(description="The API source: what to ask, how to log in, where the answers go.")
    automation: Literal["on_upstream_change", "none"] = Field(
        default="none",
        description="on_upstream_change: ask when the tables that the rows come from change. none: only "
        "when somebody asks.",
    )
    pull: Pull | None = Field(
        default=None,
        description='When the API is asked: {every: day, at: "02:00"}, {every: 15 minutes}, {cron: "0 2 * * 1-5"}.',
    )
    retries: int = Field(
        default=2, ge=0, description="How often a step is tried again if the API cannot be reached."
    )
    retry_delay_seconds: float = Field(
        default=5, ge=0, description="Seconds before a step is tried again; doubles at each retry."
    )

    @model_validator(mode="before")
    @classmethod
    def _pull_stands_beside(cls, told: Any) -> Any:
        source = told.get("source") if isinstance(told, dict) else None
        if isinstance(source, dict) and "pull" in source:
            raise ValueError("pull is a field beside `source`, not in it; write it one level up")
        return told

    @model_validator(mode="after")
    def _has_rows(self) -> Self:
        if self.source.rows and not (self.source.rows.upstreams or self.source.rows.query):
            raise ValueError("source.form.rows must name a table, or a query with the tables that it reads")
        return self


class Ask(Enum):
    """What a run sends of partitions that were published before."""

    changed = "changed"
    failed = "failed"
    all = "all"


class ApiRunConfig(dg.Config):
    """Launchpad: what to send of partitions that were published before, and a cursor to ask from, this once."""

    reload: Ask = Field(
        default=Ask.changed,
        description="changed: requests without a success; everything again where all succeeded. "
        "failed: only requests without a success. all: everything again.",
    )
    cursor: str | None = Field(
        default=None,
        description="Start an incremental source here, this once; the stored cursor does not move back.",
    )


_MODES: dict[Ask, Mode] = {Ask.changed: "auto", Ask.failed: "resume", Ask.all: "refresh"}


@dg.scaffold_with(ApiScaffolder)
class ApiIngest(dg.Component):
    """Answers of an API, published day by day; a range of days is one job, of this process or of Spark's workers."""

    def __init__(self, model: ApiIngestModel):
        self.model = model

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return ApiIngestModel

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        assert isinstance(attributes, ApiIngestModel)
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        schedule = api_schedule(self.model)
        asset = topic_asset(self.model) if self.model.source.sink.kafka else api_asset(self.model)
        return dg.Definitions(assets=[asset], schedules=[] if schedule is None else [schedule])


def api_schedule(model: ApiIngestModel) -> dg.ScheduleDefinition | None:
    """The schedule that `pull` declares; it asks anew for windows that an earlier tick did not get, as far back as
    automation looks (ASGARD_LOOKBACK_DAYS)."""
    source, settings = model.source, Settings()
    if model.pull is None:
        return None
    key, calendar = (
        dg.AssetKey(table_spec(source).asset_key),
        settings.calendar(source.every, source.time_zone),
    )

    def due(instance: dg.DagsterInstance | None, previous: datetime, now: datetime) -> list[Window]:
        there = instance.get_materialized_partitions(key) if instance else ()
        past = [calendar.window(window_of(day)) for day in there]
        ended = max((window.end for window in past if window.end <= now), default=None)
        done = None if ended is None else max(ended, now - timedelta(days=settings.lookback_days))
        return pulled_windows(source, calendar, previous, now, None if source.incremental else done)

    keys = [key, *(dg.AssetKey(table.split("/")) for table in source.sink.child_tables)]
    return pull_schedule(source.name, model.pull, keys, due, api_partitions(source), bool(source.incremental))


def api_partitions(source: ApiSource) -> dg.PartitionsDefinition:
    """The windows of the source's table, crossed with its second column where it has one."""
    return partitions_of(source.every, source.time_zone, source.partitions)


def _shown(source: ApiSource) -> dict[str, Any]:
    """Metadata of the asset. Without `auth`: who looks at a source needs no credentials."""
    document = source.model_dump(mode="json", exclude={"auth"}, exclude_unset=True)
    return {
        "base_url": source.endpoint.base_url,
        "form": source.form.type,
        API_SOURCE: dg.MetadataValue.json(document),
    }


def _retries(model: ApiIngestModel) -> dg.RetryPolicy:
    return dg.RetryPolicy(
        max_retries=model.retries,
        delay=model.retry_delay_seconds,
        backoff=dg.Backoff.EXPONENTIAL,
        jitter=dg.Jitter.PLUS_MINUS,
    )


def topic_asset(model: ApiIngestModel) -> dg.AssetsDefinition:
    """The asset of a source whose answers go to a topic."""
    return fetch_asset(model.source, _retries(model), _shown(model.source))


def api_asset(model: ApiIngestModel) -> dg.AssetsDefinition:
    """The asset of one source. Nothing slow is imported before it runs."""
    source = model.source
    spec = table_spec(source)
    secrets = {"secrets"} if source.reads_aws_secrets else set()
    upstreams = source.rows.upstreams if source.rows else ()

    @table_asset(
        spec,
        also=[child_spec(source, branch) for branch in branches(source)],
        name=f"api_{source.name}",
        deps=[dg.AssetKey(table.split("/")) for table in upstreams],
        partitions_def=api_partitions(source),
        automation=on_upstream_change() if model.automation == "on_upstream_change" else None,
        extra_metadata=_shown(source),
        code_version=declared_code(source),
        # A cursor goes on from one day to the next; what it gets cannot be told apart by days.
        backfill_policy=dg.BackfillPolicy.multi_run(1)
        if source.incremental
        else dg.BackfillPolicy.single_run(),
        retry_policy=_retries(model),
        # Two runs at once would add up to twice the rate that the source allows.
        pool=f"api:{source.name}",
        required_resource_keys={"lake", "spark", "step_launcher"} | secrets,
    )
    def ingest(context: dg.AssetExecutionContext, config: ApiRunConfig) -> Iterator[Any]:
        from asgard_assets.ingest.api.pipeline import stage_source
        from asgard_assets.ingest.api.plan.run import Run
        from asgard_assets.ingest.api.source.secrets import aws_secrets

        lake, spark = context.resources.lake.lake, context.resources.spark
        with clear_failures():
            mode, days = _MODES[config.reload], tuple(days_of(context))
            run = Run(lake, source, days, mode, run_id=context.run.run_id, cursor=config.cursor)
            with aws_secrets(context.resources.secrets.read if secrets else None):
                staged = stage_source(
                    lambda: spark.session,
                    run,
                    on_wait=lambda wait: context.log.warning(f"{source.name}: {wait}"),
                )
            children = Children(context, lake, staged.children)
            yield from publish(
                context,
                lake,
                spec,
                staged.staging,
                metadata(staged.summary),
                day_metadata(staged.summary),
                plans=staged.plans,
                first=children.publish,
                failed=children.failed,
                beside=children.tell,
                reads=Reads(code=number(declared_code(source))),
            )

    return ingest


class Children:
    """The staged child tables of one run. A day that one of them cannot have is published in none, and not in the
    parent either.
    """

    def __init__(self, context: dg.AssetExecutionContext, lake: Lake, staged: Sequence[StagedChild]):
        self._context, self._lake, self._staged = context, lake, staged
        self._audits = {child.branch.child.table: audit(lake, child.staging, child.spec) for child in staged}
        self._published: dict[str, Published] = {}

    @property
    def failed(self) -> Mapping[str, str]:
        """Days that cannot be published, with the reason."""
        reasons: dict[str, str] = {}
        for child in self._staged:
            table = child.branch.child.table
            broken = {day: ", ".join(checks) for day, checks in self._audits[table].bad_days.items()}
            for day, reason in (broken | child.failed).items():
                reasons.setdefault(day, f"{table}: {reason}")
        return reasons

    def publish(self, good: list[str]) -> None:
        """Commit these days of every child table."""
        run = {"dagster_run_id": self._context.run.run_id}
        for child in self._staged:
            self._published[child.branch.child.table] = self._lake.publish(child.staging, good, {}, run)

    def tell(self, done: Release) -> Iterator[Yielded]:
        """What Dagster is told, once the parent is published or refused."""
        for child in self._staged:
            table = child.branch.child.table
            self._lake.discard(child.staging, list(done.bad))
            found, published = self._audits[table], self._published.get(table)
            version = {"version": published.version} if published else {}

            def about(day: str, found: Any = found, version: Mapping[str, Any] = version) -> dict[str, Any]:
                return {"dagster/partition_row_count": found.rows[day], **version}

            failure = (
                dg.Failure(f"{table}: {unpublished(done.bad)}", allow_retries=False) if done.bad else None
            )
            asked = [day for day in days_of(self._context) if day in found.rows]
            own = Release(found, published, done.good, done.bad)
            total = {**version, "path_in_parent": child.branch.child.path}
            try:
                yield from report(self._context, child.spec, own, asked, about, total, failure)
            except dg.Failure:
                continue  # the parent's own names the days
