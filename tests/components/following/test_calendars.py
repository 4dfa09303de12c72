"""Tables of hours, days, weeks and months follow each other, in any zone and when clocks change."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from asgard_assets.components.following.reads import BEFORE, UNTIL, Input, all_specs, inputs_of
from asgard_assets.components.following.staleness import Partitions, State, Table, state_of
from asgard_assets.components.partitions import weekly, windows
from asgard_assets.lake.likeness import built_from
from asgard_assets.lake.numbers import publish_id
from asgard_assets.lake.reads import Edge, Reads
from asgard_assets.windows import Calendar, Every

HOUR, DAY, WEEK, MONTH = windows("hour"), windows("day"), windows("week"), windows("month")
BERLIN = "Europe/Berlin"


def edges(reader: dg.PartitionsDefinition, source: dg.PartitionsDefinition | None, **told) -> list[Edge]:
    upstream = dg.AssetSpec("in", partitions_def=source)
    dep = dg.AssetDep("in", partition_mapping=told.pop("mapping", None))
    spec = dg.AssetSpec("out", deps=[dep], partitions_def=reader, metadata=told)
    return [each.edge for each in inputs_of(spec, {spec.key: spec, upstream.key: upstream})]


@pytest.mark.parametrize(
    ("found", "key", "bounds"),
    [
        (edges(HOUR, HOUR), "2026-10-06T07", ("2026-10-06T07", "2026-10-06T07")),
        (edges(DAY, HOUR), "2026-10-06", ("2026-10-06T00", "2026-10-06T23")),
        (edges(WEEK, DAY), "2026-10-12", ("2026-10-12", "2026-10-18")),
        (edges(weekly(), DAY), "2026-10-12", ("2026-10-12", "2026-10-18")),
        (edges(MONTH, HOUR), "2026-11-01", ("2026-11-01T00", "2026-11-30T23")),
        (edges(DAY, None), "2026-10-06", ("2026-10-06", "2026-10-06")),
        (edges(DAY, HOUR, reads={"in": UNTIL}), "2026-10-06", ("", "2026-10-06T23")),
        (edges(DAY, DAY, lookback_days=2), "2026-10-06", ("2026-10-04", "2026-10-06")),
        (edges(DAY, DAY, lookback_days="all"), "2026-10-06", ("", "2026-10-06")),
        (edges(weekly(), DAY, mapping=dg.TimeWindowPartitionMapping(-1, 0)), "2026-10-19", ("2026-10-12", "2026-10-25")),
        (edges(DAY, dg.StaticPartitionsDefinition(["a", "b"])), "2026-10-06", ("", "~")),
        (edges(HOUR, HOUR, reads={"out": BEFORE})[1:], "2026-10-06T00", ("2026-10-05T23", "2026-10-05T23")),
    ],
)  # fmt: skip
def test_an_edge_is_the_windows_that_both_calendars_share(
    found: list[Edge], key: str, bounds: tuple[str, str]
):
    assert [edge.bounds(key) for edge in found] == [bounds]


def test_a_view_is_taken_for_the_tables_behind_it_in_a_run_too():
    days = dg.AssetSpec(["gold", "days"], partitions_def=DAY)
    view = dg.AssetSpec(["gold", "shown"], deps=[days.key], kinds={"dbt", "view"})

    @dg.asset(key=["gold", "sums"], deps=[view.key], partitions_def=WEEK)
    def sums() -> None: ...

    repository = dg.Definitions(assets=[days, view, sums]).get_repository_def()
    context: Any = SimpleNamespace(repository_def=repository)
    specs = all_specs(context)
    [found] = inputs_of(specs[sums.key], specs)
    assert found.edge.table == "gold/days"
    assert found.edge.bounds("2026-10-12") == ("2026-10-12", "2026-10-18")


class World:
    """A table and its only input, in memory."""

    def __init__(self, zone: str, every: Every, source: Every, first: date, until: date) -> None:
        self.edge = Edge("bronze/x", 0, 0, every, zone, source, zone)
        self.own, self.source = (Calendar.named(zone, e) for e in (every, source))
        start, end = (Calendar.named(zone).window(day.isoformat()).start for day in (first, until))
        self.keys = [window.key for window in self.own.overlapping(start, end)]
        self.inputs = [window.key for window in self.source.overlapping(start, end)]
        self.tables = {"bronze/x": Table("1"), "silver/x": Table("2")}

    def publish(self, table: str, keys: list[str], reads: Reads | None = None) -> None:
        was = self.tables[table]
        told = built_from(table, was.table_id, was.numbers, keys, keys, reads)
        fences = {publish_id(key): was.numbers.get(publish_id(key), 0) + 1 for key in keys}
        self.tables[table] = Table(was.table_id, {**was.numbers, **fences, **told})

    def build(self, keys: list[str]) -> None:
        reads = Reads((self.edge,), {"bronze/x": self.tables["bronze/x"].stand})
        self.publish("silver/x", keys, reads)

    def state(self, now: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> State:
        partitions, inputs = Partitions(tuple(self.keys)), [Input(self.edge)]
        own = self.tables["silver/x"]
        return state_of(dg.AssetSpec(["silver", "x"]), inputs, own, partitions, self.tables, now)

    def inside(self, key: str) -> set[str]:
        window = self.own.window(key)
        return {
            each for each in self.inputs
            if self.source.window(each).start < window.end and self.source.window(each).end > window.start
        }  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "every", "source", "first", "until"),
    [
        ("UTC", "hour", "hour", date(2026, 10, 5), date(2026, 10, 6)),
        (BERLIN, "day", "hour", date(2026, 10, 24), date(2026, 10, 27)),
        (BERLIN, "day", "hour", date(2027, 3, 27), date(2027, 3, 30)),
        ("America/New_York", "hour", "hour", date(2026, 11, 1), date(2026, 11, 2)),
        ("Asia/Tokyo", "week", "day", date(2026, 10, 5), date(2026, 11, 2)),
        ("UTC", "month", "day", date(2026, 10, 1), date(2027, 1, 1)),
        (BERLIN, "week", "hour", date(2026, 10, 19), date(2026, 11, 2)),
        ("UTC", "month", "month", date(2026, 1, 1), date(2027, 1, 1)),
    ],
)
def test_a_partition_is_stale_if_and_only_if_a_window_within_it_changed(zone, every, source, first, until):
    for seed in range(10):
        chance, world = random.Random(seed), World(zone, every, source, first, until)
        world.publish("bronze/x", world.inputs)
        world.build(world.keys)
        assert world.state().current == tuple(world.keys)
        changed = set(chance.sample(world.inputs, 2))
        world.publish("bronze/x", sorted(changed))
        expected = [key for key in world.keys if world.inside(key) & changed]
        assert list(world.state().stale) == expected, seed
        world.build(expected)
        assert world.state().current == tuple(world.keys), seed


def test_a_day_is_missing_once_each_hour_that_has_ended_is_there():
    world = World(BERLIN, "day", "hour", date(2026, 10, 25), date(2026, 10, 26))
    half_past_three = datetime(2026, 10, 25, 2, 30, tzinfo=UTC)
    assert world.state(half_past_three).waiting == {"2026-10-25": "bronze/x 2026-10-25T00"}
    world.publish("bronze/x", world.inputs[:2])
    assert world.state(half_past_three).waiting == {"2026-10-25": "bronze/x 2026-10-25T02"}
    world.publish("bronze/x", world.inputs[2:4])
    assert world.state(half_past_three).missing == ("2026-10-25",), "the hour from three on is still open"
    assert world.state().waiting == {"2026-10-25": "bronze/x 2026-10-25T03"}
