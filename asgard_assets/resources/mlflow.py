"""MLflow as a Dagster resource: tracking store and model registry, bound when a step asks."""

from __future__ import annotations

import dagster as dg
from pydantic import Field

from asgard_assets.ml.registry import Registry
from asgard_assets.settings import Settings


class ModelRegistryResource(dg.ConfigurableResource):
    """Where runs and versions are kept. Their files lie in the lake."""

    uri: str = Field(
        default="",
        repr=False,
        description="Address of MLflow's tracking store, without a login: the UI shows it. Default: ASGARD_MLFLOW_URI.",
    )

    def registry(self, name: str) -> Registry:
        """The versions of one model."""
        return Registry(self.uri or Settings().mlflow_tracking_uri, name=name)
