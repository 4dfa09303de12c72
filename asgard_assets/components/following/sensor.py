"""The sensor that asks for what is missing or stale. What it remembers is a help: without it a few runs are tried again."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster import RunsFilter

from asgard_assets.components.following.asking import (
    LONGEST,
    MOST,
    TRIES,
    Ask,
    Followed,
    Plan,
    plan,
)
from asgard_assets.components.following.memory import NAME, remembered, remembered_answers, written
from asgard_assets.components.following.outlook import outlooks
from asgard_assets.components.following.reads import (
    CORRECTIONS,
    NEVER_BUILT,
    OPEN_WINDOWS,
    inputs_of,
    table_of,
)
from asgard_assets.components.following.runs import FIRST, LAST, OPEN, busy, cancelled, specs_of, with_history
from asgard_assets.components.following.staleness import Watch, follows, own_predecessor, states
from asgard_assets.components.following.up_to_date import (
    UP_TO_DATE,
    evaluations,
    other_checks,
    to_tell,
)
from asgard_assets.components.partitions import calendar_of, second_of, tags_of, time_of
from asgard_assets.components.platform.alerts import alert
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from asgard_assets.windows import Every

log = logging.getLogger(__name__)

ASK = "asgard/ask"
"""Tag of the runs that the sensor asks for: which try it is."""
TOGETHER = 8
"""Assets of one run at most."""

_A_DAY: Mapping[Every, float] = {"hour": 24, "day": 1, "week": 1 / 7, "month": 1 / 31}
"""Windows of a day."""


def following(
    pace_seconds: float = 0.0, clock: Callable[[], float] = time.time, every_seconds: int = 30
) -> dg.SensorDefinition:
    """Asks for partitions that were never built and whose inputs exist, and for those whose inputs changed.

    It compares the lake with itself: what it asks for depends on no event, no earlier run and no cursor. What was seen
    for the first time waits for `pace_seconds`: for a project in which others ask too.
    """

    watch = Watch()

    @dg.sensor(
        name=NAME,
        asset_selection=dg.AssetSelection.all(),  # a `target` would want one calendar for all
        minimum_interval_seconds=every_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for what is missing or stale, as the lake itself says. Tries what fails again for hours, then "
        "tells the owner.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        assert context.repository_def is not None
        repository, now, lake = context.repository_def, clock(), Lake.from_settings()
        runs = context.instance.get_runs(RunsFilter(statuses=OPEN))
        following = followed(lake, repository, context.instance, now, watch)
        found = plan(
            following,
            remembered(context.cursor),
            busy(runs, repository),
            now,
            pace_seconds,
            MOST - sum(ASK in run.tags for run in runs),
        )
        tell(found, specs_of(repository))
        due, answers = to_tell([each.state for each in following], remembered_answers(context.cursor), now)
        checks = _with_check(repository, due)
        shown = outlooks(lake, repository, context.instance, checks, found.memory, now) if checks else []
        waits = "nothing is missing or stale" if not found.memory else _waiting(found)
        return dg.SensorResult(
            run_requests=requests(found.asks, repository.asset_graph),
            skip_reason=None if found.asks else waits,
            cursor=written(found.memory, answers),
            asset_events=evaluations(shown),
        )

    return sensor


def followed(
    lake: Lake,
    repository: dg.RepositoryDefinition,
    instance: dg.DagsterInstance,
    now: float,
    watch: Watch | None = None,
) -> list[Followed]:
    """The assets that follow their inputs with their state, inputs first."""
    graph, specs = repository.asset_graph, specs_of(repository)
    chosen = [key for key in graph.toposorted_asset_keys if key in specs and follows(specs[key])]
    chosen = [key for key in chosen if graph.get(key).is_executable]
    makers = {table_of(spec): "/".join(key.path) for key, spec in specs.items()}
    found, ended, settings = list[Followed](), cancelled(instance, specs), Settings()
    at = datetime.fromtimestamp(now, UTC)
    with dg.partition_loading_context(at, instance):  # values that were added while the platform runs
        seen = states(lake, specs, chosen, at, causes=False, watched=ended, watch=watch)
    for state in seen:
        key = dg.AssetKey(state.asset.split("/"))
        spec, policy = specs[key], graph.get(key).backfill_policy
        inputs, times = inputs_of(spec, specs), ended.get(state.asset, {})
        most = policy.max_partitions_per_run if policy else 1
        found.append(
            Followed(
                with_history(state, spec, instance),
                tuple(each.edge for each in inputs),
                makers,
                corrections=_corrections(spec, settings.lookback_days),
                never_built=_said(spec, NEVER_BUILT, None),
                in_order=own_predecessor(spec, inputs),
                longest=1
                if second_of(spec.partitions_def)
                else LONGEST
                if most is None
                else min(most, LONGEST),
                whole=spec.partitions_def is None,
                held={key for key, changed in state.changed.items() if changed < times[key]},
                open_pace=settings.open_window_minutes * 60.0 if _said(spec, OPEN_WINDOWS, False) else None,
            )
        )
    return found


def _corrections(spec: dg.AssetSpec, default: int) -> int:
    """How many of the newest partitions follow a correction."""
    calendar, second = calendar_of(time_of(spec.partitions_def)), second_of(spec.partitions_def)
    days = int(_said(spec, CORRECTIONS, default))
    values = max(len(second[1]), 1) if second else 1
    return math.ceil(days * _A_DAY[calendar.every]) * values if calendar else days


def _said(spec: dg.AssetSpec, name: str, default: Any) -> Any:
    said = spec.metadata.get(name, default)
    return said.value if isinstance(said, dg.MetadataValue) else said


def _with_check(repository: dg.RepositoryDefinition, assets: Sequence[str]) -> list[dg.AssetKey]:
    """Those of the assets that have the check `up_to_date`."""
    keys = [dg.AssetKey(asset.split("/")) for asset in assets]
    there = repository.asset_graph.asset_check_keys
    return [key for key in keys if dg.AssetCheckKey(key, UP_TO_DATE) in there]


def requests(asks: Sequence[Ask], graph: dg.AssetGraph) -> list[dg.RunRequest]:
    """Runs, without a run key: what failed may be asked for again. Assets of one calendar that are asked for the same
    partitions share a run: its process, and its Spark, start once."""
    shared = dict[Any, list[Ask]]()
    for ask in asks:
        definition = graph.get(dg.AssetKey(ask.asset.split("/"))).partitions_def
        alike = [key for key in shared if key[:3] == (definition, ask.keys, ask.new)]
        number = len(alike) - 1 if alike and len(shared[alike[-1]]) < TOGETHER else len(alike)
        shared.setdefault((definition, ask.keys, ask.new, number), []).append(ask)
    return [_request(each, graph) for each in shared.values()]


def _request(asks: Sequence[Ask], graph: dg.AssetGraph) -> dg.RunRequest:
    ask, keys = asks[0], [dg.AssetKey(ask.asset.split("/")) for ask in asks]
    tags = {ASK: str(max(each.tries for each in asks)), "dagster/priority": "0" if ask.new else "-1"}
    partition = ask.keys[0] if ask.keys else None
    if len(ask.keys) > 1:
        tags, partition = tags | {FIRST: ask.keys[0], LAST: ask.keys[-1]}, None
    elif partition:
        tags |= tags_of(graph.get(keys[0]).partitions_def, partition)
    with warnings.catch_warnings():
        # Dagster's own tags of partitions with a second dimension are none that it calls well-formed.
        warnings.filterwarnings("ignore", "Non-compliant tag keys")
        return dg.RunRequest(
            asset_selection=keys,
            asset_check_keys=[check for key in keys for check in other_checks(graph, key)],
            tags=tags,
            partition_key=partition,
        )


def tell(found: Plan, specs: Mapping[dg.AssetKey, dg.AssetSpec]) -> None:
    """Tell each owner once what was tried in vain."""
    for asset, keys in found.failed.items():
        shown = ", ".join(filter(None, keys[:5])) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
        text = f"Asgard: {asset} {shown} failed {TRIES} times. It is tried again when an input changes."
        owners = list(specs[dg.AssetKey(asset.split("/"))].owners)
        try:
            alert(text, owners, {"assets": asset, "partition": shown})
        except (ConfigError, OSError) as error:
            log.error("nobody could be told: %s", error)


def _waiting(found: Plan) -> str:
    counted = {asset: len(keys) for asset, keys in found.memory.items()}
    return "asked for, or to be tried again later: " + ", ".join(f"{a} ({n})" for a, n in counted.items())
