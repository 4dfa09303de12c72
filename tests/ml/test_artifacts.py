"""MLflow keeps its files on S3 with the lake's keys."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from asgard_assets.errors import ConfigError, ModelError
from asgard_assets.ml.registry import Provenance, Registry
from asgard_assets.settings import Settings
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


@pytest.mark.servers
def test_a_model_and_its_training_set_are_found_where_the_home_was_moved_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd
    import pyarrow as pa
    from sklearn.linear_model import LogisticRegression

    x, rows = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]}), pa.table({"a": [0.0, 1.0, 2.0, 3.0]})
    fitted = LogisticRegression().fit(x, [0, 0, 1, 1])

    def registered(cut_off: str) -> int:
        registry = Registry.from_settings("churn")
        made = Provenance(cut_off, cut_off, "d" * 64, "model.t", "lake:/model/t", 1, "f", "c")
        found = registry.register(fitted, made, (x, fitted.predict(x)), {}, {}, {}, rows=rows)
        registry.promote(found)
        return found.number

    monkeypatch.setenv("ASGARD_HOME", str(tmp_path / "old"))
    assert registered("2026-10-19") == 1
    shutil.move(tmp_path / "old", tmp_path / "new")
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path / "new"))
    assert registered("2026-10-26") == 2
    registry = Registry.from_settings("churn")
    for version in registry.versions():
        assert registry.load(version).predict(x).tolist() == [0, 0, 1, 1]
        assert registry.training_set(version.number).equals(rows)
    assert not (tmp_path / "old").exists()
    with pytest.raises(ModelError, match="no version 3; there are: 1, 2"):
        registry.training_set(3)


def test_production_keeps_nothing_that_matters_below_a_pods_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGARD_ENV", "production")
    with pytest.raises(ConfigError, match="ASGARD_MLFLOW_URI is not set"):
        Registry.from_settings("churn")
    monkeypatch.setenv("ASGARD_MLFLOW_URI", "postgresql://u:p@h/mlflow")
    assert Registry.from_settings("churn").uri == Settings().mlflow_uri
