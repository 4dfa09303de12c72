"""A table as it was: read at a version or a moment, and restored to it in a new commit."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.errors import ConfigError, FencedError, LakeError
from asgard_assets.lake import Lake
from asgard_assets.lake.maintenance import maintain
from asgard_assets.operations.restore import moment, planned, restored

DAYS = ["2026-10-05", "2026-10-06"]
SCHEMA = pa.schema([("n", pa.int64()), ("ds", pa.string())])


def put(lake: Lake, rows: dict[str, list[int]], name: str = "beats") -> int:
    staging = lake.stage("silver", name, SCHEMA, list(rows))
    table = {
        "n": [n for each in rows.values() for n in each],
        "ds": [d for d, each in rows.items() for _ in each],
    }
    lake.write(staging, pa.table(table, SCHEMA))
    return lake.publish(staging).version


def rows(lake: Lake, as_of: datetime | None = None) -> list[tuple[str, int]]:
    with lake.connect(as_of=as_of) as connection:
        return connection.execute("select ds, n from silver.beats order by all").fetchall()


def test_only_the_days_that_differ_change_and_all_of_history_stays(lake: Lake):
    first = put(lake, {DAYS[0]: [1, 2], DAYS[1]: [3]})
    before = rows(lake)
    put(lake, {DAYS[1]: [30, 31]})
    plan = planned(lake, "silver.beats", version=first)
    assert [(c.partition, c.rows, c.rows_then) for c in plan.changes] == [(DAYS[1], 2, 1)]
    with dg.DagsterInstance.ephemeral() as instance:
        made = restored(lake, plan, instance)
        key = dg.AssetKey(["silver", "beats"])
        told = instance.fetch_materializations(key, limit=9).records
        assert [(r.partition_key, r.asset_materialization.metadata["version"].value) for r in told] == [
            (DAYS[1], made)
        ]
        assert instance.get_materialized_partitions(key) == {DAYS[1]}
    assert rows(lake) == before and made == first + 2
    assert lake.epochs("silver", "beats", DAYS) == {DAYS[0]: 1, DAYS[1]: 3}
    assert planned(lake, "silver/beats", version=made - 1).changes, "what was undone is still there"
    assert not planned(lake, "silver/beats", version=first).changes
    assert lake.restore("silver", "beats", first) == (made, []), "nothing to do is no commit"


def test_a_day_that_came_later_is_empty_again(lake: Lake):
    first = put(lake, {DAYS[0]: [1]})
    put(lake, {DAYS[1]: [2]})
    lake.restore("silver", "beats", first)
    assert rows(lake) == [(DAYS[0], 1)]


def test_who_staged_before_the_restore_does_not_publish_over_it(lake: Lake):
    first = put(lake, {DAYS[0]: [1]})
    put(lake, {DAYS[0]: [2]})
    staging = lake.stage("silver", "beats", SCHEMA, DAYS[:1])
    lake.write(staging, pa.table({"n": [9], "ds": DAYS[:1]}, SCHEMA))
    lake.restore("silver", "beats", first)
    with pytest.raises(FencedError):
        lake.publish(staging)
    assert rows(lake) == [(DAYS[0], 1)]


def test_every_table_is_read_as_it_was_at_a_moment(lake: Lake):
    put(lake, {DAYS[0]: [1]})
    time.sleep(0.05)
    between = datetime.now(UTC)
    time.sleep(0.05)
    put(lake, {DAYS[0]: [2]})
    put(lake, {DAYS[0]: [3]}, name="younger")
    assert rows(lake, between) == [(DAYS[0], 1)] and rows(lake) == [(DAYS[0], 2)]
    with lake.connect(as_of=between) as connection, pytest.raises(Exception, match="younger"):
        connection.execute("select * from silver.younger")
    assert planned(lake, "silver/beats", as_of=between).changes
    with pytest.raises(LakeError, match="silver/beats was not there yet at"):
        planned(lake, "silver/beats", as_of=between - timedelta(days=1))


def test_beyond_the_retention_the_oldest_version_is_named(lake: Lake):
    newest = [put(lake, {DAYS[0]: [n]}) for n in range(3)][-1]
    table = lake.table("silver", "beats")
    assert table is not None
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(LakeError, match=f"version 1 is older than .* can be read is {newest}"):
        planned(lake, "silver/beats", version=1)
    assert maintain(lake, ["silver/beats"])[0].table == "silver/beats"


def test_what_cannot_be_restored_is_said(lake: Lake):
    put(lake, {DAYS[0]: [1]})
    with pytest.raises(LakeError, match="has no version 9; its newest version is"):
        planned(lake, "silver/beats", version=9)
    with pytest.raises(LakeError, match="there is no table gold/beats; there are silver/beats"):
        planned(lake, "gold/beats", version=0)
    with pytest.raises(ConfigError, match="give either --version or --as-of"):
        planned(lake, "silver/beats")
    with pytest.raises(ConfigError, match="yesterday' is no time; write 2026-10-12"):
        moment("yesterday", "UTC")
    assert moment("2026-10-12T06:30", "Asia/Tokyo") == datetime(2026, 10, 11, 21, 30, tzinfo=UTC)
    assert moment("2026-10-12T06:30+00:00", "Asia/Tokyo") == datetime(2026, 10, 12, 6, 30, tzinfo=UTC)
