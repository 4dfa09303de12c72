"""What the routes work with: the lake, Airbyte, the runs. Made once for an app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from asgard_assets.ingest.files.landing import Landing
from asgard_assets.lake import Lake
from asgard_assets.ml.views import feature_views
from asgard_assets.operations.autoloader.estimates import Estimates
from asgard_assets.operations.autoloader.ingestions import Ingestions
from asgard_assets.operations.autoloader.reload import Reloader
from asgard_assets.operations.autoloader.runs import IngestionRuns
from asgard_assets.operations.ingestion.airbyte import Airbyte
from asgard_assets.operations.ingestion.databases import Databases
from asgard_assets.operations.ingestion.repeats import Repeats
from asgard_assets.operations.metrics.watch import Watch, watch_of
from asgard_assets.operations.serving.features import Features
from asgard_assets.operations.serving.predictions import Models
from asgard_assets.operations.serving.products import Products
from asgard_assets.operations.serving.trainings import Trainings
from asgard_assets.operations.transforms.follow import Runs
from asgard_assets.operations.transforms.queue import Queue
from asgard_assets.operations.transforms.shared import submissions_of
from asgard_assets.operations.transforms.submissions import Submissions
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True)
class Platform:
    """`airbyte` is asked for with each request: its token changes when the server starts again."""

    settings: Settings
    lake: Lake
    airbyte: Callable[[], Airbyte]
    submissions: Submissions
    runs: Runs
    queue: Queue
    products: Products
    models: Models
    databases: Databases
    features: Features
    trainings: Trainings
    watch: Watch
    ingestions: Ingestions
    ingestion_runs: IngestionRuns
    estimates: Estimates

    @property
    def repeats(self) -> Repeats:
        return Repeats(self.lake, self.submissions)

    @classmethod
    def from_settings(cls, settings: Settings, instance: dg.DagsterInstance) -> Platform:
        submissions, lake = submissions_of(settings), Lake.from_settings(settings)
        runs, landing = Runs(submissions, instance), Landing.from_settings(settings)
        return cls(
            settings,
            lake,
            Airbyte.from_settings,
            submissions,
            runs,
            Queue(submissions),
            Products(lake, settings.owner, settings.gateway_masked_columns),
            Models(settings),
            Databases(lake, settings, submissions),
            Features(
                lake,
                settings,
                submissions,
                feature_views,
                {one.lower() for one in settings.gateway_masked_columns},
            ),
            Trainings(lake, settings, submissions, runs, feature_views),
            watch_of(settings, instance),
            Ingestions(lake, landing, Reloader(settings)),
            IngestionRuns(lake, submissions, instance),
            Estimates(lake, landing, settings, instance),
        )


async def platform_of(request: Request) -> Platform:
    return request.app.state.platform


Here = Annotated[Platform, Depends(platform_of)]
