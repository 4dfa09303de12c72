"""Sends lineage of runs to OPENLINEAGE_URL. It reads what Dagster recorded, so an endpoint that is away costs no run."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import dagster as dg

from asgard_assets.components.lineage.graph import Graph
from asgard_assets.components.lineage.records import steps_of
from asgard_assets.lake import Lake
from asgard_assets.settings import Settings
from asgard_assets.telemetry.lineage.events import all_events
from asgard_assets.telemetry.lineage.send import LineageAway, send

NAME = "lineage"
MOST_RUNS = 50
"""Runs that one tick tells of."""
_LOOKED_AT = 1000
_OVERLAP = timedelta(seconds=60)  # clocks of the processes that write the history differ
_BEGUN = [
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]


def lineage_sensor() -> dg.SensorDefinition:
    """Tells of each run when it has begun and when it has ended, at the latest 30 s later."""

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends OpenLineage events of runs to OPENLINEAGE_URL.",
    )
    def tell_lineage(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        assert context.repository_def is not None
        specs = [node.to_asset_spec() for node in context.repository_def.asset_graph.asset_nodes]
        said, cursor = told(context.instance, Graph.of(specs, Lake.from_settings()), context.cursor or "")
        context.update_cursor(cursor)
        return dg.SkipReason(said)

    return tell_lineage


def told(
    instance: dg.DagsterInstance, graph: Graph, cursor: str, url: str = "", now: datetime | None = None
) -> tuple[str, str]:
    """Send what came since the cursor; returns what was done, and the new cursor. Where nobody takes it, the old one.

    The first time it begins with the runs of now: history from before is not sent.
    """
    now, url = now or datetime.now(UTC), url or Settings().openlineage_url
    if not cursor:
        return "begins with the runs from now on", json.dumps({"since": now.isoformat(), "sent": {}})
    state = json.loads(cursor)
    since, sent = datetime.fromisoformat(state["since"]), dict[str, str](state["sent"])
    wanted = dg.RunsFilter(statuses=_BEGUN, updated_after=since - _OVERLAP)
    records = instance.get_run_records(wanted, limit=_LOOKED_AT, order_by="update_timestamp", ascending=True)
    news = [one for one in records if sent.get(one.dagster_run.run_id) != one.dagster_run.status.value]
    count = 0
    try:
        for record in news[:MOST_RUNS]:
            count += send(url, all_events(steps_of(instance, record.dagster_run, graph)))
            sent[record.dagster_run.run_id] = record.dagster_run.status.value
            since = max(since, record.update_timestamp.replace(tzinfo=UTC))
    except LineageAway as error:
        return f"{error.message} The next tick goes on", json.dumps(
            {"since": since.isoformat(), "sent": sent}
        )
    kept = {one.dagster_run.run_id for one in records}
    after = json.dumps(
        {"since": since.isoformat(), "sent": {run: s for run, s in sent.items() if run in kept}}
    )
    return f"{count} events of {len(news[:MOST_RUNS])} runs" if news else "no run has changed", after
