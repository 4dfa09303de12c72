"""Files as Bronze tables: one `defs.yaml` a source gives the asset, its checks and the sensor that feeds it."""

from collections.abc import Iterator
from enum import Enum
from typing import Any

# No `from __future__ import annotations`: Dagster wants to see the type of `context`, not its name.
import dagster as dg
from pydantic import BaseModel, Field

from asgard_assets.components.authoring.source_scaffolds import FileScaffolder
from asgard_assets.components.failures import clear_failures
from asgard_assets.components.file_sensor import file_partitions, file_sensor
from asgard_assets.components.following.reads import source_code
from asgard_assets.components.loaded import publish_loaded
from asgard_assets.components.pulls import Pull
from asgard_assets.components.tables import days_of, table_asset
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.plan.progress import metered
from asgard_assets.ingest.files.plan.quarantine import quarantined
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.lake import Lake

SOURCE = "file_source"
"""Metadata of the asset: the source's configuration, by which `asgard plan`, `preview` and others find it."""


class FileIngestModel(FileSource):
    """What `defs.yaml` holds."""

    pull: Pull | None = Field(
        default=None,
        description='When the folder is looked at: {every: hour}, {cron: "0 2 * * *"}. Default: all the time.',
    )


class Load(Enum):
    """Which files a run reads."""

    changed = "changed"
    quarantined = "quarantined"
    all = "all"


class Reload(dg.Config):
    """Launchpad: which files a run reads."""

    reload: Load = Field(
        default=Load.changed,
        description="changed: new and changed files. quarantined: also files with records in quarantine. "
        "all: every file of the partitions.",
    )


@dg.scaffold_with(FileScaffolder)
class FileIngest(dg.Component):
    """A folder of CSV, JSON or Parquet files, loaded day by day into a Bronze table; new files start runs."""

    def __init__(self, source: FileSource, pull: Pull | None = None) -> None:
        self.source, self.pull = source, pull

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return FileIngestModel

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "FileIngest":
        assert isinstance(attributes, FileIngestModel)
        given = attributes.model_dump(exclude={"pull"}, exclude_unset=True, by_alias=True)
        return cls(FileSource.model_validate(given), attributes.pull)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        asset = file_asset(self.source)
        return dg.Definitions(assets=[asset], sensors=[file_sensor(self.source, pull=self.pull)])


def file_asset(source: FileSource) -> dg.AssetsDefinition:
    """The Bronze asset: a run loads its day or its range of days as one Spark job and one commit."""
    spec = source.spec

    @table_asset(
        spec,
        name=f"files_{source.name}",
        deps=[dg.AssetKey(list(d)) for d in source.deps],
        partitions_def=file_partitions(source),
        code_version=source_code(source),
        extra_metadata={SOURCE: dg.MetadataValue.json(source.model_dump(mode="json"))},
        required_resource_keys={"lake", "spark", "step_launcher"},
    )
    def load_files(context: dg.AssetExecutionContext, config: Reload) -> Iterator[Any]:
        from asgard_assets.ingest.files.load import load

        with clear_failures():
            lake: Lake = context.resources.lake.lake
            landing = Landing.from_settings()
            days = days_of(context)
            again = _again(lake, source, days, config.reload)
            spark = context.resources.spark
            with metered(lake, source.name, context.run.run_id) as meter:
                loaded = load(
                    lambda: spark.session,
                    lake,
                    landing,
                    source,
                    days,
                    full=config.reload is Load.all,
                    again=again,
                    meter=meter,
                )
            yield from publish_loaded(context, lake, spec, loaded)

    return load_files


def _again(lake: Lake, source: FileSource, days: list[str], reload: Load) -> list[str]:
    """Files to read although they did not change."""
    if reload is not Load.quarantined:
        return []
    found = quarantined(lake, source.name, source)
    return [path for day in days for path in found.get(day, {})]
