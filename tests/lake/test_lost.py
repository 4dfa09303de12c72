"""The log of a table is lost: that is found, and refused in words."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.doctor import logs
from asgard_assets.errors import LakeError
from asgard_assets.lake import Lake
from asgard_assets.lake.maintenance import maintain
from asgard_assets.operations.changes.places import asset
from asgard_assets.settings import Settings

DAYS = ["2026-10-05", "2026-10-06"]
SCHEMA = pa.schema([("n", pa.int64()), ("ds", pa.string())])


def put(lake: Lake, day: str) -> None:
    staging = lake.stage("silver", "t", SCHEMA, [day])
    lake.write(staging, pa.table([[1], [day]], schema=SCHEMA))
    lake.publish(staging)


def rows(lake: Lake) -> int:
    with lake.connect() as connection:
        return connection.execute("select count(*) from silver.t").fetchall()[0][0]


@pytest.mark.parametrize("older", [False, True])
def test_a_table_without_its_log_is_found_and_no_new_one_is_made(settings: Settings, older: bool) -> None:
    lake = Lake.from_settings(settings)
    put(lake, DAYS[0])
    if older:  # made before tables were marked
        Path(lake.path("silver", "t"), "_created").unlink()
        maintain(lake)
    assert logs(settings).ok
    log = Path(lake.path("silver", "t"), "_delta_log")
    shutil.move(log, settings.home / "kept")
    with pytest.raises(LakeError, match=r"its log \(.*_delta_log\) is gone"):
        put(lake, DAYS[1])
    assert not log.exists() and "silver/t" in logs(settings).found
    shutil.move(settings.home / "kept", log)
    put(lake, DAYS[1])
    assert rows(lake) == 2


def test_what_is_left_can_be_removed_and_built_again(settings: Settings) -> None:
    lake = Lake.from_settings(settings)
    put(lake, DAYS[0])
    shutil.rmtree(Path(lake.path("silver", "t"), "_delta_log"))
    with dg.DagsterInstance.ephemeral() as instance:
        list(asset(lake, "silver/t", instance, ["silver/t"], list).carry_out())
    put(lake, DAYS[1])
    assert rows(lake) == 1 and logs(settings).ok


def test_files_of_a_killed_first_run_are_no_lost_table(settings: Settings) -> None:
    lake = Lake.from_settings(settings)
    staging = lake.stage("silver", "t", SCHEMA, DAYS[:1])
    lake.write(staging, pa.table([[1], DAYS[:1]], schema=SCHEMA))
    put(lake, DAYS[1])
    assert rows(lake) == 1
