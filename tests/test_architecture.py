"""The shape of the code: no import cycle, no crowded room, and the paths that users import stay."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.rooms import MODULES, PAGE, imports, picture, rooms

PUBLIC = {
    "asgard_assets.components.airbyte": "AirbyteSyncs",
    "asgard_assets.components.api": "ApiIngest",
    "asgard_assets.components.dbt": "DbtModels",
    "asgard_assets.components.feast": "FeatureView",
    "asgard_assets.components.files": "FileIngest",
    "asgard_assets.components.model": "TrainedModel",
    "asgard_assets.components.python": "table",
    "asgard_assets.components.silver": "SilverTables",
    "asgard_assets.components.sinks": "PostgresTable",
    "asgard_assets.components.sql": "SqlIngest",
    "asgard_assets.components.stream": "KafkaIngest",
    "asgard_assets.errors": "AsgardError",
    "asgard_assets.ingest.api": "ApiSource",
    "asgard_assets.ingest.api.models": "ApiSource",
    "asgard_assets.ingest.api.pipeline": "run_pipeline",
    "asgard_assets.lake": "Lake",
    "asgard_assets.quality.tables": "Check",
    "asgard_assets.settings": "Settings",
    "asgard_assets.spark.session": "open_session",
    "asgard_assets.transforms.rows": "split",
    "asgard_assets.transforms.silver": "silver",
}
"""What stands in a team's YAML, tables and notebooks."""
TEXTS = [Path("README.md"), *Path("docs").glob("*.md"), *Path("examples").rglob("*.ipynb")]


@pytest.mark.parametrize("module", PUBLIC)
def test_what_users_import_is_where_it_was(module):
    assert hasattr(importlib.import_module(module), PUBLIC[module])


def test_every_path_that_readme_and_docs_import_is_public():
    import re

    named = {
        match
        for text in TEXTS
        for match in re.findall(r"(?:from|type:) (asgard_assets[\w.]*)", text.read_text(encoding="utf-8"))
    }
    missing = {name for name in named if name not in PUBLIC and name.rpartition(".")[0] not in PUBLIC}
    assert not missing, f"public by being documented, but not pinned here: {sorted(missing)}"


def test_no_modules_need_each_other():
    assert list(cycles(imports())) == []


def test_no_room_holds_more_than_sixteen_files():
    crowded = {folder: count for folder, count in rooms().items() if count > 16}
    assert crowded == {}


def test_the_picture_of_the_rooms_is_made_from_the_imports():
    assert picture() in PAGE.read_text(encoding="utf-8"), "run: python -m docs.rooms"


def test_imports_are_found_wherever_they_stand():
    found = imports()
    lazily = found["asgard_assets.ingest.api.http.client"]
    assert "asgard_assets.ingest.api.http.native" in lazily, "an import inside a function counts"
    assert sum(len(ast.parse(path.read_text()).body) for path in MODULES.values()) > 1000


def cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Modules that need each other, whether at load time, inside a function or for types (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> Iterator[list[str]]:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph.get(name, ())):
            if other not in index:
                yield from visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            place = stack.index(name)
            together = stack[place:]
            del stack[place:]
            if len(together) > 1:
                yield sorted(together)

    for name in sorted(graph):
        if name not in index:
            yield from visit(name)


def test_a_cycle_is_seen():
    assert list(cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == [["b", "c"]]
