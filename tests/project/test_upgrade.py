"""A project of each earlier release is opened by the code of today, which goes on with it.

`states/VERSION.tar.gz` is a project that the wheel of that release made: `asgard init shop`, then all stages of three days.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest

from asgard_assets.lake import Lake
from tests.checkout import ROOT
from tests.end_to_end.homes import BIN
from tests.patience import patience

STATES = sorted((ROOT / "tests" / "project" / "states").glob("*.tar.gz"))
TABLES = {"bronze/orders", "silver/orders", "gold/product_sales", "model/demand_forecast"}
OLD, NEW = ["2026-01-05", "2026-01-06", "2026-01-07"], "2026-01-08"


def test_each_state_is_small():
    assert STATES
    assert all(state.stat().st_size <= 2_000_000 for state in STATES)


def run(folder: Path, *command: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "DAGSTER_"))}
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=folder, text=True, capture_output=True, check=False,
        timeout=patience(900),
        env=kept | {
            "DAGSTER_HOME": str(folder / ".asgard" / "dagster"), "DAGSTER_DISABLE_TELEMETRY": "yes",
            "PYTHONPATH": str(ROOT), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        },
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def rows(lake: Lake) -> Mapping[str, list[tuple[object, ...]]]:
    """All rows of the three days, by table."""
    with lake.connect() as connection:
        return {
            table: connection.sql(
                f"select * from {table.replace('/', '.')} where ds <= '{OLD[-1]}' order by all"
            ).fetchall()
            for table in sorted(TABLES)
        }


@pytest.mark.servers
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name.removesuffix(".tar.gz"))
def test_what_an_older_release_left_is_opened_and_gone_on_with(state: Path, tmp_path: Path):
    subprocess.run(["tar", "-xzf", str(state), "-C", str(tmp_path)], check=True)
    folder = tmp_path / "shop"
    lake = Lake(str(folder / ".asgard" / "lake"))
    before = rows(lake)
    numbers = {table: lake.epochs(*table.split("/"), OLD) for table in TABLES}
    assert all(before.values()) and all(n == 1 for of in numbers.values() for n in of.values())
    run(folder, "dagster", "instance", "migrate")
    run(
        folder, "dagster", "asset", "materialize", "-m", "shop.definitions",
        "--select", 'key:"bronze/orders"+', "--partition", NEW,
    )  # fmt: skip
    assert rows(lake) == before, "days of the older release are as they were"
    assert {table: lake.epochs(*table.split("/"), OLD) for table in TABLES} == numbers
    assert {table: lake.epochs(*table.split("/"), [NEW])[NEW] for table in TABLES} == dict.fromkeys(TABLES, 1)
    with dg.DagsterInstance.from_config(str(folder / ".asgard" / "dagster")) as instance:
        for table in TABLES | {"features/product_sales"}:
            assert instance.get_materialized_partitions(dg.AssetKey(table.split("/"))) == {*OLD, NEW}, table
