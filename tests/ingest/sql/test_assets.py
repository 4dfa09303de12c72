"""A database in the asset graph, by nothing but YAML: assets, checks, schedules, and what commands know of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from asgard_assets.components.sql import SqlIngest, SqlIngestModel
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.lake import Lake
from asgard_assets.operations.preview import previews
from asgard_assets.operations.sources import catalog
from asgard_assets.operations.state import source_states
from asgard_assets.operations.targets import find
from asgard_assets.operations.todo import Finder
from asgard_assets.resources.lake import LakeResource
from tests.ingest.sql.conftest import Database

pytestmark = pytest.mark.servers


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    first = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()
    for name, value in {
        "ASGARD_HOME": str(tmp_path),
        "ASGARD_PARTITION_START": first,
        "ASGARD_PARTITION_END": "",
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def definitions(database: Database, **options: Any) -> dg.Definitions:
    document = database.source().model_dump(mode="json", by_alias=True, exclude_unset=True)
    tables = [
        {"table": database.name, "name": "t", "key": ["id"], "load": {"type": "incremental", "cursor": "id"},
         "checks": [{"name": "positive", "sql": "id > 0"}]},
        {"query": f"select count(*) as many from {database.name}", "name": "counted"},
    ]  # fmt: skip
    model = SqlIngestModel.model_validate({**document, "tables": tables, **options})
    built = SqlIngest(model).build_defs(None)  # pyright: ignore[reportArgumentType]
    return dg.Definitions.merge(
        built, dg.Definitions(resources={"lake": LakeResource(root=Lake.from_settings().root)})
    )


def test_tables_of_one_source_are_assets_that_run_and_are_known(database: Database, home: Path):
    database.run("create table TABLE (id int primary key)", "insert into TABLE values (1), (2)")
    defs = definitions(database, pull={"every": "day"})
    today = datetime.now(UTC).date().isoformat()
    with dg.DagsterInstance.ephemeral() as instance:
        lake = Lake.from_settings()
        finder = Finder(catalog(defs), lake, Landing.from_settings(), instance)
        target = find(finder.catalog, "shop")
        assert target.assets == ("bronze/counted", "bronze/t") or set(target.assets) == {
            "bronze/t",
            "bronze/counted",
        }
        (shown, _) = sorted(previews(finder, target, None, 1), key=lambda one: str(one), reverse=True)
        assert "postgres://" in str(shown) or "mariadb://" in str(shown)
        assert list(finder.to_run("bronze/t", None).partitions or ()) == [today]
        assets = [asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition)]
        run = dg.materialize(
            assets, partition_key=today, instance=instance, resources={"lake": LakeResource(root=lake.root)}
        )
        told = {
            event.asset_key.path[-1]: event.materialization.metadata
            for event in run.get_asset_materialization_events()
            if event.asset_key
        }
        assert told["t"]["rows"].value == 2 and told["t"]["cursor"].value == "2"
        assert all(check.passed for check in run.get_asset_check_evaluations())
        assert lake.table("bronze", "counted").to_pyarrow_table()["many"].to_pylist() == [2]  # pyright: ignore[reportOptionalMemberAccess]
        (state,) = source_states(finder, target)
        assert {table.asset: table.cursor for table in state.tables} == {
            "bronze/t": "2",
            "bronze/counted": "",
        }
    assert [schedule.name for schedule in defs.schedules or ()] == ["pull_shop"]


def test_a_check_that_blocks_holds_the_rows_and_the_cursor_back(on_postgres: Database, home: Path):
    on_postgres.run("create table TABLE (id int primary key)", "insert into TABLE values (1), (-2)")
    asset = next(iter(definitions(on_postgres).assets or ()))
    today = datetime.now(UTC).date().isoformat()
    lake = Lake.from_settings()
    resources = {"lake": LakeResource(root=lake.root)}
    assert isinstance(asset, dg.AssetsDefinition)
    assert not dg.materialize([asset], partition_key=today, resources=resources, raise_on_error=False).success
    assert lake.table("bronze", "t") is None
    on_postgres.run("delete from TABLE where id < 0")
    assert dg.materialize([asset], partition_key=today, resources=resources).success
    table = lake.table("bronze", "t")
    assert table and table.to_pyarrow_table()["id"].to_pylist() == [1]
