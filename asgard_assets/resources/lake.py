"""The lake as a Dagster resource."""

from __future__ import annotations

import dagster as dg
from pydantic import Field

from asgard_assets.lake import Lake


class LakeResource(dg.ConfigurableResource):
    """Where the tables are. Fields default to the settings, so that one line binds it."""

    root: str = Field(description="Root of the Delta tables: a folder or s3://bucket/prefix.")
    endpoint: str | None = Field(default=None, description="Address of the S3 server. Default: AWS.")
    region: str = Field(default="us-east-1", description="S3 region of the bucket.")

    @property
    def lake(self) -> Lake:
        return Lake(self.root, self.endpoint, self.region)
