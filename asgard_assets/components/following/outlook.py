"""What is to be expected of an asset's partitions: what the lake says, and what became of the runs that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg

from asgard_assets.components.following.asking import TRIES, Memory
from asgard_assets.components.following.memory import NAME, remembered
from asgard_assets.components.following.runs import cancelled, specs_of, with_history
from asgard_assets.components.following.staleness import State, Table, Watch, by_older_code, follows, states
from asgard_assets.lake import Lake


@dataclass(frozen=True)
class Failing:
    """How often a partition was asked for in vain, and when it is asked for again; '' once an input changes."""

    tries: int
    next: str


@dataclass(frozen=True)
class Outlook:
    """An asset's state in the lake; what of it fails; and what waits because a person cancelled its run."""

    state: State
    failed: Mapping[str, Failing] = field(default_factory=dict[str, Failing])
    held: tuple[str, ...] = ()


def outlooks(
    lake: Lake,
    repository: dg.RepositoryDefinition,
    instance: dg.DagsterInstance,
    chosen: Sequence[dg.AssetKey],
    memory: Memory | None = None,
    now: float | None = None,
    watch: Watch | None = None,
) -> list[Outlook]:
    """That of each chosen asset that follows its inputs. `memory` is the sensor's; default: as the instance has it.
    `watch` remembers what was read by an earlier call."""
    return outlooks_of(lake, specs_of(repository), instance, chosen, memory, now, watch)


def outlooks_of(
    lake: Lake,
    specs: Mapping[dg.AssetKey, dg.AssetSpec],
    instance: dg.DagsterInstance,
    chosen: Sequence[dg.AssetKey],
    memory: Memory | None = None,
    now: float | None = None,
    watch: Watch | None = None,
) -> list[Outlook]:
    """The same, of these assets alone."""
    at = datetime.fromtimestamp(now, UTC) if now else None
    found = [_loaded(lake, specs[key]) for key in chosen if key in specs and not follows(specs[key])]
    found = [each for each in found if each.state.older_code]
    keys = [key for key in chosen if key in specs and follows(specs[key])]
    if not keys:
        return found
    ended = cancelled(instance, specs)
    memory = _memory(instance) if memory is None else memory
    with dg.partition_loading_context(at, instance):
        seen = states(lake, specs, keys, at, watched=ended, watch=watch)
    for state in seen:
        times = ended.get(state.asset, {})
        tried = {
            key: Failing(attempt.tries, "" if attempt.tries >= TRIES else _moment(attempt.at))
            for key, attempt in memory.get(state.asset, {}).items()
            if attempt.tries and attempt.reads == state.reads.get(key)
        }
        held = tuple(sorted(key for key, changed in state.changed.items() if changed < times[key]))
        spec = specs[dg.AssetKey(state.asset.split("/"))]
        found.append(Outlook(with_history(state, spec, instance), tried, held))
    return found


def told(outlook: Outlook) -> Iterator[str]:
    """A line for each stretch of partitions that is not up to date."""
    state = outlook.state
    order = sorted({*state.current, *state.missing, *state.stale, *state.waiting})
    for each in _ranges(state.missing, order):
        yield f"missing     {each}"
    for cause in dict.fromkeys(state.stale.values()):
        why = f"{cause.table} {cause.partition} changed at {cause.since}" if cause else "an input is gone"
        why = "the table's code changed" if cause and not cause.table else why
        for each in _ranges([key for key, found in state.stale.items() if found == cause], order):
            yield f"stale       {each}: {why}"
    for key, failing in outlook.failed.items():
        again = f"again at {failing.next}" if failing.next else "again once an input changes"
        yield f"failed      {key or 'the table'}: asked for {failing.tries} times, {again}"
    for each in _ranges(outlook.held, order):
        yield f"held        {each}: its run was cancelled; until an input changes, or you run it"
    for each in _ranges(state.older_code, order):
        yield f"older code  {each}"
    for each in _ranges(state.open, order):
        yield f"open        {each}"
    if state.waiting:
        key, absent = next(iter(state.waiting.items()))
        shown = ", ".join(_ranges(list(state.waiting), order))
        yield f"waiting     {shown}: {key or 'the table'} lacks {absent}"


def _ranges(keys: Sequence[str], order: Sequence[str]) -> list[str]:
    """The keys as ranges; in `order` are all that there are."""
    if list(keys) == [""]:
        return ["the table"]
    found = list[list[str]]()
    place = {key: number for number, key in enumerate(order)}
    for key in sorted(keys):
        if found and place[key] == place[found[-1][-1]] + 1:
            found[-1].append(key)
        else:
            found.append([key])
    return [each[0] if len(each) == 1 else f"{each[0]}...{each[-1]}" for each in found]


def _loaded(lake: Lake, spec: dg.AssetSpec) -> Outlook:
    """Of a table that a source fills, what it loaded under another YAML."""
    name = "/".join(spec.key.path)
    if not spec.code_version or len(spec.key.path) != 2:
        return Outlook(State(name))
    every, older = by_older_code(spec, Table.of(lake.snapshot(spec.key.path[0], spec.key.path[1])))
    return Outlook(State(name, current=every, older_code=older))


def _memory(instance: dg.DagsterInstance) -> Memory:
    """What the sensor remembers; nothing where it never ticked."""
    for each in instance.all_instigator_state() if instance.schedule_storage else ():
        cursor = getattr(each.instigator_data, "cursor", None)
        if each.instigator_name == NAME and cursor and (found := remembered(cursor)):
            return found
    return {}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
