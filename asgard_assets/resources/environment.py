"""Which resources are bound: `ASGARD_ENV=local` needs no server; `production` runs on Kubernetes and S3."""

from __future__ import annotations

from typing import Any

import dagster as dg

from asgard_assets.resources.connect import ConnectStepLauncher
from asgard_assets.resources.features import FeatureStoreResource
from asgard_assets.resources.lake import LakeResource
from asgard_assets.resources.local.slots import local_executor
from asgard_assets.resources.mlflow import ModelRegistryResource
from asgard_assets.resources.production import SecretsResource, require_s3
from asgard_assets.resources.spark import SparkResource
from asgard_assets.settings import Settings


def resources(settings: Settings | None = None) -> dict[str, Any]:
    """Resources by key, for the environment that the settings name. Raises ConfigError where one is missing."""
    settings = settings or Settings()
    bound = {
        "lake": LakeResource(
            root=settings.lake_root, endpoint=settings.s3_endpoint, region=settings.s3_region
        ),
        "spark": SparkResource(),
        "step_launcher": step_launcher(settings),
        "secrets": SecretsResource(region=settings.s3_region),
        "features": FeatureStoreResource(),
        "mlflow": ModelRegistryResource(
            uri="" if "@" in settings.mlflow_uri else settings.mlflow_uri,  # the UI shows it
        ),
    }
    if settings.env == "production":
        require_s3(settings)
    return bound


def step_launcher(settings: Settings) -> Any:
    """What runs the steps that require the key `step_launcher`; by default this process does."""
    if settings.launcher == "none":
        return dg.ResourceDefinition.none_resource()
    if settings.launcher == "kubernetes":
        from asgard_assets.resources.cluster import kubernetes_launcher

        return kubernetes_launcher(settings)
    if settings.launcher == "connect":
        return ConnectStepLauncher()
    from asgard_assets.resources.launcher import SparkStepLauncher

    return SparkStepLauncher(folder=str(settings.home.absolute() / "launcher"))


def executor(settings: Settings | None = None) -> dg.ExecutorDefinition:
    """Local runs share one process, and so one Spark session; production steps get a pod each."""
    settings = settings or Settings()
    if settings.env == "local":
        return local_executor
    from asgard_assets.resources.production import production_executor

    return production_executor()
