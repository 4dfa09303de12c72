"""Dagster's own tool `dg` knows Asgard's components: it lists, writes, documents and checks them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner, Result

from asgard_assets.components.authoring.code_references import with_code_references
from asgard_assets.resources.environment import resources

COMPONENTS = {
    "airbyte.AirbyteSyncs",
    "api.ApiIngest",
    "dbt.DbtModels",
    "feast.FeatureView",
    "feast.OnlineStore",
    "files.FileIngest",
    "model.TrainedModel",
    "silver.SilverTables",
    "sql.SqlIngest",
    "stream.CurrentTable",
    "stream.KafkaIngest",
    "sinks.PostgresTable",
    "stream.PostgresSink",
}
PYPROJECT = """\
[project]
name = "shop"
version = "0.1.0"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "shop"
"""


def typename(component: str) -> str:
    return f"asgard_assets.components.{component}"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project, which is the current folder."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    for file in ("shop/__init__.py", "shop/definitions.py", "shop/defs/__init__.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "shop"]:
        del sys.modules[name]


def dg_command(*arguments: str) -> Result:
    from dagster_dg_cli.cli import cli

    return CliRunner().invoke(cli, list(arguments))


def scaffold(component: str, path: str, *options: str) -> None:
    done = dg_command("scaffold", "defs", typename(component), path, *options)
    assert done.exit_code == 0, (done.output, done.exception)


def loaded(project: Path) -> dg.Definitions:
    """The project's definitions, with the resources of a local run."""
    found = with_code_references(dg.load_from_defs_folder(path_within_project=project))
    bound = dg.Definitions.merge(found, dg.Definitions(resources=resources()))
    dg.Definitions.validate_loadable(bound)
    return bound


def specs(project: Path) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in loaded(project).resolve_all_asset_specs()}


def attributes(project: Path, path: str) -> dict[str, Any]:
    return yaml.safe_load((project / "shop/defs" / path / "defs.yaml").read_text())["attributes"]


def places(spec: dg.AssetSpec) -> list[str]:
    return [one.source for one in spec.metadata["dagster/code_references"].code_references]


def test_dg_lists_the_components(project: Path):
    done = dg_command("list", "components", "--json")
    rows = json.loads(done.stdout[done.stdout.index("{") :])["items"]
    found = {row["key"]: row["summary"] for row in rows if row["key"].startswith("asgard_assets")}
    assert set(found) == {typename(name) for name in COMPONENTS}
    assert all(len(summary or "") > 20 for summary in found.values())


def test_a_scaffolded_source_of_files_loads(project: Path):
    scaffold("files.FileIngest", "refunds", "--path", "refunds")
    assert attributes(project, "refunds")["path"] == "refunds"
    refunds = specs(project)["bronze/refunds"]
    assert refunds.description and refunds.partitions_def
    assert places(refunds) == [f"{project}/shop/defs/refunds/defs.yaml:3"]


@pytest.mark.parametrize("ds", ["filename", "arrival"])
def test_the_options_of_a_source_of_files_are_written(project: Path, ds: str):
    scaffold(
        "files.FileIngest", "a/b", "--name", "refunds", "--ds", ds, "--description", "Refunds: one a row."
    )
    assert attributes(project, "a/b") == {
        "name": "refunds",
        "path": "refunds",
        "ds": {"type": ds},
        "description": "Refunds: one a row.",
    }
    assert specs(project)["bronze/refunds"].description == "Refunds: one a row."


def test_a_scaffolded_api_source_loads(project: Path):
    address = ("--base-url", "https://shop.example.com", "--path", "/v1/orders", "--items", "data")
    scaffold("api.ApiIngest", "orders", *address, "--token", "env:SHOP_TOKEN")
    source = attributes(project, "orders")["source"]
    assert source["endpoint"] == {"base_url": "https://shop.example.com", "path": "/v1/orders"}
    assert source["form"]["items"] == "data"
    assert source["auth"] == {"type": "bearer", "token": "env:SHOP_TOKEN"}
    assert "bronze/orders" in specs(project)


def test_scaffolded_streams_and_sinks_load(project: Path):
    scaffold("stream.KafkaIngest", "clicks")
    scaffold("stream.CurrentTable", "shops", "--table", "bronze/clicks", "--key", "shop_id")
    scaffold("stream.PostgresSink", "events", "--table", "bronze/clicks")
    scaffold("sinks.PostgresTable", "mirrored", "--table", "silver/shops", "--target", "shop.shops")
    assert attributes(project, "clicks")["topic"] == "events.clicks"
    assert attributes(project, "shops")["columns"] == {"shop_id": "bigint"}
    assert {"bronze/clicks", "silver/shops", "postgres/events", "postgres/mirrored"} <= specs(project).keys()


def test_a_scaffolded_database_loads(project: Path):
    scaffold(
        "sql.SqlIngest",
        "shop",
        "--host",
        "db.example.com",
        "--password",
        "env:SHOP",
        "--table",
        "sales.orders",
    )
    told = attributes(project, "shop")
    assert told["database"] == {
        "type": "postgres", "host": "db.example.com", "database": "shop", "user": "reader", "password": "env:SHOP"
    }  # fmt: skip
    assert "bronze/orders" in specs(project)


def test_a_secret_itself_is_not_written(project: Path):
    done = dg_command("scaffold", "defs", typename("api.ApiIngest"), "orders", "--token", "s3cr3t-value")
    assert done.exit_code != 0
    assert "token" in done.output and "s3cr3t-value" not in done.output
    assert not (project / "shop/defs/orders/defs.yaml").exists()


def test_a_scaffolded_airbyte_workspace_loads_without_a_server(project: Path):
    scaffold("airbyte.AirbyteSyncs", "airbyte", "--workspace-id", "7eef06e8-349d-5a02-8909-a671292164d2")
    assert specs(project) == {}


def test_a_scaffolded_silver_table_loads(project: Path):
    scaffold("silver.SilverTables", "silver", "--input", "bronze.orders", "--key", "order_id")
    found = specs(project)
    assert {"silver/orders", "rejected/orders"} <= set(found)
    assert places(found["silver/orders"]) == [f"{project}/shop/defs/silver/orders.py:7"]
    assert places(found["rejected/orders"]) == [f"{project}/shop/defs/silver/orders.py:7"]


def test_a_scaffolded_feature_view_loads(project: Path):
    features = ("--feature", "orders_7d:bigint", "--feature", "amount_7d")
    scaffold("feast.FeatureView", "features/value", "--table", "gold/orders", *features)
    written = attributes(project, "features/value")["features"]
    assert {name: feature["type"] for name, feature in written.items()} == {
        "orders_7d": "bigint",
        "amount_7d": "double",
    }
    assert "features/value" in specs(project)


def test_a_scaffolded_model_loads(project: Path):
    scaffold("feast.FeatureView", "features/value", "--table", "gold/orders", "--feature", "amount_7d")
    assert attributes(project, "features/value")["key"] == "order_id"
    scaffold("model.TrainedModel", "model/revenue", "--table", "gold/orders", "--view", "value")
    found = {f"model/revenue_{kind}" for kind in ("training_set", "model", "predictions")}
    assert found <= set(specs(project))


def test_a_scaffolded_python_table_loads(project: Path):
    scaffold("python.table", "model/segments.py", "--reads", "gold/orders")
    segments = specs(project)["model/segments"]
    assert [dep.asset_key.to_user_string() for dep in segments.deps] == ["gold/orders"]
    assert places(segments) == [f"{project}/shop/defs/model/segments.py:6"]


@pytest.mark.slow
def test_a_scaffolded_dbt_project_loads(project: Path):
    scaffold("dbt.DbtModels", "gold", "--project", "shop_dbt", "--source", "silver.orders")
    daily = specs(project)["gold/orders_daily"]
    assert [dep.asset_key.to_user_string() for dep in daily.deps] == ["silver/orders"]
    assert daily.partitions_def
    assert places(daily) == [f"{project}/shop_dbt/models/gold/orders_daily.sql"]


def test_an_existing_dbt_project_is_left_as_it_is(project: Path):
    (project / "dbt_project").mkdir()
    (project / "dbt_project/dbt_project.yml").write_text("name: mine\n")
    scaffold("dbt.DbtModels", "gold")
    assert [path.name for path in (project / "dbt_project").iterdir()] == ["dbt_project.yml"]


@pytest.mark.parametrize("component", ["files.FileIngest", "api.ApiIngest", "feast.FeatureView"])
def test_a_scaffold_in_python_names_the_component(project: Path, component: str):
    scaffold(component, "orders", "--format", "python")
    text = (project / "shop/defs/orders/component.py").read_text()
    assert f"import {component.rpartition('.')[2]}" in text


@pytest.mark.parametrize("component", sorted(COMPONENTS))
def test_dg_shows_each_field_with_its_description(project: Path, component: str):
    """Dagster 1.13 has no `dg docs` any more; this, and the tab Docs of the UI, took its place."""
    done = dg_command("utils", "inspect-component", typename(component), "--defs-yaml-json-schema")
    schema = json.loads(done.stdout[done.stdout.index("{") :])["properties"]["attributes"]
    bare = [name for name, field in schema.get("properties", {}).items() if not field.get("description")]
    assert not bare
    shown = dg_command("utils", "inspect-component", typename(component)).output
    assert all(field["description"][:30] in shown for field in schema.get("properties", {}).values())


@pytest.mark.parametrize(
    ("component", "wrong", "line"),
    [
        (
            "files.FileIngest",
            "attributes:\n  name: a\n  path: a\n  description: A.\n  ds: {type: folder}\n  glop: 1",
            7,
        ),
        ("api.ApiIngest", "attributes:\n  retries: -1\n  source: {}", 3),
        ("feast.FeatureView", "attributes:\n  name: a\n  description: A.\n  ttl_days: soon", 5),
        ("airbyte.AirbyteSyncs", "attributes:\n  workspace: {workspace_id: a}\n  ownres: []", 4),
        ("dbt.DbtModels", "attributes:\n  project: a\n  selct: b", 4),
        ("silver.SilverTables", "attributes:\n  table: a", 3),
    ],
)
def test_dg_check_points_at_the_line(project: Path, component: str, wrong: str, line: int):
    file = project / "shop/defs/wrong/defs.yaml"
    file.parent.mkdir()
    file.write_text(f"type: {typename(component)}\n{wrong}\n")
    done = dg_command("check", "yaml")
    assert done.exit_code == 1
    assert f"{file}:{line} - " in done.output
