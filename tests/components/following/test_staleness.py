"""What is missing or stale is read from the lake alone."""

from __future__ import annotations

import dagster as dg
import pyarrow as pa
import pytest

from asgard_assets.components.following.reads import BEFORE, READS, SAME, UNTIL, reads_of
from asgard_assets.components.following.staleness import State, states
from asgard_assets.components.partitions import daily
from asgard_assets.lake import Lake

DAYS = list(daily().get_partition_keys()[:6])
SCHEMA = pa.schema([("id", pa.int64()), ("ds", pa.string())])
BRONZE, LOOKUP, SILVER, HISTORY, GOLD = (
    dg.AssetKey(each.split("/")) for each in ("bronze/x", "bronze/l", "silver/x", "silver/h", "gold/x")
)


def specs() -> dict[dg.AssetKey, dg.AssetSpec]:
    found = [
        dg.AssetSpec(BRONZE, partitions_def=daily()),
        dg.AssetSpec(LOOKUP, partitions_def=daily()),
        dg.AssetSpec(
            SILVER, deps=[BRONZE, LOOKUP], partitions_def=daily(),
            metadata={READS: {"bronze/x": SAME, "bronze/l": UNTIL}},
        ),
        dg.AssetSpec(
            HISTORY, deps=[BRONZE], partitions_def=daily(), metadata={READS: {"bronze/x": SAME, "silver/h": BEFORE}}
        ),
        dg.AssetSpec(GOLD, deps=[SILVER], partitions_def=daily(), metadata={"lookback_days": 1}),
    ]  # fmt: skip
    return {spec.key: spec for spec in found}


@pytest.fixture
def world(lake: Lake) -> World:
    return World(lake)


class World:
    def __init__(self, lake: Lake) -> None:
        self.lake, self.specs = lake, specs()

    def publish(self, key: dg.AssetKey, *days: str, value: int = 0) -> None:
        staging = self.lake.stage(key.path[0], key.path[1], SCHEMA, days)
        self.lake.write(staging, pa.table([[value] * len(days), list(days)], schema=SCHEMA))
        self.lake.publish(staging, reads=reads_of(self.lake, self.specs[key], self.specs))

    def state(self, key: dg.AssetKey) -> State:
        [found] = states(self.lake, self.specs, [key])
        return found

    def asked(self, key: dg.AssetKey) -> tuple[list[str], list[str]]:
        found = self.state(key)
        return list(found.missing), list(found.stale)


def test_what_has_its_inputs_is_missing_and_the_rest_waits_for_a_named_one(world: World):
    world.publish(BRONZE, *DAYS[:3])
    assert world.asked(SILVER) == ([], [])
    assert world.state(SILVER).waiting[DAYS[0]] == f"bronze/l {DAYS[0]}"
    world.publish(LOOKUP, DAYS[0])
    assert world.asked(SILVER) == (DAYS[:3], [])
    world.publish(SILVER, *DAYS[:3])
    assert world.state(SILVER).current == tuple(DAYS[:3])


def test_a_change_is_stale_as_far_as_it_is_read_and_says_what_changed(world: World):
    for key in (BRONZE, LOOKUP, SILVER, GOLD):
        world.publish(key, *DAYS)
    world.publish(BRONZE, DAYS[2], value=1)
    assert world.asked(SILVER) == ([], [DAYS[2]])
    cause = world.state(SILVER).stale[DAYS[2]]
    assert cause is not None and (cause.table, cause.partition) == ("bronze/x", DAYS[2])
    world.publish(SILVER, DAYS[2])
    assert world.asked(GOLD) == ([], []), "the rebuild changed nothing"
    world.publish(SILVER, DAYS[2], value=1)
    assert world.asked(GOLD) == ([], DAYS[2:4])
    world.publish(LOOKUP, DAYS[3], value=1)
    assert world.asked(SILVER) == ([], [day for day in world.state(SILVER).stale if day >= DAYS[3]])
    assert DAYS[5] in world.state(SILVER).stale and DAYS[2] not in world.state(SILVER).stale


def test_history_goes_on_day_by_day_and_only_as_far_as_rows_change(world: World):
    world.publish(BRONZE, *DAYS)
    assert world.asked(HISTORY) == (DAYS, []), "all in one range"
    world.publish(HISTORY, *DAYS)
    assert world.asked(HISTORY) == ([], [])
    world.publish(BRONZE, DAYS[1], value=1)
    assert world.asked(HISTORY) == ([], [DAYS[1]])
    world.publish(HISTORY, DAYS[1], value=1)
    assert world.asked(HISTORY) == ([], [DAYS[2]])
    world.publish(HISTORY, DAYS[2])
    assert world.asked(HISTORY) == ([], [])


def test_a_table_that_was_dropped_and_made_anew_is_another_input(world: World):
    for key in (BRONZE, LOOKUP, SILVER):
        world.publish(key, *DAYS)
    world.lake.filesystem.delete_dir(world.lake.path("bronze", "x"))
    world.publish(BRONZE, *DAYS)
    assert world.asked(SILVER) == ([], DAYS)
