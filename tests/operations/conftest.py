"""A small project of one file source and what stands on it, without Spark."""

import json
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from asgard_assets.cli import app
from asgard_assets.components.automation import days_before
from asgard_assets.components.files import file_asset
from asgard_assets.components.partitions import daily
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.operations import sources
from asgard_assets.settings import Settings


class Project:
    """Definitions, the landing folder, Dagster's history, and the `asgard` command on them."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
        fields = {"name": "orders", "path": "orders", "ds": {"type": "folder"}, "description": "Orders."}
        self.source = FileSource.model_validate(fields | changes)
        self.landing = Path(settings.landing_root)
        (self.landing / "orders").mkdir(parents=True)
        days = daily()
        silver = dg.AssetSpec(["silver", "orders"], deps=[["bronze", "orders"]], partitions_def=days)
        gold = dg.AssetSpec(["gold", "totals"], deps=[days_before(silver.key, 60)], partitions_def=days)
        latest = dg.AssetSpec(["features", "online"], deps=[gold.key])

        @dg.multi_asset(specs=[silver, gold, latest], can_subset=True)
        def rest(): ...

        self.definitions = dg.Definitions(
            assets=[file_asset(self.source), rest],
            resources=dict.fromkeys(("lake", "spark", "step_launcher")),
        )
        monkeypatch.setattr(sources, "load_definitions", lambda: self.definitions)
        home = Path(settings.home) / "dagster"
        home.mkdir(exist_ok=True)
        monkeypatch.setenv("DAGSTER_HOME", str(home))

    def drop(self, day: str, name: str, content: str) -> Path:
        path = self.landing / "orders" / f"ds={day}" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return path

    def asgard(self, *arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.output

    def asgard_json(self, *arguments: str, code: int = 0):
        return json.loads(self.asgard(*arguments, code=code))

    def past_run(self, day: str, rows: int, size: int, seconds: float = 0.2) -> None:
        """A run of the Bronze asset as Dagster records it."""
        import time

        @dg.asset(key=["bronze", "orders"], partitions_def=daily())
        def orders(context: dg.AssetExecutionContext) -> None:
            time.sleep(seconds)
            context.add_asset_metadata({"rows": rows, "bytes": size, "files": 1}, partition_key=day)

        with dg.DagsterInstance.get() as instance:
            dg.materialize([orders], instance=instance, partition_key=day)


@pytest.fixture
def project(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(settings, monkeypatch)
