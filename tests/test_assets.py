"""Every asset keeps the platform's contract, and the graph is the one that was agreed on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from asgard_assets.components.partitions import daily, weekly
from asgard_assets.definitions import defs
from tests.checkout import ROOT

SNAPSHOT = ROOT / "tests" / "assets.snapshot.json"
STAGES = {"bronze", "silver", "gold", "features", "model"}
UNPARTITIONED = {"features/online"}


@pytest.fixture(scope="module")
def graph() -> Any:
    return defs().resolve_asset_graph()


@pytest.fixture(scope="module")
def specs() -> dict[str, dg.AssetSpec]:
    return {s.key.to_user_string(): s for s in defs().resolve_all_asset_specs()}


def tables(specs: dict[str, dg.AssetSpec]) -> dict[str, dg.AssetSpec]:
    return {name: s for name, s in specs.items() if s.key.path[0] in STAGES}


def test_all_five_stages_are_there(specs):
    found = {name.split("/")[0] for name in specs}
    assert STAGES <= found
    assert found <= STAGES | {"airbyte", "rejected", "platform"}


def test_every_table_is_partitioned_except_the_online_store(specs):
    for name, spec in tables(specs).items():
        if name in UNPARTITIONED:
            assert spec.partitions_def is None, name
        else:
            assert spec.partitions_def in (daily(), weekly()), name


def test_every_table_shows_owner_kinds_tags_description_schema_key_and_freshness(specs):
    for name, spec in tables(specs).items():
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.tags.get("stage") == name.split("/")[0], name
        assert spec.description and len(spec.description) > 20, name
        assert spec.metadata["dagster/column_schema"].columns, name
        assert spec.metadata["key"], name
        assert spec.freshness_policy is not None, name
        assert spec.group_name == name.split("/")[0], name


def test_each_silver_table_shows_its_rejected_rows_beside_it(graph, specs):
    silver = {name.split("/")[1] for name in specs if name.startswith("silver/")}
    rejected = {s.key.path[1]: s for name, s in specs.items() if name.startswith("rejected/")}
    assert set(rejected) == silver
    for name, spec in rejected.items():
        assert spec.key not in graph.materializable_asset_keys, "its table's run makes it"
        assert spec.metadata["recorded_by"].asset_key == dg.AssetKey(["silver", name])
        assert specs[f"silver/{name}"].metadata["rejected"].asset_key == spec.key
        assert spec.partitions_def == daily() and spec.group_name == "rejected"
        assert spec.owners == specs[f"silver/{name}"].owners and spec.kinds and spec.freshness_policy
        assert f"silver/{name}" in (spec.description or "")
        assert [c.name for c in spec.metadata["dagster/column_schema"].columns] == ["record", "reason", "ds"]


def test_open_in_editor_leads_to_the_file_that_defines_the_asset(specs):
    for name, spec in specs.items():
        stage, table = name.split("/")
        (place,) = spec.metadata["dagster/code_references"].code_references
        path = Path(place.file_path)
        lines = path.read_text().splitlines()
        if stage == "gold":
            assert path == ROOT / f"dbt_project/models/gold/{table}.sql"
        elif path.suffix == ".py":
            defined = "\n".join(lines[place.line_number - 1 :])
            home = "components" if stage == "platform" else "defs"
            assert path.is_relative_to(ROOT / "asgard_assets" / home) and f"def {table}(" in defined, name
        else:
            assert path.name == "defs.yaml" and lines[place.line_number - 1].startswith("type: "), name
            assert table in path.read_text() or stage == "airbyte", name


def test_every_table_has_a_check_that_blocks(graph, specs):
    blocking: dict[str, int] = {}
    for key in graph.asset_check_keys:
        if graph.get(key).blocking:
            name = key.asset_key.to_user_string()
            blocking[name] = blocking.get(name, 0) + 1
    assert not sorted(name for name in tables(specs) if name not in blocking)


def test_a_range_of_any_table_is_one_run(graph, specs):
    for name, spec in tables(specs).items():
        if spec.partitions_def is not None:
            assert graph.get(spec.key).backfill_policy == dg.BackfillPolicy.single_run(), name


def test_everything_up_and_down_from_a_table_can_be_materialized(graph, specs):
    """Dagster refuses a selection such as `key:"bronze/usage"+` that reaches what nothing executes."""
    for name in tables(specs):
        for selection in (f'key:"{name}"+', f'+key:"{name}"'):
            assert dg.AssetSelection.from_string(selection).resolve(graph) <= graph.materializable_asset_keys


def test_every_asset_that_runs_is_tried_again():
    code = (
        "import dagster as dg\n"
        "from asgard_assets.definitions import defs\n"
        "for asset in defs().assets or []:\n"
        "    if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:\n"
        "        p = asset.op.retry_policy\n"
        "        print(p and (p.max_retries >= 2, p.backoff.name, p.jitter.name))\n"
    )
    # The tests' own setting is none at all, and what was loaded with it stays in its process.
    settings = {name: value for name, value in os.environ.items() if name != "ASGARD_RETRIES"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )
    policies = done.stdout.split("\n")[:-1]
    assert len(policies) > 15, done.stderr
    assert {*policies} == {"(True, 'EXPONENTIAL', 'PLUS_MINUS')"}


def test_every_upstream_exists(graph):
    missing = [
        (key.to_user_string(), parent.to_user_string())
        for key in graph.materializable_asset_keys
        for parent in graph.get(key).parent_keys
        if parent not in graph.materializable_asset_keys
    ]
    assert not missing


def test_predictions_descend_from_every_source(graph):
    reached, todo = set(), [dg.AssetKey(["model", "churn_predictions"])]
    while todo:
        key = todo.pop()
        if key not in reached:
            reached.add(key)
            todo += graph.get(key).parent_keys
    sources = {"users", "purchases", "usage", "tickets", "invoices", "contacts"}
    assert {dg.AssetKey(["bronze", name]) for name in sources} <= reached


def test_specs_edges_and_checks_are_as_agreed(graph, specs):
    """Update the snapshot on purpose: ASGARD_UPDATE_SNAPSHOT=1 pytest tests/test_assets.py"""
    now = {}
    for name, spec in sorted(specs.items()):
        node = graph.get(spec.key)
        now[name] = {
            "upstream": sorted(parent.to_user_string() for parent in node.parent_keys),
            "partitions": type(spec.partitions_def).__name__ if spec.partitions_def else None,
            "owners": sorted(spec.owners),
            "kinds": sorted(spec.kinds),
            "tags": {k: v for k, v in sorted(spec.tags.items()) if not k.startswith("dagster/")},
            "columns": [c.name for c in spec.metadata["dagster/column_schema"].columns]
            if "dagster/column_schema" in spec.metadata
            else [],
            "key": spec.metadata.get("key"),
            "checks": sorted(
                f"{k.name}{' (blocking)' if graph.get(k).blocking else ''}"
                for k in graph.asset_check_keys
                if k.asset_key == spec.key
            ),
            "automatic": spec.automation_condition is not None,
        }
    if os.environ.get("ASGARD_UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    assert now == json.loads(SNAPSHOT.read_text())


@pytest.mark.parametrize(
    "command",
    [
        ["dagster", "definitions", "validate", "-w", "workspace.yaml"],
        ["dg", "check", "defs"],
    ],
    ids=lambda command: " ".join(command[:3]),
)
@pytest.mark.servers
def test_dagsters_own_validators_accept_the_project(command: list[str]):
    binary = os.path.join(os.path.dirname(sys.executable), command[0])
    env = {**os.environ, "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]}
    done = subprocess.run(
        [binary, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
