"""What of a table is missing or stale, as the lake itself says: no run, no event and no cursor is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asgard_assets.components.following.reads import (
    ON_CODE_CHANGE,
    READS,
    REBUILD,
    Input,
    code_number,
    inputs_of,
    plain,
    table_of,
)
from asgard_assets.components.partitions import calendar_of, time_of
from asgard_assets.lake import Lake
from asgard_assets.lake.numbers import code_id, publish_id, read_id, rows_id
from asgard_assets.lake.reads import LAST, Stand, number, read_hashes
from asgard_assets.lake.snapshot import Snapshot
from asgard_assets.windows import window_of

if TYPE_CHECKING:
    import dagster as dg

_AT_ONCE = 8


@dataclass(frozen=True)
class Table:
    """A table's partitions at one moment: its transaction numbers, and when each was written (milliseconds)."""

    table_id: str = ""
    numbers: Mapping[str, int] = field(default_factory=dict[str, int])
    moments: Mapping[str, int] = field(default_factory=dict[str, int])
    foreign: Mapping[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def of(cls, snapshot: Snapshot) -> Table:
        return cls(snapshot.table_id, snapshot.numbers, snapshot.moments, snapshot.foreign)

    @cached_property
    def stand(self) -> Stand:
        return Stand.of(self.table_id, self.numbers, self.foreign)


@dataclass(frozen=True)
class Partitions:
    """The partitions that a table has now, in order; '' where it is a whole. Of `open` ones the window has not ended."""

    keys: tuple[str, ...]
    open: frozenset[str] = frozenset()

    @classmethod
    def of(cls, spec: dg.AssetSpec, now: datetime) -> Partitions:
        if spec.partitions_def is None:
            return cls(("",))
        keys = tuple(spec.partitions_def.get_partition_keys(current_time=now))
        calendar, is_open = calendar_of(time_of(spec.partitions_def)), set[str]()
        for key in reversed(keys if calendar else ()):
            if not calendar or not calendar.window(window_of(key)).is_open(now):
                break
            is_open.add(key)
        return cls(keys, frozenset(is_open))


@dataclass(frozen=True)
class Cause:
    """The input that changed last: its partition, and since when it is as it is; without a table: the code did."""

    table: str
    partition: str
    since: str


@dataclass(frozen=True)
class State:
    """The partitions of one asset. `missing` and `stale` can be built now; `waiting` lack an input."""

    asset: str
    current: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    stale: Mapping[str, Cause | None] = field(default_factory=dict[str, "Cause | None"])
    waiting: Mapping[str, str] = field(default_factory=dict[str, str])
    older_code: tuple[str, ...] = ()
    recode: tuple[str, ...] = ()
    """Those of older code that are stale because of it: the table says `rebuild: on_code_change`."""
    open: tuple[str, ...] = ()
    """Those whose window has not ended."""
    built: Mapping[str, float] = field(default_factory=dict[str, float])
    """When each of the open ones was published last (seconds since 1970)."""
    reads: Mapping[str, int] = field(default_factory=dict[str, int])
    """What each missing or stale partition would read now."""
    changed: Mapping[str, float] = field(default_factory=dict[str, float])
    """When an input of each watched one changed last (seconds since 1970)."""


class Watch:
    """The tables of a lake from one look to the next: one that did not change costs one request, and no thought.

    Now and then everything is read anew: a table that was dropped and made again may go unnoticed until then.
    """

    def __init__(self, anew_seconds: float = 3600.0) -> None:
        self.anew_seconds, self.since = anew_seconds, 0.0
        self.snapshots = dict[str, Snapshot]()
        self.tables = dict[str, Table]()
        self.states = dict[str, tuple[Any, State]]()

    def read(self, lake: Lake, names: Collection[str], now: datetime) -> Mapping[str, Table]:
        """Each table as it is now."""
        if now.timestamp() - self.since >= self.anew_seconds:
            self.since = now.timestamp()
            self.snapshots.clear()
            self.tables.clear()

        def opened(name: str) -> tuple[str, Snapshot, Table | None]:
            known = self.snapshots.get(name)
            found = self._as_it_is(lake, name)
            return name, found, None if found is known and name in self.tables else Table.of(found)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for name, snapshot, table in pool.map(opened, names):
                self.snapshots[name] = snapshot
                if table is not None:
                    self.tables[name] = table
        return self.tables

    def snapshot(self, lake: Lake, name: str) -> Snapshot:
        """One table as it is now."""
        found = self.snapshots[name] = self._as_it_is(lake, name)
        return found

    def _as_it_is(self, lake: Lake, name: str) -> Snapshot:
        stage, _, table = name.partition("/")
        return lake.snapshot(stage, table, self.snapshots.get(name))


def states(
    lake: Lake,
    specs: Mapping[dg.AssetKey, dg.AssetSpec],
    chosen: Iterable[dg.AssetKey],
    now: datetime | None = None,
    causes: bool = True,
    watched: Mapping[str, Collection[str]] | None = None,
    watch: Watch | None = None,
) -> list[State]:
    """The state of each chosen asset that has a table or a receipt. Each table's log is read once.

    `causes`: say of stale partitions which input changed. `watched`, by asset: of which to say when. `watch` remembers
    what was read by an earlier call.
    """
    partitions: dict[dg.PartitionsDefinition | None, Partitions] = {}
    now, watch = now or datetime.now(UTC), watch or Watch()
    read = {key: inputs_of(specs[key], specs) for key in chosen}
    names = {each.edge.table for inputs in read.values() for each in inputs}
    known = watch.read(lake, sorted(names | {table_of(specs[key]) for key in read}), now)
    found = list[State]()
    for key, inputs in read.items():
        spec, name = specs[key], "/".join(key.path)
        there = partitions.get(spec.partitions_def) or Partitions.of(spec, now)
        partitions[spec.partitions_def] = there
        own, tables = known[table_of(spec)], {each.edge.table: known[each.edge.table] for each in inputs}
        seen = (watched or {}).get(name, ())
        # The hour: a window of an input may have ended, so that it has to be there.
        hour = None if all(each.edge.same for each in inputs) else int(now.timestamp() // 3600)
        basis = (spec, own, tuple(tables.values()), there, hour, causes, tuple(sorted(seen)))
        before = watch.states.get(name)
        if before is None or before[0] != basis:
            state = state_of(spec, inputs, own, there, tables, now, causes, seen)
            before = watch.states[name] = basis, state
        found.append(before[1])
    return found


def follows(spec: dg.AssetSpec) -> bool:
    """Whether the asset is built by itself, from inputs, into a table that says what it was built from."""
    return READS in spec.metadata and spec.automation_condition is not None and bool(list(spec.deps))


def state_of(
    spec: dg.AssetSpec,
    inputs: Sequence[Input],
    own: Table,
    partitions: Partitions,
    tables: Mapping[str, Table],
    now: datetime,
    causes: bool = True,
    watched: Collection[str] = (),
) -> State:
    """Compare what each partition was built from with what it would be built from now."""
    edges = [each.edge for each in inputs if each.counts]
    stands = {table: found.stand for table, found in tables.items()}
    reads = read_hashes(edges, stands, partitions.keys) if edges else {}
    code = code_number(spec)
    first = min(partitions.keys, default="")
    current, missing, older, recode = [], [], [], []
    rebuild = bool(code) and plain(spec.metadata.get(REBUILD)) == ON_CODE_CHANGE
    if rebuild:  # what failed with the code of before is tried anew
        asks = {key: number(f"{reads.get(key, 0)} {code}") for key in partitions.keys}
    else:
        asks = reads
    stale, waiting = dict[str, Cause | None](), dict[str, str]()
    chain = set[str]()
    for key in partitions.keys:
        built = own.numbers.get(publish_id(key), 0)
        if built and code and own.numbers.get(code_id(key), code) != code:
            older.append(key)
        as_read = built and (not edges or own.numbers.get(read_id(key), reads[key]) == reads[key])
        by_old_code = rebuild and older[-1:] == [key]
        if as_read and not by_old_code:
            current.append(key)
        elif absent := _absent(inputs, stands, key, first, chain, now):
            waiting[key] = absent
        else:
            chain.add(key)
            if as_read:
                recode.append(key)
                stale[key] = Cause("", "", "")
            elif built:
                stale[key] = _cause(edges_within(inputs, tables, key)) if causes else None
            else:
                missing.append(key)
    asked = [*missing, *stale]
    return State(
        "/".join(spec.key.path), tuple(current), tuple(missing), stale, waiting, tuple(older), tuple(recode),
        tuple(sorted(partitions.open)),
        {key: own.moments.get(publish_id(key), 0) / 1000 for key in partitions.open},
        {key: asks.get(key, 0) for key in asked},
        {
            key: max((moment for moment, *_ in edges_within(inputs, tables, key)), default=0) / 1000
            for key in {*asked} & {*watched}
        },
    )  # fmt: skip


def by_older_code(spec: dg.AssetSpec, table: Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The partitions whose last publish recorded the version of the table's code; and those that recorded another one."""
    code, ids = code_number(spec), code_id("")
    keys = tuple(sorted(app.removeprefix(ids) for app in table.numbers if app.startswith(ids)))
    return keys, tuple(key for key in keys if table.numbers[code_id(key)] != code)


def own_predecessor(spec: dg.AssetSpec, inputs: Sequence[Input]) -> bool:
    """Whether a partition is built from the one before it."""
    return any(each.edge.table == table_of(spec) for each in inputs)


def _absent(
    inputs: Sequence[Input],
    stands: Mapping[str, Stand],
    key: str,
    first: str,
    asked: Collection[str],
    now: datetime,
) -> str:
    """The input without which the partition cannot be built; '' where all are there."""
    for each in inputs:
        edge, stand = each.edge, stands[each.edge.table]
        rows = stand.rows
        low, high = edge.bounds(key)
        if not key or edge.ahead is None or edge.back is None:
            if not stand.any_between(low, high):
                return edge.table if not key or edge.ahead is None else f"{edge.table} {high}"
        elif edge.ahead < 0:  # its own partition before this one
            if not (key == first or high in rows or high in asked):
                return f"{edge.table} {high}"
        elif "" in rows:
            continue
        elif edge.same:
            window = window_of(high.removesuffix(LAST))
            if absent := [found for found in edge.sliced([window], key) if found not in rows]:
                return f"{edge.table} {absent[0]}"
            if edge.slices == () and not stand.any_between(low, high):
                return f"{edge.table} {window}"
        else:
            absent = [found for found in edge.within(key, now) if found not in rows]
            if absent or not stand.any_between(low, high):
                return f"{edge.table} {(absent or [high])[0]}"
    return ""


def edges_within(
    inputs: Sequence[Input], tables: Mapping[str, Table], key: str
) -> list[tuple[int, str, str]]:
    """The partitions that a partition reads: when each changed, its table and its key."""
    found = []
    for each in inputs:
        if each.counts:
            table = tables[each.edge.table]
            for partition, _ in table.stand.between(*each.edge.bounds(key)):
                moment = table.moments.get(rows_id(partition)) or table.moments.get(publish_id(partition), 0)
                found.append((moment, each.edge.table, partition))
    return found


def _cause(found: Sequence[tuple[int, str, str]]) -> Cause | None:
    if not found:
        return None
    moment, table, partition = max(found)
    return Cause(table, partition, datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="seconds"))
