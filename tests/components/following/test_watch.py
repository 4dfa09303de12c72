"""What a look at the lake costs when little changed since the last one."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import dagster as dg
import pyarrow as pa

from asgard_assets.components.following.reads import READS, reads_of
from asgard_assets.components.following.staleness import State, Watch, states
from asgard_assets.components.partitions import daily
from asgard_assets.lake import Lake

DAYS = list(daily().get_partition_keys()[:4])
SCHEMA = pa.schema([("id", pa.int64()), ("ds", pa.string())])
NAMES = [f"t{number}" for number in range(6)]
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


class CountingLake(Lake):
    """A lake that counts what it is asked for."""

    asked = Counter[str]()

    def get(self, path: str, start: int = 0, size: int | None = None) -> bytes:
        self.asked["entries"] += 1
        return super().get(path, start, size)

    def table(self, stage: str, name: str):
        self.asked["tables"] += 1
        return super().table(stage, name)


def specs() -> dict[dg.AssetKey, dg.AssetSpec]:
    found = [dg.AssetSpec(["bronze", name], partitions_def=daily()) for name in NAMES]
    found += [
        dg.AssetSpec(["silver", name], deps=[["bronze", name]], partitions_def=daily(), metadata={READS: {}})
        for name in NAMES
    ]
    return {spec.key: spec for spec in found}


def publish(lake: Lake, key: dg.AssetKey, value: int = 0) -> None:
    staging = lake.stage(key.path[0], key.path[1], SCHEMA, DAYS)
    lake.write(staging, pa.table([[value] * len(DAYS), DAYS], schema=SCHEMA))
    lake.publish(staging, reads=reads_of(lake, specs()[key], specs()))


def test_a_table_that_did_not_change_costs_one_request_and_is_not_opened(lake: Lake):
    known, counting, watch = specs(), CountingLake(lake.root), Watch()
    for key in known:
        publish(lake, key)
    chosen = [key for key in known if key.path[0] == "silver"]

    def look(after: timedelta = timedelta()) -> list[State]:
        counting.asked.clear()
        return states(counting, known, chosen, NOON + after, causes=False, watch=watch)

    first = look()
    assert counting.asked["tables"] == len(known)
    again = look()
    assert counting.asked == {"entries": len(known)}
    assert all(one is other for one, other in zip(first, again, strict=True)), "nothing is computed anew"
    publish(lake, dg.AssetKey(["bronze", "t3"]), value=1)
    changed = look()
    assert counting.asked["tables"] == 1
    assert {state.asset for state in changed if state.stale} == {"silver/t3"}
    look(timedelta(hours=2))
    assert counting.asked["tables"] == len(known), "now and then everything is looked at"


def test_a_table_that_was_made_anew_is_seen_by_the_next_full_look(lake: Lake):
    known, watch = specs(), Watch()
    bronze, silver = dg.AssetKey(["bronze", "t0"]), dg.AssetKey(["silver", "t0"])
    for value in range(3):
        publish(lake, bronze, value)
    publish(lake, silver)
    [found] = states(lake, known, [silver], NOON, watch=watch)
    assert found.current == tuple(DAYS)
    lake.filesystem.delete_dir(lake.path("bronze", "t0"))
    publish(lake, bronze)
    [found] = states(lake, known, [silver], NOON + timedelta(hours=2), watch=watch)
    assert tuple(found.stale) == tuple(DAYS)
