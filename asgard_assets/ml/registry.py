"""Models in MLflow: one version for each distinct (data, code, features), and the alias `champion`.

Versions carry their cut-off, and the tag `promoted` once they passed. `@champion` is by rule the promoted
version of the latest cut-off, so that replaying an old week can never bring an old model back, and
promoting twice changes nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from asgard_assets.errors import ModelError
from asgard_assets.ml.artifacts import ARTIFACTS, fitted_model, use_lake
from asgard_assets.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from mlflow import MlflowClient

ALIAS = "champion"
_TRAINING_SET, _ROWS = "training_set", "rows.parquet"


@dataclass(frozen=True)
class Version:
    """A registered model version. `cut_off` is an ISO date, with the time where models are trained by the hour."""

    number: int
    run_id: str
    cut_off: str
    fingerprint: str
    promoted: bool


@dataclass(frozen=True)
class Provenance:
    """What a model was made of; together it decides whether a version exists already."""

    partition: str
    cut_off: str
    data_hash: str
    table: str
    table_path: str
    table_version: int
    features_hash: str
    code_version: str

    @property
    def fingerprint(self) -> str:
        """The table's version is left out: the same rows committed again are the same data."""
        return "-".join((self.cut_off, self.data_hash[:16], self.features_hash, self.code_version))


@dataclass(frozen=True)
class Registry:
    """Versions of the model `name` in MLflow's registry at `uri`; their files under `artifacts`, by default in the lake."""

    uri: str = field(repr=False)
    artifacts: str = ARTIFACTS
    name: str = ""

    @classmethod
    def from_settings(cls, name: str, settings: Settings | None = None) -> Registry:
        return cls((settings or Settings()).mlflow_tracking_uri, name=name)

    @property
    def client(self) -> MlflowClient:
        uri = _without_login(self.uri)
        return _mlflow(self.uri).MlflowClient(tracking_uri=uri, registry_uri=uri)

    def versions(self) -> list[Version]:
        """Every registered version, oldest first."""
        return [
            Version(
                int(found.version),
                str(found.run_id),
                found.tags["cut_off"],
                found.tags["fingerprint"],
                found.tags.get("promoted") == "true",
            )
            for found in sorted(
                self.client.search_model_versions(f"name='{self.name}'"), key=lambda v: int(v.version)
            )
            if "fingerprint" in found.tags
        ]

    def find(self, fingerprint: str) -> Version | None:
        return next((v for v in self.versions() if v.fingerprint == fingerprint), None)

    def champion_before(self, cut_off: str) -> Version | None:
        """The champion that a model with this cut-off has to beat: that of the cut-offs before it."""
        return _latest(v for v in self.versions() if v.promoted and v.cut_off < cut_off)

    def champion(self) -> Version:
        """The version behind `@champion`. Raises ModelError, saying what to run, where there is none."""
        found = self.champion_or_none()
        if found is None:
            raise ModelError(
                f"no version of {self.name} is @{ALIAS} yet: materialize [model, {self.name}_training_set] and "
                f"[model, {self.name}_model] for a cut-off; the check beats_champion_and_baseline says why a candidate was not promoted"
            )
        return found

    def champion_or_none(self) -> Version | None:
        """The version behind `@champion`, if there is one."""
        client = self.client
        models = client.search_registered_models(f"name='{self.name}'")
        number = models[0].aliases.get(ALIAS) if models else None
        return next((v for v in self.versions() if str(v.number) == str(number)), None)

    def metrics(self, version: Version) -> dict[str, float]:
        """What its training measured, by name."""
        return dict(sorted(self.client.get_run(version.run_id).data.metrics.items()))

    def load(self, version: Version) -> Any:
        """The fitted scikit-learn model. Raises ModelError where reading its files could run code."""
        return fitted_model(_mlflow(self.uri), self.name, version.number)

    def training_set(self, number: int) -> pa.Table:
        """The rows that a version was trained on and judged by, with their `split`: as long as the version exists.

        Raises ModelError where there is no such version, or it was registered without its rows.
        """
        import pyarrow.parquet as pq

        found = next((version for version in self.versions() if version.number == number), None)
        if found is None:
            known = ", ".join(str(version.number) for version in self.versions()) or "none"
            raise ModelError(f"{self.name} has no version {number}; there are: {known}")
        mlflow = _mlflow(self.uri)
        with tempfile.TemporaryDirectory() as folder:
            address = f"runs:/{found.run_id}/{_TRAINING_SET}/{_ROWS}"
            try:
                file = mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=folder)
            except (mlflow.MlflowException, OSError) as error:
                raise ModelError(
                    f"version {number} of {self.name} was registered without its training set, or its files are gone from "
                    f"the lake's _models folder ({str(error)[:200]}); materialize its model again to keep one"
                ) from error
            return pq.read_table(file)

    def register(
        self,
        model: Any,
        provenance: Provenance,
        example: tuple[pd.DataFrame, np.ndarray],
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        pictures: Mapping[str, bytes],
        description: str = "",
        rows: pa.Table | None = None,
    ) -> Version:
        """Log a run with the model, its data and pictures, and register a version; reuse an equal one.

        `example`: a few inputs, and what the model predicts for them. `rows`: its training set, which is kept with the
        version: the table's own files go once they were replaced and the retention is over.
        """
        found = self.find(provenance.fingerprint)
        if found is not None:
            return found
        mlflow = _mlflow(self.uri)
        import pyarrow.parquet as pq
        from mlflow.models import infer_signature

        with mlflow.start_run(
            experiment_id=self._experiment(), run_name=f"{self.name} {provenance.cut_off}"
        ) as run:
            mlflow.set_tags(
                {
                    "partition": provenance.partition,
                    "cut_off": provenance.cut_off,
                    "feature_views": provenance.features_hash,
                    "code_version": provenance.code_version,
                    "fingerprint": provenance.fingerprint,
                }
            )
            mlflow.log_input(_dataset(provenance), context="training")
            mlflow.log_params(dict(params))
            mlflow.log_metrics(dict(metrics))
            with tempfile.TemporaryDirectory() as folder:
                for name, png in pictures.items():
                    (Path(folder) / f"{name}.png").write_bytes(png)
                mlflow.log_artifacts(folder, "plots")
            if rows is not None:
                with tempfile.TemporaryDirectory() as folder:
                    pq.write_table(rows, f"{folder}/{_ROWS}", compression="zstd")
                    mlflow.log_artifact(f"{folder}/{_ROWS}", _TRAINING_SET)
            logged = mlflow.sklearn.log_model(
                model,
                name="model",
                signature=infer_signature(*example),
                # Stated, for MLflow would find them out by loading the model in a process of its own.
                pip_requirements=[f"{p}=={installed(p)}" for p in ("scikit-learn", "skops", "pandas")],
                pyfunc_predict_fn="predict_proba" if hasattr(model, "predict_proba") else "predict",
                skops_trusted_types=_types(model),
            )
        client = self.client
        if not client.search_registered_models(f"name='{self.name}'"):
            client.create_registered_model(self.name, description=description or None)
        created = client.create_model_version(
            self.name,
            logged.model_uri,
            run_id=run.info.run_id,
            tags={"cut_off": provenance.cut_off, "fingerprint": provenance.fingerprint},
        )
        return Version(
            int(created.version), run.info.run_id, provenance.cut_off, provenance.fingerprint, False
        )

    def promote(self, version: Version) -> Version:
        """Mark a version as passed and let `@champion` follow; returns the champion."""
        client = self.client
        client.set_model_version_tag(self.name, str(version.number), "promoted", "true")
        best = _latest(v for v in self.versions() if v.promoted)
        assert best is not None
        client.set_registered_model_alias(self.name, ALIAS, str(best.number))
        return best

    def _experiment(self) -> str:
        client = self.client
        found = client.get_experiment_by_name(self.name)
        if found is not None:
            return found.experiment_id
        return client.create_experiment(self.name, artifact_location=f"{self.artifacts}/{self.name}")


def _latest(versions: Any) -> Version | None:
    return max(versions, key=lambda v: (v.cut_off, v.number), default=None)


def _mlflow(uri: str) -> Any:
    """The module, bound to `uri`; it phones nobody."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import logging

    import mlflow
    import mlflow.sklearn

    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # An environment made by uv has no pip; MLflow would say so for every model.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(_without_login(uri))
    mlflow.set_registry_uri(_without_login(uri))
    use_lake()
    return mlflow


def _without_login(uri: str) -> str:
    """An http address whose login MLflow has from its own variables: its messages show addresses whole."""
    place = urlsplit(uri)
    if place.scheme not in ("http", "https") or place.username is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(place.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(place.password or "")
    return place._replace(netloc=place.netloc.rpartition("@")[2]).geturl()


def _types(model: Any) -> list[str]:
    """Types that the format has to be told of, for MLflow to write it. `fitted_model` judges them by itself."""
    import skops.io

    return skops.io.get_untrusted_types(data=skops.io.dumps(model))


def _dataset(provenance: Provenance) -> Any:
    """A reference to the stored training set: which table, at which version, with which content."""
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    source = DeltaDatasetSource(path=provenance.table_path, delta_table_version=provenance.table_version)
    name = f"{provenance.table} ds={provenance.partition}"
    return MetaDataset(source=source, name=name, digest=provenance.data_hash[:36])
