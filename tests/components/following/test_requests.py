"""What a tick over 200 tables asks of an S3 server, counted between them: 20 tables changed, the others did not."""

from __future__ import annotations

import json
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
from asgard_assets.lake.reads import Stand
from tests.components.following.test_sensor import NOON
from tests.patience import loop_seconds
from tests.servers.s3 import s3
from tests.servers.s3_faults import faulty

pytestmark = pytest.mark.servers

SCHEMA = pa.schema([("id", pa.int64()), ("ds", pa.string())])
PAIRS, CHANGED, MOST, SECONDS = 100, 20, 500, 5.0
"""Bronze tables with a Silver table each, and of those that change; requests and CPU seconds of a tick, at most."""
READ = "asgard/read/"


def specs(name: str) -> dict[dg.AssetKey, dg.AssetSpec]:
    bronze = dg.AssetSpec(["bronze", name], partitions_def=daily())
    silver = dg.AssetSpec(
        ["silver", name], deps=[bronze.key], partitions_def=daily(), metadata={READS: {}},
        automation_condition=on_upstream_change(),
    )  # fmt: skip
    return {bronze.key: bronze, silver.key: silver}


def publish(lake: Lake, table: str, days: list[str], value: int = 0) -> None:
    key, known = dg.AssetKey(table.split("/")), specs(table.split("/")[1])
    staging = lake.stage(key.path[0], key.path[1], SCHEMA, days)
    lake.write(staging, pa.table([[value] * len(days), days], schema=SCHEMA))
    lake.publish(staging, reads=reads_of(lake, known[key], known))


def copies(root: Path, days: list[str]) -> None:
    """A lake of 100 Bronze tables, all alike, and as many Silver tables made of them; and a change for 20 of them. A tick
    reads no rows, so the copies have none: only their logs."""
    lake, no_rows = Lake(str(root)), shutil.ignore_patterns("*.parquet", "ds=*")
    publish(lake, "bronze/t000", days)
    publish(lake, "silver/t000", days)
    for number in range(1, PAIRS):
        shutil.copytree(root / "bronze/t000", root / f"bronze/t{number:03}", ignore=no_rows)
        copied = shutil.copytree(root / "silver/t000", root / f"silver/t{number:03}", ignore=no_rows)
        name_inputs(lake, f"t{number:03}", copied, days)
    shutil.copytree(root / "bronze/t000", root / "bronze/changed")
    publish(lake, "bronze/changed", days[-3:], value=1)


def name_inputs(lake: Lake, name: str, copied: Path, days: list[str]) -> None:
    """Let the copied log say that it was made of the Bronze table of its own name."""
    known = specs(name)
    found = reads_of(lake, known[dg.AssetKey(["silver", name])], known)
    reads = found.hashes(f"silver/{name}", Stand(), days)
    for file in copied.glob("_delta_log/*.json"):
        actions = [json.loads(line) for line in file.read_text().splitlines()]
        for action in actions:
            app = action.get("txn", {}).get("appId", "")
            if app.startswith(READ):
                action["txn"]["version"] = reads[app.removeprefix(READ)]
        file.write_text("".join(json.dumps(action) + "\n" for action in actions))


def change(root: Path) -> None:
    for number in range(CHANGED):
        shutil.copytree(root / "bronze/changed", root / f"bronze/t{number:03}", dirs_exist_ok=True)


def test_a_tick_over_200_tables_of_which_20_changed_takes_few_requests(tmp_path: Path, monkeypatch):
    ticks_are_cheap(tmp_path, monkeypatch, list(daily().get_partition_keys()[:3]), 1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_with_ten_years_of_days_it_takes_at_most_half_as_much_again(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("ASGARD_PARTITION_START", "2016-11-04")
    days = list(daily().get_partition_keys())
    assert len(days) == 3650
    ticks_are_cheap(tmp_path, monkeypatch, days, 1.5)


def ticks_are_cheap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: list[str], times: float) -> None:
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
        copies(root, days)
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
    assert figures[2][0] <= times * MOST
    assert figures[2][1] <= times * SECONDS * max(1.0, loop_seconds() / 1.5)
    assert figures[1][0] <= times * (2 * PAIRS + 10), "a table that did not change costs one request"
