"""MLflow's files on S3, by the lake's client: its endpoint, and keys that are always those of now."""

from __future__ import annotations

import os
from typing import Any

from asgard_assets.lake.s3.client import s3_client
from asgard_assets.settings import Settings


def use_lake_keys() -> None:
    """Make MLflow read and write objects with the keys that the lake has."""
    from mlflow.store.artifact import artifact_repository_registry as known
    from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

    class LakeArtifacts(S3ArtifactRepository):
        def _get_s3_client(self) -> Any:
            settings = Settings()
            endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL") or settings.s3_endpoint
            return s3_client(endpoint, settings.s3_region)

    registry: Any = vars(known)["_artifact_repository_registry"]
    registry.register("s3", LakeArtifacts)
