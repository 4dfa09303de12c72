"""Maintenance makes tables smaller and never changes what readers and writers see."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.errors import LakeError
from asgard_assets.lake import Lake
from asgard_assets.lake.maintenance import maintain
from asgard_assets.lake.publish import LivePart
from asgard_assets.resources.lake import LakeResource

SCHEMA = pa.schema([("id", pa.int64()), ("ds", pa.string())])
DAYS = ["2026-10-05", "2026-10-06"]


def put(lake: Lake, ids: range, days: list[str] = DAYS, rows_per_file: int = 1):
    staging = lake.stage("silver", "orders", SCHEMA, days)
    rows = pa.table({"id": [i for _ in days for i in ids], "ds": [d for d in days for _ in ids]}, SCHEMA)
    lake.write(staging, rows, rows_per_file)
    return staging


def read(lake: Lake) -> list[tuple[int, str]]:
    with lake.connect() as connection:
        return connection.sql("select id, ds from silver.orders order by all").fetchall()


def aged(path: Path, hours: float) -> None:
    """Files as if they had been written so long ago."""
    for file in path.rglob("*"):
        if file.is_file():
            os.utime(file, (time.time() - hours * 3600,) * 2)


def test_many_small_files_become_few_and_rows_epochs_and_plans_stay(lake: Lake):
    lake.publish(put(lake, range(10)), plans={"orders/2026-10-05": 7})
    before, epochs = read(lake), lake.epochs("silver", "orders", DAYS)
    [done] = maintain(lake)
    assert (done.compacted_files, done.written_files, done.skipped) == (20, 2, [])
    assert len(lake.files("silver", "orders")) == 2
    assert read(lake) == before
    assert lake.epochs("silver", "orders", DAYS) == epochs
    assert lake.table("silver", "orders").transaction_version("orders/2026-10-05") == 7
    # Also where the log begins at the checkpoint.
    log = Path(lake.path("silver", "orders")) / "_delta_log"
    assert list(log.glob("*.checkpoint.parquet"))
    for commit in log.glob("*.json"):
        if int(commit.stem) < lake.version("silver", "orders"):
            commit.unlink()
    assert lake.epochs("silver", "orders", DAYS) == epochs
    assert lake.table("silver", "orders").transaction_version("orders/2026-10-05") == 7
    lake.publish(put(lake, range(3)))
    assert len(read(lake)) == 6


def test_a_second_time_finds_nothing_to_do(lake: Lake):
    lake.publish(put(lake, range(10)))
    maintain(lake)
    version = lake.version("silver", "orders")
    [again] = maintain(lake)
    assert (again.compacted_files, again.removed_files, again.removed_staging) == (0, 0, 0)
    assert lake.version("silver", "orders") == version


def test_what_a_killed_run_staged_goes_after_two_days_and_running_ones_stay(lake: Lake):
    lake.publish(put(lake, range(2)))
    killed, running = put(lake, range(5)), put(lake, range(5))
    old = (datetime.now(UTC) - timedelta(hours=50)).strftime("%Y%m%dT%H%M%S")
    moved = Path(killed.path).rename(Path(killed.path).parent / f"{old}-0123456789ab")
    aged(moved, 50)
    table = Path(lake.path("silver", "orders"))
    [dry] = maintain(lake, dry_run=True)
    assert dry.removed_staging == 10 and moved.exists()
    [done] = maintain(lake)
    assert done.removed_staging == 10
    assert not moved.exists() and Path(running.path).exists()
    lake.publish(running)
    assert len(read(lake)) == 10
    assert table.exists()


def test_replaced_files_stay_for_time_travel_until_the_retention_is_over(lake: Lake):
    lake.publish(put(lake, range(2)))
    lake.publish(put(lake, range(3)))
    table = Path(lake.path("silver", "orders"))
    aged(table, 60)  # as if all this were two days ago and more
    [kept] = maintain(lake, now=datetime.now(UTC) + timedelta(hours=60))
    assert kept.removed_files == 0 and kept.removed_staging == 0
    import deltalake

    assert len(deltalake.DeltaTable(str(table), version=1).to_pyarrow_table()) == 4


def test_beside_a_writer_nothing_is_lost(lake: Lake):
    lake.publish(put(lake, range(10)))
    failures: list[Exception] = []

    def write() -> None:
        try:
            for turn in range(8):
                lake.publish(put(lake, range(10 + turn), [DAYS[turn % 2]]))
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        maintain(lake)
    writer.join()
    assert failures == []
    assert read(lake) == sorted([(i, DAYS[0]) for i in range(16)] + [(i, DAYS[1]) for i in range(17)])
    assert lake.epochs("silver", "orders", DAYS) == dict.fromkeys(DAYS, 5)


def compacts_before_the_first_commit(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process compacts the table after a writer has looked at it and before that writer's commit."""
    import deltalake

    write, waiting = deltalake.DeltaTable.create_write_transaction, [True]

    def compacted_first(self: deltalake.DeltaTable, *args: Any, **options: Any) -> None:
        if waiting and waiting.pop():
            [done] = maintain(lake)
            assert done.compacted_files == 20
        write(self, *args, **options)

    monkeypatch.setattr(deltalake.DeltaTable, "create_write_transaction", compacted_first)


def test_a_publish_just_behind_a_compaction_replaces_what_was_compacted(lake: Lake, monkeypatch):
    lake.publish(put(lake, range(10)))
    staging = put(lake, range(12), DAYS[:1])
    compacts_before_the_first_commit(lake, monkeypatch)
    lake.publish(staging)
    assert read(lake) == sorted([(i, DAYS[0]) for i in range(12)] + [(i, DAYS[1]) for i in range(10)])


def test_an_amendment_just_behind_a_compaction_replaces_what_was_compacted(lake: Lake, monkeypatch):
    lake.publish(put(lake, range(10)))
    staging = put(lake, range(20, 22), DAYS[:1])
    compacts_before_the_first_commit(lake, monkeypatch)
    lake.amend(staging, lambda live: {part.path: [] for part in live if part.day == DAYS[0]}, {})
    assert read(lake) == sorted([(i, DAYS[0]) for i in (20, 21)] + [(i, DAYS[1]) for i in range(10)])


def test_an_amendment_is_shown_what_came_in_between_though_it_replaces_nothing(lake: Lake):
    lake.publish(put(lake, range(2)))
    staging, seen = put(lake, range(20, 22), DAYS[:1]), list[set[str]]()

    def rewrite(live: Sequence[LivePart]) -> dict[str, list[str]]:
        seen.append({part.path for part in live})
        if len(seen) == 1:
            lake.publish(put(lake, range(7, 9), DAYS[1:]))
        return {}

    lake.amend(staging, rewrite, {})
    assert len(seen) == 2 and seen[0] != seen[1]
    assert read(lake) == sorted([(i, DAYS[0]) for i in (0, 1, 20, 21)] + [(i, DAYS[1]) for i in (7, 8)])


def test_a_compaction_just_behind_a_publish_is_left_for_the_next_time(lake: Lake, monkeypatch):
    import deltalake.table

    lake.publish(put(lake, range(10)))
    compact, waiting = deltalake.table.TableOptimizer.compact, [True]

    def published_first(self: Any, *args: Any, **options: Any) -> Any:
        if waiting and waiting.pop():
            lake.publish(put(lake, range(3)))
        return compact(self, *args, **options)

    monkeypatch.setattr(deltalake.table.TableOptimizer, "compact", published_first)
    [done] = maintain(lake)
    assert "a writer was faster" in done.skipped[0]
    assert read(lake) == sorted((i, day) for i in range(3) for day in DAYS)


def test_a_broken_table_is_told_and_the_others_are_maintained(lake: Lake):
    lake.publish(put(lake, range(10)))
    torn = Path(lake.path("gold", "torn")) / "_delta_log"
    torn.mkdir(parents=True)
    (torn / "00000000000000000000.json").write_text('{"add":')
    gold, silver = maintain(lake)
    assert "cannot be read" in gold.skipped[0]
    assert silver.compacted_files == 20


def test_what_makes_no_sense_is_refused(lake: Lake):
    with pytest.raises(LakeError, match="no such table: gold/none"):
        maintain(lake, ["gold/none"])
    with pytest.raises(LakeError, match="staging_hours"):
        maintain(lake, retention_hours=1, staging_hours=2)


def test_the_asset_maintains_every_table_and_says_what_it_did(lake: Lake):
    from asgard_assets.components.platform.maintenance import lake_maintenance

    lake.publish(put(lake, range(10)))
    result = dg.materialize([lake_maintenance], resources={"lake": LakeResource(root=lake.root)})
    [event] = result.get_asset_materialization_events()
    found = {name: value.value for name, value in event.materialization.metadata.items()}
    assert (found["tables"], found["compacted_files"], found["skipped"]) == (1, 20, 0)


def test_a_table_of_the_platform_itself_is_maintained_and_not_shown(lake: Lake):
    """`_logins/<source>` holds refresh tokens."""
    rows = pa.table({"token": ["encrypted"]})
    for stage in ("_logins", "bronze"):
        staging = lake.stage(stage, "crm", rows.schema)
        lake.write(staging, rows)
        lake.publish(staging)
    assert lake.tables() == [("bronze", "crm")]
    shown = lake.connect().execute("select schema_name from duckdb_views()").fetchall()
    assert ("_logins",) not in shown and ("bronze",) in shown
    assert {done.table for done in maintain(lake)} == {"_logins/crm", "bronze/crm"}
