"""One point in time of the lake and the databases beside it; all is lost; the next loads bring what came since."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from asgard_assets.cli import app
from asgard_assets.errors import ConfigError, NotFoundError
from asgard_assets.lake import Lake
from asgard_assets.operations.changes.backup import backup, backups, restore_all
from asgard_assets.operations.changes.databases import put_back, save, state_of
from asgard_assets.settings import Settings
from tests.ingest.files.bench import DAYS, Bench
from tests.servers.postgres import postgres


def asgard(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--output", "json"])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.output)


def counted(lake: Lake) -> dict[str, int]:
    with lake.connect() as connection:
        found = connection.execute(
            "select ds, count(*) from bronze.invoices group by all order by all"
        ).fetchall()
        return dict(found)


def test_everything_is_lost_and_the_next_loads_bring_what_came_since(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, home, place = (
        Lake.from_settings(settings),
        Path(settings.home),
        str(tmp_path.parent / f"{tmp_path.name}-backups"),
    )
    bench = Bench(None, lake, settings)
    (home / "dagster").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    bench.drop(DAYS[0], "a.csv", "id\n1\n2\n")
    bench.run()
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute("create table versions (n integer)")
        connection.execute("insert into versions values (1)")
    lake.put("_models/churn/model.skops", b"fitted")
    key = dg.AssetKey(["bronze", "invoices"])
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=DAYS[0]))
    first = asgard("backup", place)
    assert first["tables"]["bronze/invoices"] >= 1 and {"dagster", "mlflow.db"} <= set(first["beside"])

    bench.drop(DAYS[1], "b.csv", "id\n3\n")
    bench.run()
    second = backup(lake, place, state_of(settings), datetime(2099, 1, 1, tzinfo=UTC))
    bench.drop(DAYS[2], "c.csv", "id\n4\n")
    bench.run()
    after = {DAYS[0]: 2, DAYS[1]: 1, DAYS[2]: 1}
    assert counted(lake) == after and len(backups(lake, place)) == 2

    with pytest.raises(ConfigError, match="is not empty: .* --replace"):
        restore_all(lake, place, state_of(settings))
    for name in ("lake", "dagster", "mlflow.db"):
        (shutil.rmtree if (home / name).is_dir() else Path.unlink)(home / name)
    (home / "dagster").mkdir()
    assert asgard("restore-all", place, "--name", first["name"])["name"] == first["name"]
    assert counted(lake) == {DAYS[0]: 2} and lake.get("_models/churn/model.skops") == b"fitted"
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        assert connection.execute("select n from versions").fetchall() == [(1,)]
    with dg.DagsterInstance.get() as instance:
        assert instance.get_materialized_partitions(key) == {DAYS[0]}
    bench.run()
    assert counted(lake) == after, "what came since is loaded, once"

    restored = restore_all(lake, place, state_of(settings), replace_all=True)
    assert restored.name == second.name and counted(lake) == {DAYS[0]: 2, DAYS[1]: 1}
    bench.run()
    assert counted(lake) == after
    with pytest.raises(NotFoundError, match="there is no backup of yesterday"):
        restore_all(lake, place, state_of(settings), "of yesterday")
    with pytest.raises(ConfigError, match="lies in the lake"):
        backup(lake, f"{lake.root}/backups", state_of(settings))


@pytest.mark.servers
def test_a_database_in_postgres_is_saved_and_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    with postgres(tmp_path / "pg") as server:
        address = f"postgresql://{server.user}:x@127.0.0.1:{server.port}/{server.database}"
        monkeypatch.setenv("ASGARD_MLFLOW_URI", address.replace("postgresql:", "postgresql+psycopg2:"))
        monkeypatch.setenv("ASGARD_DATABASE_URL", address)
        monkeypatch.setenv("ASGARD_ONLINE_STORE", "redis://127.0.0.1/0")
        state = state_of(Settings(), {})
        assert list(state.servers) == ["mlflow"] and "features/online" in state.elsewhere[0]
        with psycopg.connect(address) as connection:
            connection.execute("create table t (n int)")
            connection.execute("insert into t values (1)")
        save(state, tmp_path / "saved")
        with psycopg.connect(address) as connection:
            connection.execute("update t set n = 2")
        put_back(state, tmp_path / "saved")
        with psycopg.connect(address) as connection:
            assert connection.execute("select n from t").fetchall() == [(1,)]
