"""Reading a model runs no code, whoever wrote into MLflow's store."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import skops.io
import yaml
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from asgard_assets.errors import ModelError
from asgard_assets.ml.artifacts import fitted_model
from asgard_assets.ml.registry import Registry

X, Y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]


class Store:
    """What a registry has of one version: a folder that is copied to whoever asks."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.artifacts = SimpleNamespace(download_artifacts=self.download)

    def download(self, artifact_uri: str, dst_path: str) -> str:
        assert artifact_uri == "models:/churn/3"
        return str(shutil.copytree(self.folder, Path(dst_path) / "model"))


def store(folder: Path, content: bytes, file: str = "model.skops", **said: Any) -> Store:
    folder.mkdir(exist_ok=True)
    (folder / Path(file).name).write_bytes(content)
    flavor = {"serialization_format": "skops", "pickled_model": file} | said
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"sklearn": flavor}}))
    return Store(folder)


class Evil:
    def __init__(self, made: Path):
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(n_estimators=2),
        GradientBoostingRegressor(n_estimators=2),
        HistGradientBoostingRegressor(max_iter=2),
        HistGradientBoostingClassifier(max_iter=2),
        GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [1.0]}, cv=2
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_model_of_a_learner_s_own_classes_is_read(tmp_path: Path, model):
    fitted = model.fit(X, Y)
    read = fitted_model(store(tmp_path / "m", skops.io.dumps(fitted)), "churn", 3)
    assert read.predict(X).tolist() == fitted.predict(X).tolist()


@pytest.mark.parametrize("written", ["cloudpickle", "pickle", None])
def test_a_pickle_is_refused(tmp_path: Path, written):
    made = tmp_path / "owned"
    kept = store(
        tmp_path / "m",
        pickle.dumps(Evil(made)),
        "model.pkl",
        serialization_format=written,
    )
    with pytest.raises(ModelError, match="only skops runs no code"):
        fitted_model(kept, "churn", 3)
    assert not made.exists()


@pytest.mark.parametrize("function", [os.mkdir, os.system, eval])
def test_a_model_that_trusts_a_function_is_refused(tmp_path: Path, function):
    fitted = FunctionTransformer(function)
    types = skops.io.get_untrusted_types(data=skops.io.dumps(fitted))
    kept = store(tmp_path / "m", skops.io.dumps(fitted), skops_trusted_types=types)
    with pytest.raises(ModelError, match="which is no class of"):
        fitted_model(kept, "churn", 3)


@pytest.mark.parametrize(
    "module, name",
    [
        ("sklearn.utils._testing", "assert_run_python_script_without_output"),
        ("sklearn", "setup"),
        ("builtins", "exec"),
    ],
)
def test_a_function_of_a_learner_is_refused_too(tmp_path: Path, module, name):
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(FunctionTransformer(os.system)))) as whole:
        schema = json.loads(whole.read("schema.json"))
    text = json.dumps(schema).replace('"posix"', f'"{module}"').replace('"system"', f'"{name}"')
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as whole:
        whole.writestr("schema.json", text)
    with pytest.raises(ModelError, match=name):
        fitted_model(store(tmp_path / "m", made.getvalue()), "churn", 3)


def test_a_function_of_the_project_s_own_is_read_and_one_that_it_imported_is_not(tmp_path: Path, monkeypatch):
    own = ModuleType("asgard_model_churn")
    exec("from os import mkdir\ndef doubled(x): return x", own.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, own.__name__, own)
    written = skops.io.dumps(FunctionTransformer(own.doubled))
    assert fitted_model(store(tmp_path / "m", written), "churn", 3).func is own.doubled
    with zipfile.ZipFile(io.BytesIO(written)) as whole:
        text = whole.read("schema.json").decode().replace('"doubled"', '"mkdir"')
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as whole:
        whole.writestr("schema.json", text)
    with pytest.raises(ModelError, match="mkdir"):
        fitted_model(store(tmp_path / "n", made.getvalue()), "churn", 3)


@pytest.mark.parametrize("file", ["../model.skops", "/etc/passwd", "", "."])
def test_a_file_outside_the_model_is_refused(tmp_path: Path, file):
    kept = store(tmp_path / "m", b"x")
    (kept.folder / "MLmodel").write_text(
        yaml.safe_dump({"flavors": {"sklearn": {"serialization_format": "skops", "pickled_model": file}}})
    )
    with pytest.raises(ModelError):
        fitted_model(kept, "churn", 3)


def test_the_address_of_the_store_is_not_shown():
    assert "pass-1" not in repr(Registry("postgresql://u:pass-1@h/db", "/x", "churn"))
