"""Runs of assets in this process: which runs a selection needs, in which order, and how each ended.

Assets that share a calendar share a run. Where a selection spans several calendars, or needs partitions that do not
lie side by side, it takes several runs: upstream ones first.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.files.plan.control import SOURCE_TAG
from asgard_assets.operations.partitions import shown
from asgard_assets.windows import slice_of, value_of

if TYPE_CHECKING:
    import dagster as dg

TAG = "asgard/command"
"""Tag of the runs that a command started; its value is the launch's own id."""


@dataclass(frozen=True)
class Launch:
    """One run: these assets, for these partitions in order; none where they have no partitions. `source`: which one it loads."""

    assets: tuple[str, ...]
    partitions: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    id: str = field(default_factory=lambda: uuid.uuid4().hex, compare=False)
    source: str = ""

    @property
    def title(self) -> str:
        """What is run, in a few words."""
        named = ", ".join(self.assets[:3]) + (
            f" and {len(self.assets) - 3} more" if len(self.assets) > 3 else ""
        )
        return f"{named} {shown(self.partitions)}" if self.partitions else named

    @property
    def tags(self) -> dict[str, str]:
        """How Dagster is told of the partitions."""
        own = {TAG: self.id, **({SOURCE_TAG: self.source} if self.source else {})}
        if not self.partitions:
            return own
        if len(self.partitions) == 1:
            return {**own, "dagster/partition": self.partitions[0]}
        first, last = self.partitions[0], self.partitions[-1]
        return {
            **own,
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }


@dataclass(frozen=True)
class Ran:
    """How a launch ended. `skipped`: an upstream run failed. `reasons`: one for each failed asset."""

    assets: tuple[str, ...]
    partitions: tuple[str, ...]
    ok: bool
    seconds: float = 0.0
    run_id: str = ""
    reasons: tuple[str, ...] = ()
    skipped: bool = False


Wanted = Mapping[str, Sequence[str] | None]
"""Partitions by asset; None: the asset has none, and is wanted once."""


def launches(
    graph: dg.AssetGraph, wanted: Wanted, config: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Launch]:
    """The runs that materialize what is wanted, upstream ones first. `config` is that of each asset's op."""
    found, wanted = [], _whole_steps(graph, wanted)
    for level in _levels(graph, wanted):
        limit = _most_partitions(graph, level[0])
        for assets, keys in _stretches(graph, level, wanted):
            step = limit or len(keys) or 1
            ops = {
                name: {"config": dict(how)} for a in assets for name, how in (config or {}).get(a, {}).items()
            }
            for start in range(0, max(len(keys), 1), step):
                found.append(Launch(assets, keys[start : start + step], {"ops": ops} if ops else {}))
    return found


def launch(
    graph: dg.AssetGraph,
    todo: Sequence[Launch],
    run: Callable[[Launch], Ran],
    tell: Callable[[Ran], None] = lambda _: None,
) -> list[Ran]:
    """Run all of them in order. What stands on a run that failed is skipped; the others still run.

    `tell` is called with each as soon as it has ended.
    """
    done = list[Ran]()
    for one in todo:
        skipped = _blocked(graph, one, done)
        done.append(Ran(one.assets, one.partitions, ok=False, skipped=True) if skipped else run(one))
        tell(done[-1])
    return done


def execute(one: Launch, instance: dg.DagsterInstance) -> Ran:
    """Run it in this process, on the project's definitions, and say how it ended."""
    import dagster as dg

    from asgard_assets import project
    from asgard_assets.resources.steps import execute as run

    began, found = time.monotonic(), project.current()
    found.importable()
    config = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}, **one.config}
    ok = run(found.module, str(found.folder), one.assets, instance, one.tags, config)
    records = instance.get_run_records(dg.RunsFilter(tags={TAG: one.id}), limit=1)
    run_id = records[0].dagster_run.run_id if records else ""
    reasons = () if ok or not run_id else tuple(failures(instance, run_id))
    return Ran(one.assets, one.partitions, ok, time.monotonic() - began, run_id, reasons)


def failures(instance: dg.DagsterInstance, run_id: str) -> Iterator[str]:
    """The failed steps of a run, each with its innermost reason."""
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is None or not event.is_step_failure:
            continue
        data = event.step_failure_data
        error = data.error
        while error and error.cause:
            error = error.cause
        said = data.user_failure_data.description if data.user_failure_data else None
        reason = said or (error.message.strip() if error else "unknown")
        yield f"{(entry.step_key or '').replace('__', '/')}: {reason}"


def _whole_steps(graph: dg.AssetGraph, wanted: Wanted) -> Wanted:
    """The wanted assets, and those that can only be made together with one of them."""
    import dagster as dg

    found = dict(wanted)
    for name, keys in wanted.items():
        for other in graph.get(dg.AssetKey.from_user_string(name)).execution_set_asset_keys:
            found.setdefault(other.to_user_string(), keys)
    return found


def _levels(graph: dg.AssetGraph, wanted: Wanted) -> list[list[dg.AssetKey]]:
    """The wanted assets, cut so that each level has one calendar and no asset stands on a later level."""
    levels: list[tuple[Any, list[dg.AssetKey]]] = []
    lowest: dict[dg.AssetKey, int] = {}  # the first level that an asset may be on, wanted or not
    for key in graph.toposorted_asset_keys:
        kind = _kind(graph, key) if key.to_user_string() in wanted else None
        floor = 0
        for parent in graph.get(key).parent_keys:
            below = lowest.get(parent, -1)
            own = kind is not None and 0 <= below < len(levels) and levels[below][0] == kind
            own = own and parent.to_user_string() in wanted
            floor = max(floor, below if own or kind is None else below + 1)
        if kind is None:
            lowest[key] = max((lowest.get(parent, -1) for parent in graph.get(key).parent_keys), default=-1)
            continue
        place = next((n for n in range(floor, len(levels)) if levels[n][0] == kind), None)
        if place is None:
            levels.append((kind, []))
            place = len(levels) - 1
        levels[place][1].append(key)
        lowest[key] = place
    return [keys for _, keys in levels]


def _kind(graph: dg.AssetGraph, key: dg.AssetKey) -> tuple[Any, ...]:
    """What assets of one run must share: the calendar, and how many of its partitions a run takes."""
    node = graph.get(key)
    return (node.partitions_def, _most_partitions(graph, key))


def _most_partitions(graph: dg.AssetGraph, key: dg.AssetKey) -> int | None:
    """How many partitions of an asset a run may have; None: any number."""
    node = graph.get(key)
    if node.partitions_def is None:
        return None
    policy = node.backfill_policy
    return 1 if policy is None else policy.max_partitions_per_run


def _stretches(
    graph: dg.AssetGraph, level: Sequence[dg.AssetKey], wanted: Wanted
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Gapless stretches of partitions in calendar order, each with the assets that want all of it."""
    definition = graph.get(level[0]).partitions_def
    names = [key.to_user_string() for key in level]
    if definition is None:
        yield tuple(names), ()
        return
    asked = {name: set(wanted[name] or ()) for name in names}
    for order in _orders(definition, set().union(*asked.values())):
        assets, keys = (), list[str]()
        for key in order:
            who = tuple(name for name in names if key in asked[name])
            if who != assets and keys:
                yield assets, tuple(keys)
                keys = []
            assets = who
            if who:
                keys.append(key)
        if keys:
            yield assets, tuple(keys)


def _orders(definition: dg.PartitionsDefinition, asked: Set[str]) -> Iterator[list[str]]:
    """All partitions, in order; of slices those of one value after the other, for a range of Dagster's is of one."""
    from asgard_assets.components.partitions import keys_of, time_of

    time = time_of(definition)
    if time is None or time is definition:
        yield list(definition.get_partition_keys())
        return
    windows = keys_of(time)
    for value in sorted({value_of(key) for key in asked}):
        yield [slice_of(window, value) for window in windows]


def _blocked(graph: dg.AssetGraph, one: Launch, done: Sequence[Ran]) -> bool:
    """Whether a run failed, or was skipped, on whose partitions this one stands."""
    bad = [ran for ran in done if not ran.ok]
    if not bad:
        return False
    above = _ancestors(graph, one.assets)
    for ran in bad:
        same = not one.partitions or not ran.partitions or not set(one.partitions).isdisjoint(ran.partitions)
        other = (
            len({graph.get(_key(graph, a)).partitions_def for a in (*one.assets[:1], *ran.assets[:1])}) > 1
        )
        if (same or other) and not above.isdisjoint(ran.assets):
            return True
    return False


def _ancestors(graph: dg.AssetGraph, assets: Sequence[str]) -> set[str]:
    found, todo = set[str](), [_key(graph, asset) for asset in assets]
    while todo:
        for parent in graph.get(todo.pop()).parent_keys:
            if parent.to_user_string() not in found:
                found.add(parent.to_user_string())
                todo.append(parent)
    return found


def _key(graph: dg.AssetGraph, asset: str) -> dg.AssetKey:
    import dagster as dg

    return dg.AssetKey.from_user_string(asset)
