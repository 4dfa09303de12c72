"""A source goes from the API into Git and back, and its table stays whose it is."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import yaml

from asgard_assets.components.platform.definitions import ManagedDefinition, definitions_in
from asgard_assets.errors import ConfigError, ConflictError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.operations.autoloader.git import adopt, export, managed

TOLD = {"name": "orders", "path": "orders", "ds": {"type": "arrival"}, "description": "Orders."}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(str(tmp_path / "lake"))
    definitions_in(found).save(ManagedDefinition(name="orders", kind="files", attributes=TOLD, created=1))
    return found


def test_what_was_exported_is_adopted_as_it_was(lake: Lake, tmp_path: Path):
    done = export(lake, "orders", tmp_path / "defs")
    assert done.path.read_text().startswith("type: asgard_assets.components.files.FileIngest\n")
    assert managed(lake) == []
    with pytest.raises(NotFoundError):
        export(lake, "orders", tmp_path / "again")
    made = adopt(lake, done.path, "main", "ann")
    assert (made.attributes, made.workspace) == (TOLD, "main")
    assert [one.name for one in managed(lake)] == ["orders"]
    with pytest.raises(ConflictError, match="there already"):
        adopt(lake, done.path, "main")
    assert len(list(lake.names("_managed/definitions"))) == 3


def test_a_copy_leaves_the_source_with_the_api_and_no_file_is_overwritten(lake: Lake, tmp_path: Path):
    export(lake, "orders", tmp_path, keep=True)
    assert [one.name for one in managed(lake)] == ["orders"]
    with pytest.raises(ConflictError, match="another folder"):
        export(lake, "orders", tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("type: asgard_assets.components.python.Tables\nattributes: {name: a}\n", "not managed"),
        ("a: [\n", "cannot be read"),
        ("type: x\n", "expected one source"),
        ("type: asgard_assets.components.files.FileIngest\nattributes: {name: a, path: b}\n", "ds"),
        (
            "type: asgard_assets.components.files.FileIngest\nattributes: {name: a, deps: [[x]]}\n",
            "source.deps",
        ),
    ],
)
def test_what_the_api_cannot_manage_is_refused(lake: Lake, tmp_path: Path, text: str, says: str):
    file = tmp_path / "defs.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        adopt(lake, file, "default")


def test_what_looks_like_a_template_is_no_template_in_git(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Dagster fills in templates when it loads a file: whoever may make a source must not read the environment so."""
    monkeypatch.setenv("PLATFORM_SECRET", "hunter2-hunter2")
    text = "{{ env.PLATFORM_SECRET }} {% set a = 1 %} {# b #} {row.id} {{{{"
    told = TOLD | {"name": "more", "path": "more", "description": text}
    definitions_in(lake).save(ManagedDefinition(name="more", kind="files", attributes=told, created=1))
    done = export(lake, "more", tmp_path / "defs" / "more")
    (tmp_path / "pyproject.toml").write_text("")
    loaded = dg.ComponentTree.for_test().load_context
    scope = loaded.resolution_context
    attributes = yaml.safe_load(done.path.read_text())["attributes"]
    assert scope.resolve_value(attributes["description"], as_type=str) == text
    assert adopt(lake, done.path, "main").attributes == told


def test_a_file_with_a_template_is_not_adopted(lake: Lake, tmp_path: Path):
    file = tmp_path / "defs.yaml"
    file.write_text(
        "type: asgard_assets.components.files.FileIngest\n"
        "attributes: {name: a, path: a, ds: {type: arrival}, description: '{{ env.HOME }}'}\n"
    )
    with pytest.raises(ConfigError, match="template that Dagster fills in"):
        adopt(lake, file, "default")
