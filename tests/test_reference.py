"""The published schemas and reference pages say what the models say."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import dagster as dg
import jsonschema
import yaml
from pydantic import BaseModel

import asgard_assets
from asgard_assets.reference import models, published, schema_of
from tests.checkout import ROOT
from tests.ingest.api.sources import TICKETS, USAGE


def test_schemas_and_reference_pages_are_current():
    stale = [
        str(path.relative_to(ROOT))
        for path, text in published().items()
        if not path.exists() or path.read_text() != text
    ]
    assert not stale, "run `asgard reference` and commit what it changes"


def every_model() -> dict[str, type[BaseModel]]:
    """All models of the platform: what stands in YAML, settings, resources, run configurations, Kubernetes objects."""
    found: dict[str, type[BaseModel]] = {}
    for module in pkgutil.walk_packages(asgard_assets.__path__, "asgard_assets."):
        if module.name.endswith("__main__"):
            continue
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if not kind.__module__.startswith("asgard_assets."):
                continue
            if issubclass(kind, dg.Component) and (model := kind.get_model_cls()):
                found[f"{kind.__module__}.{kind.__name__}"] = model
            elif issubclass(kind, BaseModel):
                found[f"{kind.__module__}.{kind.__name__}"] = kind
    return found


def test_every_field_of_every_model_has_a_description_that_stands_alone():
    """`type` says which of several models it is; what that means stands at the model."""
    fields = [
        (f"{name}.{field}", info.description or "")
        for name, model in every_model().items()
        for field, info in model.model_fields.items()
        if field != "type"
    ]
    assert len(fields) > 600
    assert not [name for name, text in fields if len(text) < 8]
    # A text that goes on from the field before it, or into the one behind it, says nothing in an editor.
    assert not [name for name, text in fields if text.startswith(("…", "Of these")) or text.endswith("…")]


def test_an_editor_accepts_what_loads_and_marks_what_does_not():
    check = jsonschema.Draft202012Validator(schema_of(models()["api_source"][0]))
    for config in (USAGE, TICKETS):
        assert check.is_valid(config)
    mapped = {"mail": {"column": "user_id", "transform": ["lower"]}}
    assert check.is_valid(USAGE | {"endpoint": USAGE["endpoint"] | {"query": mapped}})
    assert not check.is_valid(USAGE | {"limts": {}})
    assert not check.is_valid(USAGE | {"auth": {"type": "bearer", "token": "plain"}})


def test_the_demo_s_instances_fit_the_published_schemas():
    found = 0
    for _name, (model, intro) in models().items():
        check = jsonschema.Draft202012Validator(schema_of(model))
        for path in (ROOT / "asgard_assets/defs").rglob("defs.yaml"):
            document = yaml.safe_load(path.read_text())
            if f"`type: {document['type']}`" in intro:
                check.validate(document["attributes"])
                found += 1
    assert found >= 5
