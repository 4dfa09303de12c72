"""The published schemas and reference pages say what the models say."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from asgard_assets.reference import described, models, published, schema_of
from asgard_assets.settings import ROOT
from tests.ingest.api.sources import TICKETS, USAGE


def test_schemas_and_reference_pages_are_current():
    stale = [
        str(path.relative_to(ROOT))
        for path, text in published().items()
        if not path.exists() or path.read_text() != text
    ]
    assert not stale, "run `asgard reference` and commit what it changes"


@pytest.mark.parametrize("name", ["api_source"])
def test_every_field_is_described(name: str):
    schema = schema_of(models()[name][0])
    bare = [
        f"{title}.{field}"
        for title, model in {name: schema, **schema["$defs"]}.items()
        for field, inner in model.get("properties", {}).items()
        if field != "type" and not described(inner, schema)
    ]
    assert not bare


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
