"""The lake as a Dagster resource."""

from __future__ import annotations

import dagster as dg

from asgard_assets.lake import Lake


class LakeResource(dg.ConfigurableResource):
    """Where the tables are. Fields default to the settings, so that one line binds it."""

    root: str
    endpoint: str | None = None
    region: str = "us-east-1"

    @property
    def lake(self) -> Lake:
        return Lake(self.root, self.endpoint, self.region)
