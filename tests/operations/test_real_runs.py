"""`asgard run` on a project on disk, for real: runs in this process, recorded in the history that the UI reads."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from asgard_assets.cli import app
from asgard_assets.errors import LakeError
from asgard_assets.operations.runs import TAG
from asgard_assets.settings import Settings
from tests.fakes.rest_api import TOKEN, serving

DEFINITIONS = """
import os
import dagster as dg
from asgard_assets.components.partitions import daily, weekly

single = {"backfill_policy": dg.BackfillPolicy.single_run()}

@dg.asset(key=["bronze", "orders"], partitions_def=daily(), **single)
def orders(context) -> None:
    print("noise of others")
    if "2026-10-07" in context.partition_keys and os.environ.get("BREAK"):
        raise ValueError("orders cannot be read")

@dg.asset(key=["model", "weekly"], deps=[orders], partitions_def=weekly())
def model() -> None: ...

@dg.asset(key=["features", "online"], deps=[model])
def online() -> None: ...

@dg.definitions
def defs():
    return dg.Definitions(assets=[orders, model, online], executor=dg.in_process_executor)
"""


@pytest.fixture
def instance(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """The history of a project with tables by day, by week, and without partitions."""
    folder = tmp_path / "little"
    (folder / "little_orders").mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "little_orders"\n')
    (folder / "little_orders" / "__init__.py").touch()
    (folder / "little_orders" / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "dagster").mkdir()
    monkeypatch.setenv("ASGARD_PROJECT", str(folder))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    return dg.DagsterInstance.get()


def asgard(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


def test_a_selection_across_calendars_is_materialized(instance, settings, monkeypatch, capfd):
    days = [f"2026-10-{day}" for day in range(12, 20)]
    told = json.loads(asgard("run", "*", "--partitions", f"{days[0]}...{days[-1]}", "--output", "json"))
    assert [(run["assets"], run["ok"], len(run["partitions"])) for run in told["runs"]] == [
        (["bronze/orders"], True, 8),
        (["model/weekly"], True, 1),
        (["model/weekly"], True, 1),
        (["features/online"], True, 0),
    ]
    assert instance.get_materialized_partitions(dg.AssetKey(["bronze", "orders"])) == set(days)
    assert instance.get_materialized_partitions(dg.AssetKey(["model", "weekly"])) == {days[0], days[7]}
    assert instance.get_latest_materialization_event(dg.AssetKey(["features", "online"])) is not None
    assert "noise of others" not in capfd.readouterr().out
    state = json.loads(asgard("state", "bronze/orders", "--output", "json"))[0]
    assert (state["published"], state["failed"], state["newest"]) == (8, 0, days[-1])


def test_a_failure_says_why_and_retry_runs_it_again(instance, monkeypatch):
    monkeypatch.setenv("BREAK", "yes")
    with pytest.raises(LakeError, match="orders cannot be read"):
        asgard("run", "bronze/orders", "--partitions", "2026-10-07")
    assert "1 failed" in asgard("state", "bronze/orders")
    monkeypatch.delenv("BREAK")
    assert "done: bronze/orders 2026-10-07" in asgard("retry", "bronze/orders")
    assert "0 failed" not in asgard("state", "bronze/orders")
    runs = instance.get_runs()
    assert all(TAG in run.tags for run in runs) and len(runs) == 2


USAGE = """
type: asgard_assets.components.api.ApiIngest
attributes:
  source:
    name: usage
    endpoint: {{base_url: "{url}", path: "/v1/users/{{row.id}}/usage", query: {{date: "{{partition.key}}"}}}}
    form: {{type: row, rows: {{key: {{id: bigint}}, query: "select 7 as id", reads: [bronze/people]}}}}
    auth: {{type: bearer, token: "env:API_TOKEN"}}
    sink: {{table: bronze/usage}}
    quality: {{description: Usage of a day.}}
"""
WITH_API = """
from pathlib import Path
import dagster as dg
from asgard_assets.components.api import ApiIngestModel, api_asset
from asgard_assets.ingest.api.source.config import load
from asgard_assets.resources.environment import resources

@dg.definitions
def defs():
    source = load(Path(__file__).parent / "defs" / "usage" / "defs.yaml")
    model = ApiIngestModel.model_construct(source=source, automation="none", retries=0, retry_delay_seconds=0, pull=None)
    return dg.Definitions(assets=[api_asset(model)], resources=resources(), executor=dg.in_process_executor)
"""


def test_an_api_of_the_project_is_previewed_with_its_login_and_run_by_name(instance, tmp_path, monkeypatch):
    package = tmp_path / "little" / "little_usage"
    (package / "defs" / "usage").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package.parent / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "little_usage"\n')
    (package / "definitions.py").write_text(WITH_API)
    monkeypatch.setenv("API_TOKEN", TOKEN)
    with serving() as api:
        (package / "defs" / "usage" / "defs.yaml").write_text(USAGE.format(url=api.url))
        shown = json.loads(asgard("preview", "usage", "--partitions", "2026-10-07", "--output", "json"))
        assert [row["status_code"] for row in shown["rows"]] == [200]
        asgard("run", "usage", "--partitions", "2026-10-07", "--all")
        assert sum(api.requests.values()) == 2
        assert asgard("retry", "usage").strip() == "usage: nothing to run"
    assert instance.get_materialized_partitions(dg.AssetKey(["bronze", "usage"])) == {"2026-10-07"}
