"""What runs without being asked: the sensors that ask, and the alert on failure. Sources have their own schedules."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from asgard_assets.components.following.sensor import ASK, following
from asgard_assets.components.lineage.sensor import lineage_sensor
from asgard_assets.components.platform.alerts import alert
from asgard_assets.components.platform.breaking import about_to_break
from asgard_assets.components.platform.freshness import freshness_alerts
from asgard_assets.settings import Settings

_REASON = 2_000
"""Characters of a reason in a message: Slack and Teams cut or refuse long ones."""


@dg.definitions
def automation() -> dg.Definitions:
    """What is missing or stale is asked for as the lake tells it; failures reach the owner."""
    sensors = [following(), alert_owner, freshness_alerts(), about_to_break()]
    return dg.Definitions(sensors=[*sensors, lineage_sensor()] if Settings().openlineage_url else sensors)


@dg.run_failure_sensor(
    name="alert_owner",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells owners which of their runs failed and why, by webhook and e-mail.",
)
def alert_owner(context: dg.RunFailureSensorContext) -> None:
    """Tell the owners which assets failed and why; does nothing where no webhook is set.

    A run that `following` asked for is told by that sensor, once it gives up.
    """
    run = context.dagster_run
    if ASK in run.tags:
        return
    keys = sorted(run.asset_selection or _planned(context))
    named = ", ".join(key.to_user_string() for key in keys) or run.job_name
    partition = run.tags.get("dagster/partition") or run.tags.get("dagster/asset_partition_range_start", "")
    alert(
        f"Asgard: {named} {partition} failed: {_reason(context)} (run {run.run_id})",
        _owners(context, keys),
        {"run_id": run.run_id, "assets": named, "partition": partition},
    )


def _reason(context: dg.RunFailureSensorContext) -> str:
    """What the failed steps say themselves, such as the files that cannot be read; else what Dagster says of the run."""
    told = []
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        given, error = data.user_failure_data, data.error
        cause = (error.cause or error).message.strip() if error else ""
        told.append((given.description if given else None) or cause)
    reason = "; ".join(filter(None, told)) or context.failure_event.message or "see the run"
    return reason if len(reason) <= _REASON else f"{reason[:_REASON]} …"


def _planned(context: dg.RunFailureSensorContext) -> set[dg.AssetKey]:
    """What the run was to materialize, where it was asked for as a job and not by a selection."""
    planned = context.instance.all_logs(
        context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    )
    events = [entry.dagster_event for entry in planned if entry.dagster_event is not None]
    return {event.asset_key for event in events if event.asset_key is not None}


def _owners(context: dg.RunFailureSensorContext, keys: Sequence[dg.AssetKey]) -> list[str]:
    """Owners of the run's assets; of none that this code location does not know."""
    repository = context.repository_def
    if repository is None:
        return []
    graph = repository.asset_graph
    return sorted({owner for key in keys if graph.has(key) for owner in graph.get(key).owners})
