"""Which resources are bound: `ASGARD_ENV=local` needs no server; `production` runs on Kubernetes and S3."""

from __future__ import annotations

from typing import Any

import dagster as dg

from asgard_assets.resources.lake import LakeResource
from asgard_assets.resources.spark import SparkResource
from asgard_assets.settings import Settings


def resources(settings: Settings | None = None) -> dict[str, Any]:
    """Resources by key, for the environment that the settings name."""
    settings = settings or Settings()
    return {
        "lake": LakeResource(
            root=settings.lake_root, endpoint=settings.s3_endpoint, region=settings.s3_region
        ),
        "spark": SparkResource(),
        "step_launcher": dg.ResourceDefinition.none_resource(),
    }


def executor(settings: Settings | None = None) -> dg.ExecutorDefinition:
    """Local runs share one process, and so one Spark session; production steps get a process each."""
    settings = settings or Settings()
    if settings.env == "local":
        return dg.in_process_executor
    return dg.multiprocess_executor.configured({"max_concurrent": 4})
