"""The models of a project: one folder each, with a `defs.yaml` and the Python file that fits."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from asgard_assets.errors import ConfigError
from asgard_assets.ml.spec import ModelDefinition, ModelSpec, define
from asgard_assets.ml.views import FeatureViewSpec, feature_views

COMPONENT = "asgard_assets.components.model.TrainedModel"


def model_in(folder: Path, views: Mapping[str, FeatureViewSpec] | None = None) -> ModelDefinition:
    """The model that the `defs.yaml` of a folder declares. Raises ConfigError where there is none, or it is wrong."""
    import yaml

    file = folder / "defs.yaml"
    for document in yaml.safe_load_all(file.read_text()) if file.exists() else ():
        if document and document.get("type") == COMPONENT:
            try:
                spec = ModelSpec.model_validate(document.get("attributes") or {})
            except ValidationError as error:
                raise ConfigError(f"{file}: {error}", file=str(file)) from error
            return with_fit(spec, folder, views)
    raise ConfigError(f"{file} declares no {COMPONENT}", file=str(file))


def with_fit(
    spec: ModelSpec, folder: Path, views: Mapping[str, FeatureViewSpec] | None = None
) -> ModelDefinition:
    """The spec with the project's views and the fit function of the file beside it."""
    code = folder / spec.fit
    return define(spec, feature_views() if views is None else views, fit_function(spec.name, code), code)


def fit_function(name: str, code: Path) -> Callable[..., Any]:
    """The function `fit` of a Python file. Raises ConfigError where there is none."""
    if not code.is_file():
        raise ConfigError(
            f"model {name}: {code} is missing; it must define fit(x, y, groups)", file=str(code)
        )
    spec = importlib.util.spec_from_file_location(f"asgard_model_{name}", code)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = getattr(module, "fit", None)
    if not callable(found):
        raise ConfigError(f"model {name}: {code} has no function fit(x, y, groups)", file=str(code))
    return found
