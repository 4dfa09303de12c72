"""The feature store as a Dagster resource: nothing of Feast is imported before a step opens it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from asgard_assets.ml.store import OpenStore


class FeatureStoreResource(dg.ConfigurableResource):
    """Feast over the lake; its registry and online store lie in the home that the settings name."""

    def open(self) -> AbstractContextManager[OpenStore]:
        """The store, for the length of a `with` block."""
        from asgard_assets.ml.store import open_store

        return open_store()
