"""MLflow's files: on S3 by the lake's client, with keys that are always those of now; read without running their code."""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path
from typing import Any

from asgard_assets import project
from asgard_assets.errors import ModelError
from asgard_assets.lake.s3.client import s3_client
from asgard_assets.roots import is_remote
from asgard_assets.settings import Settings

# Packages whose models may be read: what they are made of is data to these classes.
_LEARNERS = frozenset({"sklearn", "xgboost", "lightgbm", "catboost"})
_NO_LEARNERS = ("sklearn.utils._testing", "sklearn.externals", "sklearn.datasets", "sklearn.tests")
_PLAIN = frozenset({"numpy.dtype", "collections.OrderedDict", "collections.defaultdict"})  # data alone


ARTIFACTS = "lake:/_models"
"""Where files of runs and models lie, as MLflow notes it: below the lake that the settings name, wherever that is by then."""


def use_lake() -> None:
    """Make MLflow read and write files in the lake, and objects with the keys that the lake has."""
    from mlflow.store.artifact import artifact_repository_registry as known
    from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

    class OnS3(S3ArtifactRepository):
        def _get_s3_client(self) -> Any:
            settings = Settings()
            endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL") or settings.s3_endpoint
            return s3_client(endpoint, settings.s3_region)

    registry: Any = vars(known)["_artifact_repository_registry"]
    registry.register("s3", OnS3)
    registry.register("lake", in_lake)


def in_lake(uri: str, *given: Any, **named: Any) -> Any:
    """MLflow's repository of the files at an address like `lake:/_models/…` (a plugin of MLflow, so that its UI shows them)."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    use_lake()
    path = uri.partition(":")[2].lstrip("/")
    if ".." in path.split("/"):
        raise ModelError(f"{uri} leads out of the lake")
    root = Settings().lake_root.rstrip("/")
    return get_artifact_repository(f"{root}/{path}" if is_remote(root) else Path(root, path).as_uri())


def fitted_model(mlflow: Any, name: str, number: int) -> Any:
    """A version's fitted model. Raises ModelError for files whose reading could run code.

    MLflow's own loader runs pickles, puts a model's folder on Python's path and trusts the types that the model itself
    names. Whoever may write to MLflow's store could so run code here.
    """
    import yaml

    with tempfile.TemporaryDirectory() as folder:
        root = Path(
            mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{name}/{number}", dst_path=folder)
        )
        said = yaml.safe_load((root / "MLmodel").read_text())
        flavor = (said.get("flavors") or {}).get("sklearn") or {}
        written = flavor.get("serialization_format", "no scikit-learn model")
        file = (root / str(flavor.get("pickled_model", ""))).resolve()
        if written != "skops" or not file.is_file() or not file.is_relative_to(root.resolve()):
            raise ModelError(
                f"version {number} of {name} is not read: its format is {written}, and only skops runs no code when it "
                "is read. Train the model again with the asset of the model"
            )
        return read_model(file, f"version {number} of {name}", name)


def read_model(file: Path, what: str, name: str) -> Any:
    """The fitted model in a skops file. `what` it is, for messages. Raises ModelError where it could run code."""
    import skops.io

    try:
        types = skops.io.get_untrusted_types(file=file)
    except Exception as error:  # whatever a file that is none can break
        raise ModelError(f"{what} is not read: its file is no skops file ({type(error).__name__})") from error
    if strange := [one for one in types if not _is_known(one, name)]:
        raise ModelError(
            f"{what} is not read: it holds {', '.join(strange[:3])}, which is no class of "
            f"{', '.join(sorted(_LEARNERS))} or of this project. Train the model again with the asset of the model"
        )
    return skops.io.load(file, trusted=types)


def _is_known(path: str, name: str) -> bool:
    """Whether this is a class of a library of models, or the project's own. Functions of libraries are refused."""
    found = project.find()
    own = {f"asgard_model_{name}", *([found.package.partition(".")[0]] if found else [])} - {"asgard_assets"}
    module, _, attribute = path.rpartition(".")
    if path in _PLAIN or module == "numpy.dtypes":
        return True
    if module.startswith(_NO_LEARNERS):
        return False
    package = module.partition(".")[0]
    if package not in _LEARNERS | own:
        return False
    try:
        named = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return False
    if package in own:  # what the project has written, functions too, and not what it has imported
        return str(getattr(named, "__module__", "")).partition(".")[0] == package
    return isinstance(named, type)
