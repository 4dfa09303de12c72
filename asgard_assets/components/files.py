"""Files as Bronze tables: one `defs.yaml` a source gives the asset, its checks and the sensor that feeds it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

# No `from __future__ import annotations`: Dagster wants to see the type of `context`, not its name.
import dagster as dg
from pydantic import BaseModel

from asgard_assets.components.failures import clear_failures
from asgard_assets.components.partitions import daily
from asgard_assets.components.tables import asset_spec, check_specs, days_of, publish
from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.listing import batch_hash, scan
from asgard_assets.ingest.files.models import FileSource
from asgard_assets.lake import Lake

BATCH_TAG = "asgard/batch"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_TICK_SECONDS = 8.0
_RUNS_PER_TICK = 10
_SHOWN = 5


class FileIngest(dg.Component):
    """A folder of CSV, JSON or Parquet files, loaded day by day into a Bronze table; new files start runs."""

    def __init__(self, source: FileSource) -> None:
        self.source = source

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return FileSource

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "FileIngest":
        return cls(cast(FileSource, attributes))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        asset = file_asset(self.source)
        return dg.Definitions(assets=[asset], sensors=[file_sensor(self.source)])


def file_asset(source: FileSource) -> dg.AssetsDefinition:
    """The Bronze asset: a run loads its day or its range of days as one Spark job and one commit."""
    spec = source.spec

    @dg.multi_asset(
        name=f"files_{source.name}",
        specs=[asset_spec(spec, deps=[dg.AssetKey(list(d)) for d in source.deps], partitions_def=daily())],
        check_specs=check_specs(spec),
        required_resource_keys={"lake", "spark", "step_launcher"},
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def load_files(context: dg.AssetExecutionContext) -> Iterator[Any]:
        from asgard_assets.ingest.files.load import load

        with clear_failures():
            lake: Lake = context.resources.lake.lake
            loaded = load(
                context.resources.spark.session, lake, Landing.from_settings(), source, days_of(context)
            )
            shown = {
                "rescued_rows": sum(day.rescued_rows for day in loaded.days.values()),
                "schema_diff": dg.MetadataValue.json(
                    {"new_columns": loaded.new_columns, "absent_from_these_files": loaded.absent_columns}
                ),
                "undated_files": len(loaded.undated),
            }
            if source.merge:
                shown |= {
                    "superseded_rows": loaded.superseded_rows,
                    "deleted_rows": loaded.deleted_rows,
                    "days_rewritten_beside": list(loaded.moved_days),
                }
            by_day = {day: asdict(figures) for day, figures in loaded.days.items()}
            yield from publish(
                context,
                lake,
                spec,
                loaded.staging,
                shown,
                by_day,
                plans=loaded.plans,
                failed=loaded.failed,
                together=source.merge is not None and source.files != "snapshot",
            )

    return load_files


def file_sensor(source: FileSource) -> dg.SensorDefinition:
    """Ask for one run for each day that has files to load.

    What is to be loaded is told by the files' state, never by the cursor: that only says where a listing
    that ran out of time goes on. A batch (these files, of these sizes and times) is asked for once; after a
    failure it waits for a changed file or for a person, and the tick says so.
    """
    key = dg.AssetKey(["bronze", source.name])

    @dg.sensor(
        name=f"{source.name}_files",
        asset_selection=dg.AssetSelection.assets(key),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Loads new and changed files of {source.path}/ into bronze/{source.name}.",
    )
    def look_for_files(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        lake, landing = Lake.from_settings(), Landing.from_settings()
        try:
            found = scan(lake, landing, source, context.cursor or None, _TICK_SECONDS)
        except SourceError as error:
            return dg.SensorResult(skip_reason=str(error))
        waiting = found.todo
        days = set(daily().get_partition_keys())
        notes = [
            *_note("no day in the name of", found.undated),
            *_note("outside the calendar:", sorted(waiting.keys() - days)),
        ]
        busy = _days_in_progress(context.instance, key)
        requests = []
        for day in sorted(waiting.keys() & days):
            batch = batch_hash(waiting[day])
            if day in busy:
                notes.append(f"{day} is being loaded")
            elif earlier := _runs_of(context.instance, source.name, day, batch):
                notes.append(
                    f"{day}: run {earlier[0].run_id[:8]} of this batch ended {earlier[0].status.value}"
                )
            else:
                requests.append(
                    dg.RunRequest(
                        run_key=f"{source.name}:{day}:{batch}",
                        partition_key=day,
                        tags={BATCH_TAG: f"{source.name}-{day}-{batch}"},
                    )
                )
        if len(requests) > _RUNS_PER_TICK:
            notes.append(f"{len(requests) - _RUNS_PER_TICK} more days wait for the next tick")
        return dg.SensorResult(
            run_requests=requests[:_RUNS_PER_TICK],
            skip_reason=None if requests else "; ".join(notes) or "every file is loaded",
            cursor=found.cursor or "",
        )

    return look_for_files


def _note(text: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return [f"{text} {', '.join(items[:_SHOWN])}{more}"]


def _runs_of(instance: dg.DagsterInstance, source: str, day: str, batch: str) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(tags={BATCH_TAG: f"{source}-{day}-{batch}"}), limit=1)


def _days_in_progress(instance: dg.DagsterInstance, key: dg.AssetKey) -> set[str]:
    """Days that any run, whoever asked for it, is loading or waits to load."""
    days: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        if run.asset_selection is None or key in run.asset_selection:
            days |= _days_of_run(run.tags)
    return days


def _days_of_run(tags: Mapping[str, str]) -> set[str]:
    if "dagster/partition" in tags:
        return {tags["dagster/partition"]}
    first, last = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    if first is None or last is None:
        return set()
    return {day for day in daily().get_partition_keys() if first <= day <= last}
