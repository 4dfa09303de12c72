"""An API source as a partitioned Bronze asset: one `defs.yaml`, no code."""

# No `from __future__ import annotations`: Dagster reads the annotations of the asset function as objects.

from collections.abc import Iterator
from typing import Any, Literal, Self

import dagster as dg
from pydantic import BaseModel, Field, model_validator

from asgard_assets.components.api_metadata import day_metadata, metadata
from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.partitions import daily
from asgard_assets.components.tables import days_of, publish, table_asset
from asgard_assets.ingest.api.source.models import ApiSource, Mode
from asgard_assets.ingest.api.table.bronze import table_spec
from asgard_assets.quality.tables import Model

API_SOURCE = "api_source"


class ApiIngestModel(Model):
    """What `defs.yaml` holds."""

    source: ApiSource = Field(description="The API source, as the engine also takes it without Dagster.")
    automation: Literal["on_upstream_change", "none"] = Field(
        default="none", description="on_upstream_change: follow the tables that the rows come from."
    )
    retries: int = Field(default=2, ge=0, description="Step retries where the API cannot be reached.")
    retry_delay_seconds: float = Field(default=5, ge=0, description="Doubles at each retry.")

    @model_validator(mode="after")
    def _has_rows(self) -> Self:
        if self.source.rows and not self.source.rows.upstreams:
            raise ValueError("source.form.rows must name a table, or a query with the tables that it reads")
        return self


class ApiRunConfig(dg.Config):
    """Launchpad: what to send of days that were published before, and a cursor to ask from, this once."""

    mode: str = "auto"
    cursor: str | None = None


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
        return dg.Definitions(assets=[api_asset(self.model)])


def api_asset(model: ApiIngestModel) -> dg.AssetsDefinition:
    """The asset of one source. Nothing slow is imported before it runs."""
    source = model.source
    spec = table_spec(source)
    upstreams = source.rows.upstreams if source.rows else ()

    @table_asset(
        spec,
        name=f"api_{source.name}",
        deps=[dg.AssetKey(table.split("/")) for table in upstreams],
        # How things are now is asked for while the day still runs.
        partitions_def=daily(end_offset=1 if source.kind == "snapshot" else 0),
        automation=on_upstream_change() if model.automation == "on_upstream_change" else None,
        extra_metadata={
            "base_url": source.endpoint.base_url,
            "form": source.form.type,
            # Without `auth`: who looks at a source needs no credentials.
            API_SOURCE: dg.MetadataValue.json(
                source.model_dump(mode="json", exclude={"auth"}, exclude_unset=True)
            ),
        },
        # A cursor goes on from one day to the next; what it gets cannot be told apart by days.
        backfill_policy=dg.BackfillPolicy.multi_run(1)
        if source.incremental
        else dg.BackfillPolicy.single_run(),
        retry_policy=dg.RetryPolicy(
            max_retries=model.retries,
            delay=model.retry_delay_seconds,
            backoff=dg.Backoff.EXPONENTIAL,
            jitter=dg.Jitter.PLUS_MINUS,
        ),
        # Two runs at once would add up to twice the rate that the source allows.
        pool=f"api:{source.name}",
        required_resource_keys={"lake", "spark", "step_launcher"},
    )
    def ingest(context: dg.AssetExecutionContext, config: ApiRunConfig) -> Iterator[Any]:
        from asgard_assets.ingest.api.pipeline import stage_source
        from asgard_assets.ingest.api.plan.run import Run

        lake, spark = context.resources.lake.lake, context.resources.spark
        with clear_failures():
            mode, days = _mode(config.mode), tuple(days_of(context))
            run = Run(lake, source, days, mode, run_id=context.run.run_id, cursor=config.cursor)
            staged = stage_source(
                lambda: spark.session, run, on_wait=lambda wait: context.log.warning(f"{source.name}: {wait}")
            )
            yield from publish(
                context,
                lake,
                spec,
                staged.staging,
                metadata(staged.summary),
                day_metadata(staged.summary),
                plans=staged.plans,
            )

    return ingest


def _mode(text: str) -> Mode:
    if text == "resume":
        return "resume"
    if text == "refresh":
        return "refresh"
    if text == "auto":
        return "auto"
    raise dg.Failure(f"unknown mode {text!r}; there are auto, resume and refresh", allow_retries=False)
