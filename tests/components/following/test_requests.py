"""What a tick over 200 tables asks of an S3 server, counted between them: 20 tables changed, the others did not."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.components.automation import on_upstream_change
from asgard_assets.components.following.reads import READS, reads_of
from asgard_assets.components.following.sensor import following
from asgard_assets.components.partitions import daily
from asgard_assets.lake import Lake
from tests.components.following.test_sensor import NOON
from tests.patience import loop_seconds
from tests.servers.s3 import s3
from tests.servers.s3_faults import faulty

pytestmark = pytest.mark.servers

DAYS = list(daily().get_partition_keys()[:3])
SCHEMA = pa.schema([("id", pa.int64()), ("ds", pa.string())])
PAIRS, CHANGED, MOST = 100, 20, 500


def specs(name: str) -> dict[dg.AssetKey, dg.AssetSpec]:
    bronze = dg.AssetSpec(["bronze", name], partitions_def=daily())
    silver = dg.AssetSpec(
        ["silver", name], deps=[bronze.key], partitions_def=daily(), metadata={READS: {}},
        automation_condition=on_upstream_change(),
    )  # fmt: skip
    return {bronze.key: bronze, silver.key: silver}


def publish(lake: Lake, table: str, value: int = 0) -> None:
    key, known = dg.AssetKey(table.split("/")), specs(table.split("/")[1])
    staging = lake.stage(key.path[0], key.path[1], SCHEMA, DAYS)
    lake.write(staging, pa.table([[value] * len(DAYS), DAYS], schema=SCHEMA))
    lake.publish(staging, reads=reads_of(lake, known[key], known))


def copies(root: Path) -> None:
    """A lake of 100 Bronze tables, all alike, and as many Silver tables made of them; and a change for 20 of them."""
    lake = Lake(str(root))
    publish(lake, "bronze/t000")
    for number in range(1, PAIRS):
        shutil.copytree(root / "bronze/t000", root / f"bronze/t{number:03}")
    for number in range(PAIRS):
        publish(lake, f"silver/t{number:03}")
    shutil.copytree(root / "bronze/t000", root / "bronze/changed")
    publish(lake, "bronze/changed", value=1)


def change(root: Path) -> None:
    for number in range(CHANGED):
        shutil.copytree(root / "bronze/changed", root / f"bronze/t{number:03}", dirs_exist_ok=True)


def test_a_tick_over_200_tables_of_which_20_changed_takes_few_requests(tmp_path: Path, monkeypatch):
    @dg.multi_asset(
        specs=[each for number in range(PAIRS) for each in specs(f"t{number:03}").values() if each.deps],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def silver(): ...

    bronze = [specs(f"t{number:03}")[dg.AssetKey(["bronze", f"t{number:03}"])] for number in range(PAIRS)]
    sensor = following(pace_seconds=0, clock=lambda: NOON)
    repository = dg.Definitions(assets=[*bronze, silver], sensors=[sensor]).get_repository_def()
    root = tmp_path / "s3" / "lake"
    with s3(tmp_path / "s3", "lake") as server, faulty(server.endpoint, seed=1) as (endpoint, counts):
        copies(root)
        for name, value in {
            **server.environment,
            "ASGARD_LAKE": "s3://lake",
            "ASGARD_S3_ENDPOINT": endpoint,
        }.items():
            monkeypatch.setenv(name, value)
        cursor, figures, asked = None, list[tuple[int, float]](), set[str]()
        with dg.DagsterInstance.ephemeral() as instance:
            for tick in range(3):
                if tick == 2:
                    change(root)
                before, cpu = counts()["requests"], time.process_time()
                context = dg.build_sensor_context(instance=instance, cursor=cursor, repository_def=repository)
                found = sensor.evaluate_tick(context)
                cursor = found.cursor
                asked = {
                    key.path[1] for each in found.run_requests or [] for key in each.asset_selection or []
                }
                figures.append((counts()["requests"] - before, time.process_time() - cpu))
    print("requests and CPU seconds of the first tick, one without and one with 20 changes:", figures)
    print(f"loop: {loop_seconds():.2f} s")
    assert asked == {f"t{number:03}" for number in range(CHANGED)}
    assert figures[2][0] <= MOST
    assert figures[1][0] <= 2 * PAIRS + 10, "a table that did not change costs one request"
