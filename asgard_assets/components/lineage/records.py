"""The steps of a run, from what Dagster recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from asgard_assets.components.lineage.graph import Graph
from asgard_assets.telemetry.lineage.steps import Assertion, End, Step

_KIND = dg.DagsterEventType
_READ = {
    _KIND.ASSET_MATERIALIZATION_PLANNED,
    _KIND.ASSET_MATERIALIZATION,
    _KIND.ASSET_CHECK_EVALUATION,
    _KIND.STEP_START,
    _KIND.STEP_SUCCESS,
    _KIND.STEP_FAILURE,
}
_ROWS = ("dagster/partition_row_count", "dagster/row_count", "rows", "records")


@dataclass
class _Asset:
    """What a run's events say of one asset."""

    step: str = ""
    partitions: list[str] = field(default_factory=list[str])
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    rows: int | None = None
    checks: list[Assertion] = field(default_factory=list[Assertion])


@dataclass
class _Times:
    started: datetime | None = None
    ended: datetime | None = None
    end: End | None = None
    error: str = ""


def steps_of(instance: dg.DagsterInstance, run: dg.DagsterRun, graph: Graph) -> list[Step]:
    """Each asset that the run made or tried to, and that has begun."""
    assets, times = dict[str, _Asset](), dict[str, _Times]()
    last: datetime | None = None
    for entry in instance.all_logs(run.run_id, of_type=_READ):
        event, last = entry.dagster_event, datetime.fromtimestamp(entry.timestamp, UTC)
        if event is not None:
            _note(event, last, entry.step_key or "", assets, times)
    found = list[Step]()
    for name, asset in assets.items():
        at = times.get(asset.step)
        if at is None or at.started is None:
            continue
        if run.is_finished and at.end is None:  # its process was killed, or the run was cancelled
            at.end, at.ended = "ABORT", last
        found.append(_step(run, graph, name, asset, at))
    return found


def _note(
    event: dg.DagsterEvent,
    moment: datetime,
    step: str,
    assets: dict[str, _Asset],
    times: dict[str, _Times],
) -> None:
    kind, at = event.event_type, times.setdefault(step, _Times())
    if kind is _KIND.STEP_START:
        at.started = at.started or moment
    elif kind is _KIND.STEP_SUCCESS:
        at.ended, at.end = moment, "COMPLETE"
    elif kind is _KIND.STEP_FAILURE:
        at.ended, at.end, at.error = moment, "FAIL", _reason(event)
    elif kind is _KIND.ASSET_CHECK_EVALUATION:
        told = event.asset_check_evaluation_data
        severity = "warn" if told.severity is dg.AssetCheckSeverity.WARN else "error"
        asset = assets.setdefault(told.asset_key.to_user_string(), _Asset(step))
        asset.checks.append(Assertion(told.check_name, told.passed, severity))
    elif event.asset_key is not None:
        asset = assets.setdefault(event.asset_key.to_user_string(), _Asset(step))
        asset.step = asset.step or step
        if event.partition and event.partition not in asset.partitions:
            asset.partitions.append(event.partition)
        if kind is _KIND.ASSET_MATERIALIZATION:
            _count(asset, event.step_materialization_data.materialization.metadata)


def _count(asset: _Asset, metadata: Mapping[str, Any]) -> None:
    asset.metadata |= metadata
    told = next((metadata[name].value for name in _ROWS if name in metadata), None)
    if isinstance(told, int):
        asset.rows = (asset.rows or 0) + told


def _reason(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error
    while error is not None and error.cause:
        error = error.cause
    return error.message.strip() if error else "failed"


def _step(run: dg.DagsterRun, graph: Graph, name: str, asset: _Asset, at: _Times) -> Step:
    spec = graph.specs.get(name)
    told = {key: getattr(value, "value", None) for key, value in asset.metadata.items()}
    size, version = told.get("bytes"), told.get("version")
    assert at.started is not None
    return Step(
        run.run_id,
        run.job_name.strip("_") or "run",
        name,
        at.started,
        graph.dataset(name, asset.metadata),
        graph.inputs(name),
        at.ended,
        at.end,
        at.error,
        asset.partitions,
        list(spec.owners) if spec else [],
        asset.rows,
        size if isinstance(size, int) else None,
        "" if version is None else str(version),
        asset.checks,
        spec is not None and "kafka" in spec.kinds,
    )
