"""MLflow as a Dagster resource: tracking store and model registry, bound when a step asks."""

from __future__ import annotations

import dagster as dg
from pydantic import Field

from asgard_assets.ml.registry import Registry


class ModelRegistryResource(dg.ConfigurableResource):
    """Where runs and models are kept; `artifacts` is a folder or an object store's address."""

    uri: str = Field(description="Address of MLflow's tracking store.")
    artifacts: str = Field(description="Folder or address of a bucket for files of runs and models.")

    def registry(self, name: str) -> Registry:
        """The versions of one model."""
        return Registry(self.uri, self.artifacts, name)
