"""Tables that were made through the API, as assets: each is the newest revision of a definition in the lake."""

# No `from __future__ import annotations`: Dagster wants the types of `context` and `config`, not their names.
import json
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from asgard_assets.components.failures import clear_failures
from asgard_assets.components.platform.contracts import Which, deps_of, op_name, shown, spec_of
from asgard_assets.components.tables import Yielded, release, report, table_asset, unpublished
from asgard_assets.errors import AsgardError, SourceError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.lake import Lake, Published
from asgard_assets.lake.store import Store
from asgard_assets.roots import spark_address
from asgard_assets.transforms.managed import Revision, Transform, View, load, newest

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)
_SPARK = "asgard/spark"  # where the launcher of Kubernetes looks for what a step needs
_NESTED = "_airbyte_data"


def managed_transforms(own: dg.Definitions, store: Store | None = None) -> dg.Definitions:
    """An asset for each definition in the lake, but for tables that the project's `own` definitions make.

    A lake that cannot be read is told in the log, and gives none.
    """
    try:
        found = newest(store or Lake.from_settings())
    except (AsgardError, OSError) as error:
        log.warning("tables that were made through the API are not loaded: %s", error)
        return dg.Definitions()
    taken = {key for each in own.assets or () for key in _keys(each)}
    assets = []
    for one in found:
        if dg.AssetKey(one.transform.table.split("/")) in taken:
            log.warning(
                "%s is made by the project's own files: its definition in the lake is left out",
                one.transform.table,
            )
        else:
            assets.append(managed_asset(one))
    return dg.Definitions(assets=assets)


def _keys(each: Any) -> Iterable[dg.AssetKey]:
    if isinstance(each, dg.AssetsDefinition):
        return each.keys
    return [each.key] if isinstance(each, dg.AssetSpec) else []


def managed_asset(revision: Revision) -> dg.AssetsDefinition:
    """The asset of one table, by what runs its SQL."""
    from asgard_assets.components.platform.models import model_asset

    return transform_asset(revision) if revision.transform.engine == "spark" else model_asset(revision)


def transform_asset(revision: Revision) -> dg.AssetsDefinition:
    """The asset of one table: its query as one Spark job, one commit."""
    known = revision.transform
    size = known.size.spec()

    @table_asset(
        spec_of(known),
        name=op_name(known),
        deps=deps_of(known),
        extra_metadata=shown(revision),
        required_resource_keys={"spark", "lake", "step_launcher"},
        op_tags={_SPARK: json.dumps(size)} if size else {},
    )
    def build(context: dg.AssetExecutionContext, config: Which) -> Iterator[Yielded]:
        with clear_failures():
            lake = context.resources.lake.lake
            transform = load(lake, known.name, config.revision).transform
            yield from _built(context, lake, context.resources.spark.session, transform)

    return build


def _built(
    context: dg.AssetExecutionContext, lake: Lake, spark: "SparkSession", transform: Transform
) -> Iterator[Yielded]:
    from asgard_assets.quality.audit import audit
    from asgard_assets.spark import tables

    spec, stage, name = spec_of(transform), transform.stage, transform.name
    seen = lake.epochs(stage, name, ("",))
    rows = result(spark, lake, transform)
    staging = lake.stage(stage, name, tables.arrow_schema(rows), (), seen, whole=True)
    tables.write(rows, staging)

    def commit(good: list[str]) -> Published | None:
        run = {"dagster_run_id": context.run.run_id}
        replace = transform.write_mode == "overwrite"
        return lake.publish(staging, metadata=run, replace_schema=replace) if good else None

    done = release(lake, staging, audit(lake, staging, spec), commit)
    told: dict[str, Any] = {"dagster/row_count": done.found.rows[""]}
    if done.published:
        told |= {"version": done.published.version, "bytes": done.published.bytes}
    failure = dg.Failure(f"{staging.table}: {unpublished(done.bad)}") if done.bad else None
    yield from report(context, spec, done, [], lambda _: {}, told, failure)


def result(spark: "SparkSession", lake: Lake, transform: Transform) -> "DataFrame":
    """The table's rows of now: the query's, below those that are there where it appends."""
    from asgard_assets.spark import tables

    session = tables.own_session(spark)
    session.conf.set("spark.sql.variable.substitute", "false")
    for view in transform.reads:
        _frame(session, lake, view).createOrReplaceTempView(view.name)
    for step in transform.steps[:-1]:
        session.sql(step.sql).createOrReplaceTempView(step.view)
    rows = session.sql(transform.steps[-1].sql)
    if transform.write_mode == "overwrite" or lake.version(transform.stage, transform.name) < 0:
        return rows
    earlier = tables.read(session, lake, transform.stage, transform.name)
    return earlier.unionByName(rows, allowMissingColumns=True)


def _frame(session: "SparkSession", lake: Lake, view: View) -> "DataFrame":
    from asgard_assets.spark import tables

    if view.table:
        stage, _, name = view.table.partition("/")
        return tables.read(session, lake, stage, name)
    return _landed(session, view.folder)


def _landed(session: "SparkSession", folder: str) -> "DataFrame":
    """The records of a stream's landing files, one row a record."""
    landing = Landing.from_settings()
    landing.refuse_outside(folder)
    names = landing.names(folder)
    if not names:
        raise SourceError(f"{folder} holds no files yet: run the ingestion that lands there", source=folder)
    for ending in (".parquet", ".jsonl.gz", ".jsonl"):
        chosen = [
            spark_address(landing.address(f"{folder}/{name}")) for name in names if name.endswith(ending)
        ]
        if chosen:
            frame = session.read.parquet(*chosen) if ending == ".parquet" else session.read.json(chosen)
            return frame.select(f"{_NESTED}.*") if _NESTED in frame.columns else frame
    raise SourceError(f"{folder} holds neither JSON lines nor Parquet: {', '.join(names[:3])}", source=folder)
