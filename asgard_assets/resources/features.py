"""The feature store as a Dagster resource: nothing of Feast is imported before a step opens it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from asgard_assets.ml.store import OpenStore


class FeatureStoreResource(dg.ConfigurableResource):
    """Feast over the lake; its registry and online store lie where the settings say."""

    folder: str = Field(default="", description="Folder of Feast's settings and code. Default: feature_repo.")
    views: str = Field(
        default="", description="Folder of the views' YAML. Default: the project's definitions."
    )

    def open(self) -> AbstractContextManager[OpenStore]:
        """The store, for the length of a `with` block."""
        from pathlib import Path

        from asgard_assets.ml.repository import Repository
        from asgard_assets.ml.store import open_store

        declared = Repository(Path(self.folder), Path(self.views)) if self.folder else None
        return open_store(repository=declared)
