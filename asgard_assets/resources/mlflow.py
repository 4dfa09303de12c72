"""MLflow as a Dagster resource: tracking store and model registry, bound when a step asks."""

from __future__ import annotations

import dagster as dg

from asgard_assets.ml.registry import Registry


class ModelRegistryResource(dg.ConfigurableResource):
    """Where runs and models are kept; `artifacts` is a folder or an object store's address."""

    uri: str
    artifacts: str

    @property
    def registry(self) -> Registry:
        return Registry(self.uri, self.artifacts)
