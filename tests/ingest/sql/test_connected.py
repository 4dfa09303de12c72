"""A database that is connected through the API: its tables are listed, become assets, and hold its rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml

from asgard_assets.components.platform.sources import managed_sources
from asgard_assets.ingest.sql.source import SqlSource
from asgard_assets.lake import Lake
from asgard_assets.operations.ingestion.databases import Databases
from asgard_assets.operations.new.database import new_database
from asgard_assets.operations.transforms.submissions import Outcome, Submissions
from asgard_assets.resources.lake import LakeResource
from asgard_assets.settings import Settings
from tests.ingest.sql.conftest import Database

pytestmark = pytest.mark.servers


def test_a_new_source_has_all_tables_with_their_keys(database: Database, tmp_path: Path):
    database.run("create table TABLE (a int, b int, primary key (b, a))")
    server = database.source().model_dump(mode="json", exclude_unset=True)["database"]
    target = tmp_path / "defs.yaml"
    assert database.name in new_database(target, "shop", server, "", "shop_")
    document = yaml.safe_load(target.read_text())
    source = SqlSource.model_validate(document["attributes"])
    assert source.named(f"shop_{database.name}").key == ("b", "a")


def test_a_connected_database_fills_its_tables(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()
    for name, value in {
        "ASGARD_HOME": str(tmp_path),
        "ASGARD_PARTITION_START": first,
        "ASGARD_PARTITION_END": "",
    }.items():
        monkeypatch.setenv(name, value)
    database.run(
        "create table TABLE (a int, b varchar(9), c decimal(30,5), primary key (b, a))",
        "insert into TABLE values (1, 'x', 12345678901234567890.12345)",
    )
    lake, submissions = Lake.from_settings(), Submissions(tmp_path / "runs")
    databases = Databases(lake, Settings(), submissions)
    if database.kind == "postgres":  # a user who may do no more than read, as MariaDB's is
        database.run(f"create role r{database.name} login", f"grant select on TABLE to r{database.name}")
    config = {
        "host": "127.0.0.1", "port": database.server.port, "database": database.server.database,
        "username": f"r{database.name}" if database.kind == "postgres" else database.server.user, "password": database.server.password, "tables": [database.name],
    }  # fmt: skip
    kind = "mysql" if database.kind == "mariadb" else "postgres"
    made = databases.add_source(kind, "main", config, "Shop 1")
    source = databases.source(made.source_id, "main")
    assert source is not None and databases.source(made.source_id, "other") is None
    ingestion = databases.ingest(source, "sink-1", "all", "", "")
    (table,) = databases.streams("main").values()
    assert table == f"bronze/shop_1_{database.name}" and ingestion.streams == (database.name,)
    (asset,) = (
        a for a in managed_sources(dg.Definitions(), lake).assets or () if isinstance(a, dg.AssetsDefinition)
    )
    today = datetime.now(UTC).date().isoformat()
    assert dg.materialize(
        [asset], partition_key=today, resources={"lake": LakeResource(root=lake.root)}
    ).success
    found = lake.table(*table.split("/"))
    assert found
    (row,) = found.to_pyarrow_table().to_pylist()
    assert (row["a"], row["b"], str(row["c"])) == (1, "x", "12345678901234567890.12345") and "_row" not in row
    for one in submissions.all():
        submissions.finish(one.run_id, Outcome(True, 1_790_000_000.0))
    status = databases.status(ingestion.connection_id, lambda _: True)
    assert status and (status.status, status.rows) == ("COMPLETED", 1)
    told = [json.loads(path.read_text()) for path in Path(lake.root).rglob("_managed/**/*.json")]
    assert told and database.server.password not in json.dumps(told)
