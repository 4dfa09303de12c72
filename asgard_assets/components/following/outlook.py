"""What is to be expected of an asset's partitions: what the lake says, and what became of the runs that were asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg

from asgard_assets.components.following.asking import TRIES, Memory
from asgard_assets.components.following.runs import cancelled, with_history
from asgard_assets.components.following.sensor import NAME, remembered, specs_of
from asgard_assets.components.following.staleness import State, follows, states
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
) -> list[Outlook]:
    """That of each chosen asset that follows its inputs. `memory` is the sensor's; default: as the instance has it."""
    specs = specs_of(repository)
    keys = [key for key in chosen if key in specs and follows(specs[key])]
    if not keys:
        return []
    ended = cancelled(instance, repository)
    memory = _memory(instance) if memory is None else memory
    found = list[Outlook]()
    for state in states(lake, specs, keys, watched=ended):
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


def _memory(instance: dg.DagsterInstance) -> Memory:
    """What the sensor remembers; nothing where it never ticked."""
    for each in instance.all_instigator_state():
        cursor = getattr(each.instigator_data, "cursor", None)
        if each.instigator_name == NAME and cursor and (found := remembered(cursor)):
            return found
    return {}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
