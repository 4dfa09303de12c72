"""A lake lies in a folder of any name: every engine reads and writes the same files there."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from sqlalchemy import create_engine

from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.resources.home import prepare_home
from asgard_assets.settings import Settings
from asgard_assets.spark.submit import Driver, LocalSparkSubmit
from asgard_assets.spark.transport import FolderTransport, open_transport

DAY = "2026-10-05"
NAMES = ["a b", "ü", "a#b", "a%b", "a?b", "a'b", "a+b", "a[x]b", "a*b", "a,b", 'a"b', "a:b"]
SCHEMA = pa.schema([("id", pa.int32()), ("ds", pa.string())])
WIDER = pa.schema([("id", pa.int64()), ("ds", pa.string())])


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_written_amended_retyped_and_read(tmp_path: Path, name: str) -> None:
    lake = Lake(str(tmp_path / name / "lake"))

    def staged(number: int):
        staging = lake.stage("bronze", "t", SCHEMA, [DAY])
        lake.write(staging, pa.table({"id": [number], "ds": [DAY]}))
        return staging

    lake.publish(staged(1))
    lake.amend(staged(2), lambda parts: {}, {f"source/{DAY}": (0, 1)}, [DAY])
    for address in [*lake.files("bronze", "t"), *(part.uri for part in lake.live("bronze", "t"))]:
        assert os.path.isfile(address), address
    lake.retype(
        "bronze",
        "t",
        lambda _: WIDER,
        lambda rows, _: rows.set_column(0, "id", rows["id"].cast(pa.int64())),
    )
    with lake.connect() as connection:
        assert connection.execute("select id from bronze.t order by 1").fetchall() == [(1,), (2,)]
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", [*NAMES, "a%20b"])
def test_both_ends_of_an_exchange_find_the_same_folder(tmp_path: Path, name: str) -> None:
    here = FolderTransport(tmp_path / name)
    here.put("step", b"1")
    assert open_transport(here.address).get("step") == b"1"


def test_spark_submit_finds_a_program_behind_a_number_sign(tmp_path: Path) -> None:
    command = LocalSparkSubmit(tmp_path, {}).command(Driver("x", "m", file="/a #1/ü.py"))
    assert command[-1] == "file:///a%20%231/%C3%BC.py"


def test_what_delta_rs_cannot_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGARD_LAKE", "/data/a%20b")
    with pytest.raises(ConfigError, match="rename the folder"):
        Settings()


def test_dagster_and_mlflow_keep_their_history_in_a_home_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = " ".join(name for name in NAMES if "?" not in name)
    monkeypatch.setenv("ASGARD_HOME", str(tmp_path / name))
    settings = Settings()
    with dg.DagsterInstance.from_config(str(prepare_home(settings))) as instance:
        assert instance.get_runs() == [] and instance.all_asset_keys() == []
    create_engine(settings.mlflow_tracking_uri).connect().close()
    assert (tmp_path / name / "mlflow.db").is_file() and os.listdir(tmp_path) == [name]


def test_a_home_that_sqlite_cannot_reach_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGARD_HOME", "/data/a?b")
    with pytest.raises(ConfigError, match="set ASGARD_HOME"):
        Settings()
