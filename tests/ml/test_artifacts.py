"""MLflow keeps its files on S3 with the lake's keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asgard_assets.ml.registry import Registry
from tests.servers.s3_tokens import guarded


@pytest.mark.servers
def test_mlflow_goes_on_when_its_token_is_revoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with guarded(tmp_path / "s3", "lake", seconds=600, revoke="/models/b") as door:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in door.environment.items():
            monkeypatch.setenv(name, value)
        assert Registry(f"sqlite:///{tmp_path}/mlflow.db", "s3://lake/models", "any").client
        files = get_artifact_repository("s3://lake/models")
        for name in ("a", "b", "c"):
            (tmp_path / name).write_text(name)
            files.log_artifact(str(tmp_path / name))
        assert sorted(file.path for file in files.list_artifacts()) == ["a", "b", "c"]
        assert Path(files.download_artifacts("b", str(tmp_path / "s3"))).read_text() == "b"
        assert door.counts()["revoked"] == 1
