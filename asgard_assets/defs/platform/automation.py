"""What runs without being asked: the automation sensor, the daily pull, and the alert on failure."""

from __future__ import annotations

import json
import urllib.request

import dagster as dg

from asgard_assets.components.partitions import daily
from asgard_assets.settings import Settings


@dg.definitions
def automation() -> dg.Definitions:
    """Automation conditions are evaluated every 30 s; pulls from APIs run each night; failures reach the owner."""
    everything = dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Carries new Bronze data through Silver, Gold and features to predictions.",
    )
    pull = dg.define_asset_job(
        "daily_pull",
        selection=dg.AssetSelection.groups("bronze") & dg.AssetSelection.tag("pull", "daily"),
        partitions_def=daily(),
        description="Pull yesterday's window of every source tagged `pull: daily`.",
    )
    nightly = dg.build_schedule_from_partitioned_job(
        pull, hour_of_day=2, default_status=dg.DefaultScheduleStatus.RUNNING, name="daily_pull"
    )
    return dg.Definitions(sensors=[everything, alert_owner], schedules=[nightly], jobs=[pull])


@dg.run_failure_sensor(
    name="alert_owner",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Post failed runs to ASGARD_ALERT_WEBHOOK (Slack's and Teams' incoming format: a `text` field).",
)
def alert_owner(context: dg.RunFailureSensorContext) -> None:
    """Tell the owner which assets failed and why; does nothing where no webhook is set."""
    url = Settings().alert_webhook
    if not url:
        return
    run = context.dagster_run
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or run.job_name
    partition = run.tags.get("dagster/partition") or run.tags.get("dagster/asset_partition_range_start", "")
    text = f"Asgard: {assets} {partition} failed: {context.failure_event.message or 'see the run'} (run {run.run_id})"
    request = urllib.request.Request(  # noqa: S310
        url, json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
