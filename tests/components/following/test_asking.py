"""Random events against a clean rebuild: whatever happens, every table ends as if it had been built once, at the end."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import dagster as dg
import pytest

from asgard_assets.components.following.asking import TRIES, Attempt, Followed, Plan, plan
from asgard_assets.components.following.reads import Input, code_number
from asgard_assets.components.following.staleness import Partitions, State, Table, state_of
from asgard_assets.lake.likeness import built_from
from asgard_assets.lake.numbers import publish_id
from asgard_assets.lake.reads import Edge, Reads

DAYS = [f"2026-10-{day:02}" for day in range(5, 17)]
SEQUENCES, MANY = 200, 10_000
LATER = datetime(2026, 12, 1, tzinfo=UTC)

Rows = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Kind:
    """A table: what it reads, and a day's value from the rows of all tables."""

    edges: tuple[Edge, ...]
    value: Callable[[Rows, str], int]


def at(rows: Rows, table: str, day: str) -> int:
    return rows.get(table, {}).get(day, 0)


def before(day: str) -> str:
    return DAYS[DAYS.index(day) - 1] if day != DAYS[0] else ""


def upto(rows: Rows, table: str, day: str, back: int = 99) -> int:
    first = DAYS[max(0, DAYS.index(day) - back)]
    return sum(value for key, value in rows.get(table, {}).items() if first <= key <= day)


KINDS = {
    "silver/x": Kind(
        (Edge("bronze/x"), Edge("bronze/l", None)),
        lambda rows, day: at(rows, "bronze/x", day) * 7 + upto(rows, "bronze/l", day),
    ),
    "silver/h": Kind(
        (Edge("bronze/x"), Edge("silver/h", 1, -1)),
        lambda rows, day: at(rows, "bronze/x", day) // 2 + at(rows, "silver/h", before(day)) // 2,
    ),
    "gold/x": Kind(
        (Edge("silver/x", 2), Edge("silver/h")),
        lambda rows, day: upto(rows, "silver/x", day, 2) + at(rows, "silver/h", day),
    ),
    "gold/late": Kind((Edge("gold/x"),), lambda rows, day: at(rows, "gold/x", day) % 5),
}


@dataclass
class Run:
    """A run that has read its inputs and is still to publish."""

    table: str
    keys: tuple[str, ...]
    reads: Reads
    seen: Rows
    fences: Mapping[str, int]


@dataclass
class World:
    """Tables in memory, numbered as the lake numbers them."""

    random: random.Random
    rows: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    tables: dict[str, Table] = field(default_factory=dict[str, Table])
    memory: Mapping[str, Mapping[str, Attempt]] = field(default_factory=dict)
    running: list[Run] = field(default_factory=list[Run])
    there: list[str] = field(default_factory=lambda: list(KINDS)[:-1])
    now: float = 0.0
    open: tuple[str, ...] = ()
    builds: int = 0
    made: int = 0

    def publish(self, table: str, values: Mapping[str, int], reads: Reads | None = None) -> None:
        if table not in self.tables:
            self.made += 1
            self.tables[table] = Table(f"{table} {self.made}")
        own, rows = self.tables[table], self.rows.setdefault(table, {})
        changed = [day for day, value in values.items() if rows.get(day) != value]
        told = built_from(table, own.table_id, own.numbers, sorted(values), changed, reads)
        fences = {publish_id(day): own.numbers.get(publish_id(day), 0) + 1 for day in values}
        self.tables[table] = Table(own.table_id, {**own.numbers, **fences, **told})
        rows.update(values)

    def states(self) -> list[Followed]:
        return [
            Followed(self.state(name), KINDS[name].edges, {n: n for n in KINDS}, in_order=name == "silver/h")
            for name in self.there
        ]

    def state(self, name: str) -> State:
        spec = dg.AssetSpec(name.split("/"))
        inputs = [Input(edge) for edge in KINDS[name].edges]
        tables = {edge.table: self.tables.get(edge.table, Table()) for edge in KINDS[name].edges}
        partitions = Partitions(tuple(DAYS), frozenset(self.open))
        return state_of(spec, inputs, self.tables.get(name, Table()), partitions, tables, LATER)

    def tick(self) -> Plan:
        self.now += 30
        busy = {
            run.table: {key for r in self.running if r.table == run.table for key in r.keys}
            for run in self.running
        }
        found = plan(self.states(), self.memory, busy, self.now)
        self.memory = found.memory
        self.running += [self.begun(ask.asset, ask.keys) for ask in found.asks]
        return found

    def begun(self, table: str, keys: tuple[str, ...]) -> Run:
        stands = {edge.table: self.tables.get(edge.table, Table()).stand for edge in KINDS[table].edges}
        seen = {name: dict(rows) for name, rows in self.rows.items()}
        return Run(table, keys, Reads(KINDS[table].edges, stands), seen, self.fences(table, keys))

    def fences(self, table: str, keys: tuple[str, ...]) -> dict[str, int]:
        own = self.tables.get(table, Table())
        return {key: own.numbers.get(publish_id(key), 0) for key in keys}

    def end(self, run: Run, well: bool) -> None:
        self.running.remove(run)
        self.builds += len(run.keys)
        if well and run.fences == self.fences(run.table, run.keys):  # else another was first
            self.publish(run.table, built(run.table, run.keys, run.seen), run.reads)

    def event(self) -> None:
        kind = self.random.choice(
            "bronze bronze lookup tick tick end end fail forget again hand drop late".split()
        )
        day = self.random.choice(DAYS)
        if kind in ("bronze", "lookup"):
            table = "bronze/x" if kind == "bronze" else "bronze/l"
            self.publish(table, {day: self.random.randrange(3)})
        elif kind == "tick":
            self.tick()
        elif kind in ("end", "fail") and self.running:
            self.end(self.random.choice(self.running), kind == "end")
        elif kind == "forget":
            self.memory = {}
        elif kind == "again" and day in self.rows.get("bronze/x", {}):
            self.publish("bronze/x", {day: self.rows["bronze/x"][day]})
        elif kind == "hand" and day not in self.state("silver/x").waiting:
            self.publish(
                "silver/x", built("silver/x", (day,), self.rows), self.begun("silver/x", (day,)).reads
            )
        elif kind == "drop" and self.random.random() < 0.2 and "bronze/x" in self.tables:
            rows = self.rows.pop("bronze/x")
            del self.tables["bronze/x"]
            self.publish("bronze/x", {key: self.random.randrange(3) for key in rows})
        elif kind == "late":
            self.there = list(KINDS)

    def settle(self) -> None:
        self.there = list(KINDS)
        for _ in range(400):
            self.now += 7 * 3600  # longer than any pause
            found, idle = self.tick(), not self.running
            while self.running:
                self.end(self.running[0], well=True)
            if idle and not found.asks:
                return
        raise AssertionError("it does not come to rest")


def built(table: str, keys: tuple[str, ...], seen: Rows) -> dict[str, int]:
    rows = {name: dict(found) for name, found in seen.items()}
    for key in sorted(keys):
        rows.setdefault(table, {})[key] = KINDS[table].value(rows, key)
    return {key: rows[table][key] for key in keys}


def clean(world: World) -> Rows:
    """Every table built once, at the end, for the days that can be."""
    rows = {name: dict(found) for name, found in world.rows.items() if name.startswith("bronze/")}
    for name in KINDS:
        rows[name] = {day: KINDS[name].value(rows, day) for day in sorted(world.rows.get(name, {}))}
        rows[name] = {}
        for day in sorted(world.rows.get(name, {})):
            rows[name][day] = KINDS[name].value(rows, day)
    return rows


@pytest.mark.parametrize("part", range(4))
def test_whatever_happens_every_table_ends_as_if_it_were_built_once(part: int):
    ends_as_built_once(range(part, SEQUENCES, 4))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(20))
def test_whatever_happens_ten_thousand_times(part: int):
    ends_as_built_once(range(part, MANY, 20))


def ends_as_built_once(seeds: Iterable[int]) -> None:
    for seed in seeds:
        world = World(random.Random(seed))
        for _ in range(60):
            world.event()
        world.settle()
        for name in KINDS:
            state = world.state(name)
            assert not state.missing and not state.stale, (seed, name)
        assert world.rows == {n: r for n, r in clean(world).items() if r}, f"seed {seed}"
        for day in world.rows.get("bronze/x", {}):
            if world.rows.get("bronze/l") and day >= min(world.rows["bronze/l"]):
                assert day in world.rows["silver/x"], (seed, day)


def quiet() -> World:
    world = World(random.Random(0))
    world.publish("bronze/x", dict.fromkeys(DAYS, 1))
    world.publish("bronze/l", dict.fromkeys(DAYS, 1))
    return world


def test_days_are_asked_for_in_ranges_and_the_newest_first():
    world = quiet()
    asks = {(ask.asset, ask.keys[0], ask.keys[-1]): ask.new for ask in world.tick().asks}
    assert asks == {
        ("silver/x", DAYS[0], DAYS[4]): False,
        ("silver/x", DAYS[5], DAYS[11]): True,
        ("silver/h", DAYS[0], DAYS[11]): True,
    }
    assert world.tick().asks == (), "they run"


def test_an_unchanged_day_is_asked_of_nobody_and_the_asks_are_no_more_than_needed():
    world = quiet()
    world.settle()
    assert world.builds == 4 * len(DAYS)
    world.publish("bronze/x", {DAYS[3]: 1})
    assert world.tick().asks == ()
    world.publish("bronze/x", {DAYS[3]: 2})
    world.settle()
    assert world.builds <= 4 * len(DAYS) + 1 + len(DAYS[3:]) + 3 + len(DAYS[3:]) * 2


def test_what_fails_is_tried_a_bounded_number_of_times_and_told_once_until_an_input_changes():
    world = quiet()
    world.there = ["silver/h"]
    asked, told = 0, 0
    for _ in range(40):
        world.now += 7 * 3600
        found = world.tick()
        asked, told = asked + len(found.asks), told + len(found.failed)
        for run in list(world.running):
            world.end(run, well=False)
    assert (asked, told) == (TRIES, 1)
    world.publish("bronze/x", {DAYS[0]: 2})
    assert [ask.keys[0] for ask in world.tick().asks] == [DAYS[0]]


def test_what_a_person_cancelled_waits_until_an_input_changes():
    world = quiet()
    world.there = ["silver/x"]
    [found] = world.states()
    held = plan([replace(found, held=DAYS[1:])], {}, {}, world.now)
    assert [ask.keys for ask in held.asks] == [(DAYS[0],)] and held.failed == {}


def test_corrections_reach_back_only_so_far_and_what_was_never_built_is_always_asked_for():
    world = quiet()
    world.settle()
    world.publish("bronze/x", {DAYS[1]: 5, DAYS[10]: 5})
    [found] = [Followed(world.state("silver/x"), KINDS["silver/x"].edges, corrections=3)]
    assert [ask.keys for ask in plan([found], {}, {}, 0).asks] == [(DAYS[10],)]
    assert DAYS[1] in found.state.stale


def test_of_what_is_made_once_in_a_while_only_the_newest_is_asked_for():
    world = quiet()
    world.there = ["silver/x"]
    [found] = [replace(each, never_built=1) for each in world.states()]
    assert [ask.keys for ask in plan([found], {}, {}, 0).asks] == [(DAYS[-1],)]


def test_code_is_part_of_a_spec():
    assert code_number(dg.AssetSpec("x")) == 0 != code_number(dg.AssetSpec("x", code_version="1"))


def test_no_more_runs_wait_than_there_is_room_for_and_new_days_go_first():
    world = quiet()
    asked = plan(world.states(), {}, {}, 0, room=2).asks
    assert [ask.new for ask in asked] == [True, True]
    assert plan(world.states(), {}, {}, 0, room=0).asks == ()


def test_a_partition_whose_input_changes_all_the_time_waits_no_longer_than_its_pace():
    world, memory, asked = quiet(), {}, list[float]()
    world.there = ["silver/x"]
    world.publish("silver/x", built("silver/x", tuple(DAYS), world.rows), world.begun("silver/x", ()).reads)
    for second in range(0, 600, 60):
        world.publish("bronze/x", {DAYS[3]: second + 2})
        found = plan(world.states(), memory, {}, second, pace=180)
        memory = found.memory
        asked += [second] * len(found.asks)
    assert asked[0] == 180 and len(asked) <= 3


def test_an_input_that_is_always_being_written_delays_only_so_long():
    world, busy = quiet(), {"bronze/x": None}
    [followed] = [replace(found, upstream={"bronze/x": "bronze/x"}) for found in world.states()[:1]]
    first = plan([followed], {}, busy, 0)
    assert first.asks == () and plan([followed], first.memory, busy, 800).asks == ()
    assert plan([followed], first.memory, busy, 901).asks


def test_an_open_window_is_built_at_its_pace_and_waits_for_its_end_where_it_has_none():
    world, today = quiet(), DAYS[-1]
    world.open, world.there = (today,), ["silver/x"]
    [found] = world.states()

    def asked(followed: Followed, at: float) -> set[str]:
        return {key for ask in plan([followed], {}, {}, at).asks for key in ask.keys}

    assert asked(found, 0) == {*DAYS[:-1]}
    found = replace(found, open_pace=900.0)
    assert asked(found, 0) == {*DAYS}
    found = replace(found, state=replace(found.state, built={today: 1000.0}))
    assert (today in asked(found, 1899.0), today in asked(found, 1900.0)) == (False, True)


def test_an_open_window_that_fails_is_asked_for_at_its_pace_however_often_its_inputs_change():
    world, today, memory, asked = quiet(), DAYS[-1], {}, list[float]()
    world.open, world.there = (today,), ["silver/x"]
    world.publish(
        "silver/x", built("silver/x", tuple(DAYS[:-1]), world.rows), world.begun("silver/x", ()).reads
    )
    for second in range(0, 3600, 60):
        world.publish("bronze/x", {today: second + 2})
        found = plan([replace(each, open_pace=900.0) for each in world.states()], memory, {}, second)
        memory = found.memory
        asked += [second] * len(found.asks)
    assert 3 <= len(asked) <= 5
