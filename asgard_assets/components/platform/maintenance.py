"""The nightly maintenance, as assets: of the lake small files compacted, old ones removed; of Dagster's history old runs."""

# No `from __future__ import annotations`: Dagster wants the type of `context`, not its name.
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from asgard_assets.components.failures import clear_failures, retry_policy
from asgard_assets.resources.lake import LakeResource
from asgard_assets.settings import Settings


class Maintenance(dg.Config):
    """What a run may be told; the defaults are right for every night."""

    tables: list[str] = Field(default=[], description="Tables to maintain, as stage/name. Empty: all.")
    retention_hours: float = Field(
        default=168, description="Files that no version of the last so many hours needs are removed."
    )
    staging_hours: float = Field(
        default=48, description="Staged files of killed runs are removed after so many hours."
    )
    dry_run: bool = Field(default=False, description="Only say what would be removed.")


@dg.asset(
    key=["platform", "lake_maintenance"],
    group_name="platform",
    description="Every table of the lake: small files compacted, a checkpoint, what nobody can need removed.",
    owners=[Settings().owner],
    tags={"stage": "platform"},
    kinds={"delta"},
    automation_condition=dg.AutomationCondition.on_cron("30 3 * * *"),
    retry_policy=retry_policy(),
)
def lake_maintenance(
    context: dg.AssetExecutionContext, config: Maintenance, lake: LakeResource
) -> dg.MaterializeResult:
    from asgard_assets.lake.maintenance import maintain

    with clear_failures():
        done = maintain(
            lake.lake,
            config.tables or None,
            config.retention_hours,
            config.staging_hours,
            dry_run=config.dry_run,
        )
    for each in done:
        for reason in each.skipped:
            context.log.warning(f"{each.table}: {reason}")
    return dg.MaterializeResult(
        metadata={
            "tables": len(done),
            "compacted_files": sum(each.compacted_files for each in done),
            "removed_files": sum(each.removed_files for each in done),
            "removed_staging": sum(each.removed_staging for each in done),
            "skipped": sum(len(each.skipped) for each in done),
            "by_table": dg.MetadataValue.json([asdict(each) for each in done]),
        }
    )


class HistoryMaintenance(dg.Config):
    """What a run may be told; the defaults are right for every night."""

    days: float = Field(
        default_factory=lambda: Settings().history_days,
        description="Runs and events older than so many days are removed. Default: ASGARD_HISTORY_DAYS.",
    )
    most_runs: int = Field(
        default_factory=lambda: Settings().history_runs,
        description="So many runs are kept at most. Default: ASGARD_HISTORY_RUNS.",
    )
    most_logs: int = Field(
        default_factory=lambda: Settings().history_logs,
        description="Logs of so many runs that went well are kept at most. Default: ASGARD_HISTORY_LOGS.",
    )


@dg.asset(
    key=["platform", "history_maintenance"],
    group_name="platform",
    description="Dagster's history: old runs, their events and logs removed. The last state of each partition stays.",
    owners=[Settings().owner],
    tags={"stage": "platform"},
    kinds={"dagster"},
    automation_condition=dg.AutomationCondition.on_cron("50 3 * * *"),
    retry_policy=retry_policy(),
)
def history_maintenance(
    context: dg.AssetExecutionContext, config: HistoryMaintenance
) -> dg.MaterializeResult:
    from asgard_assets.components.following.reads import all_specs
    from asgard_assets.components.platform.history import purge, sum_up

    with clear_failures():
        before = datetime.now(UTC) - timedelta(days=config.days)
        done = purge(context.instance, before, config.most_runs, config.most_logs)
        sum_up(context.instance, all_specs(context).values())
    return dg.MaterializeResult(metadata=asdict(done))
