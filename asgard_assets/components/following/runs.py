"""What Dagster's runs say of partitions: which are in a run, and which a person does not want now."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from asgard_assets.components.following.reads import RECEIPT
from asgard_assets.components.following.staleness import State
from asgard_assets.components.partitions import calendar_of

FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
OPEN = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.MANAGED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def specs_of(repository: dg.RepositoryDefinition) -> dict[dg.AssetKey, dg.AssetSpec]:
    return {key: made.specs_by_key[key] for key, made in repository.assets_defs_by_key.items()}


def busy(
    runs: Collection[dg.DagsterRun], repository: dg.RepositoryDefinition
) -> dict[str, Collection[str] | None]:
    """Partitions of these runs, by asset; None where it may be any."""
    found, specs = dict[str, Collection[str] | None](), specs_of(repository)
    for run in runs:
        for asset in run.asset_selection or _of_job(run.job_name, repository):
            name, keys = "/".join(asset.path), _keys(run.tags, asset, specs)
            before = found.get(name, ())
            found[name] = None if keys is None or before is None else {*before, *keys}
    return found


def cancelled(
    instance: dg.DagsterInstance, specs: Mapping[dg.AssetKey, dg.AssetSpec], newest: int = 200
) -> dict[str, dict[str, float]]:
    """When a person ended a run of a partition last (seconds since 1970), by asset."""
    found = dict[str, dict[str, float]]()
    for record in instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.CANCELED]), limit=newest):
        run = record.dagster_run
        for asset in run.asset_selection or ():
            times = found.setdefault("/".join(asset.path), {})
            for key in _keys(run.tags, asset, specs) or ("",):
                times[key] = max(times.get(key, 0.0), record.end_time or 0.0)
    return found


def with_history(state: State, spec: dg.AssetSpec, instance: dg.DagsterInstance) -> State:
    """The state of an asset whose rows lie outside the lake: what was built before there were receipts is not missing."""
    if RECEIPT not in spec.metadata or not state.missing:
        return state
    if spec.partitions_def is None:
        built = {""} if instance.get_latest_materialization_event(spec.key) else set[str]()
    else:
        built = instance.get_materialized_partitions(spec.key)
    missing = tuple(key for key in state.missing if key not in built)
    return replace(state, missing=missing, current=(*state.current, *({*state.missing} - {*missing})))


def _keys(
    tags: Mapping[str, str], asset: dg.AssetKey, specs: Mapping[dg.AssetKey, dg.AssetSpec]
) -> Collection[str] | None:
    if partition := tags.get("dagster/partition"):
        return (partition,)
    if not (tags.get(FIRST) and tags.get(LAST)):
        return None
    calendar = calendar_of(specs[asset].partitions_def) if asset in specs else None
    return calendar.between(tags[FIRST], tags[LAST]) if calendar else None


def _of_job(name: str, repository: dg.RepositoryDefinition) -> Iterator[dg.AssetKey]:
    if repository.has_job(name):
        yield from repository.get_job(name).asset_layer.selected_asset_keys
