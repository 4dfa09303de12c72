"""The glue between a table's contract and Dagster: specs, checks, and staged files that become events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from asgard_assets.lake import Lake, Published, Staging
from asgard_assets.quality.audit import Audit, audit
from asgard_assets.quality.tables import TableSpec
from asgard_assets.settings import Settings

Yielded = dg.AssetCheckResult | dg.MaterializeResult


def asset_spec(
    spec: TableSpec,
    *,
    deps: Sequence[Any] = (),
    partitions_def: dg.PartitionsDefinition | None = None,
    automation: dg.AutomationCondition | None = None,
    extra_metadata: Mapping[str, Any] | None = None,
) -> dg.AssetSpec:
    """The Dagster face of a table: everything that the catalog shows of it."""
    columns = [dg.TableColumn(n, c.type, c.description or None) for n, c in spec.columns.items()]
    metadata: dict[str, Any] = {
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/uri": Lake.from_settings().path(spec.stage, spec.name),
        "dagster/table_name": f"{spec.stage}.{spec.name}",
        "key": ", ".join(spec.key),
    }
    fresh = timedelta(hours=spec.fresh_hours)
    return dg.AssetSpec(
        key=spec.asset_key,
        deps=deps,
        description=spec.description,
        group_name=spec.stage,
        owners=list(spec.owners or (Settings().owner,)),
        tags={"stage": spec.stage, **spec.tags},
        kinds=set(spec.kinds),
        partitions_def=partitions_def,
        automation_condition=automation,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=2 * fresh, warn_window=fresh),
        metadata=metadata | dict(extra_metadata or {}),
    )


def check_specs(spec: TableSpec) -> list[dg.AssetCheckSpec]:
    """One asset check for each of the table's checks; those of severity error block what is downstream."""
    return [
        dg.AssetCheckSpec(
            check.name,
            asset=dg.AssetKey(spec.asset_key),
            description=check.description or check.sql,
            blocking=check.severity == "error",
        )
        for check in spec.all_checks
    ]


def table_asset(
    spec: TableSpec,
    *,
    name: str,
    deps: Sequence[Any] = (),
    partitions_def: dg.PartitionsDefinition | None = None,
    automation: dg.AutomationCondition | None = None,
    extra_metadata: Mapping[str, Any] | None = None,
    checks: Sequence[dg.AssetCheckSpec] | None = None,
    **options: Any,
) -> Callable[[Callable[..., Iterator[Any]]], dg.AssetsDefinition]:
    """Make a function the asset of one table, with the table's checks (or `checks`) in its step.

    A range of partitions is one run. `options` are those of `dg.multi_asset`, and win.
    """
    contract = asset_spec(
        spec,
        deps=deps,
        partitions_def=partitions_def,
        automation=automation,
        extra_metadata=extra_metadata,
    )
    if partitions_def is not None:
        options = {"backfill_policy": dg.BackfillPolicy.single_run()} | options
    found = check_specs(spec) if checks is None else checks
    return dg.multi_asset(name=name, specs=[contract], check_specs=found, **options)


def days_of(context: dg.AssetExecutionContext) -> list[str]:
    """The days that this run was asked for: one, or a range in order."""
    return list(context.partition_keys)


def publish(
    context: dg.AssetExecutionContext,
    lake: Lake,
    spec: TableSpec,
    staging: Staging,
    metadata: Mapping[str, Any] | None = None,
    day_metadata: Mapping[str, Mapping[str, Any]] | None = None,
    plans: Mapping[str, int] | None = None,
    failed: Mapping[str, str] | None = None,
    together: bool = False,
    first: Callable[[list[str]], None] | None = None,
) -> Iterator[Yielded]:
    """Audit what is staged, publish the good days in one commit, and tell Dagster about each day.

    A day that breaks a blocking check stays unpublished, as does one that the engine reports in `failed`
    with its reason: the good days are recorded one by one, and then dg.Failure names the bad ones, so that
    only they show as failed and a resume touches only them. `plans` (`source/ds` to number) of bad days are
    not committed. `together`: the staged days belong together, so that one that breaks a check holds all back.
    `first` is called with the good days right before they become visible, to publish what belongs to them.
    Days that are staged but were not asked for changed because of those that were; they are recorded too.
    """
    found = audit(lake, staging, spec)
    bad = found.bad_days | {day: [reason] for day, reason in (failed or {}).items()}
    if together and found.bad_days:
        broken = ", ".join(found.bad_days)
        bad = {day: [f"waits for {broken}"] for day in staging.days} | bad
    good = [day for day in staging.days or ("",) if day not in bad]
    published = None
    if good:
        if first:
            first(good)
        published = lake.publish(
            staging,
            days=good if staging.partitioned else None,
            plans={app: n for app, n in (plans or {}).items() if app.rsplit("/", 1)[-1] not in bad},
            metadata={"dagster_run_id": context.run.run_id},
        )
    key = dg.AssetKey(spec.asset_key)
    results = [check_result(key, found, check) for check in found.checks]
    if bad:
        lake.discard(staging, [day for day in bad if day in (staging.days or ("",))])
        for day in good:
            shown = _day_metadata(found, day, published, day_metadata)
            context.log_event(dg.AssetMaterialization(key, partition=day or None, metadata=shown))
        yield from results
        raise dg.Failure(
            f"{staging.table}: not published for "
            + "; ".join(f"{day or 'the whole table'} ({', '.join(names)})" for day, names in bad.items())
            + ". The tables that readers see are unchanged for these partitions.",
            metadata={"bad_partitions": list(bad), "published_partitions": good},
            allow_retries=False,
        )
    assert published is not None
    if staging.partitioned:
        asked = set(days_of(context))
        for day in good:
            shown = _day_metadata(found, day, published, day_metadata)
            if day in asked:
                context.add_asset_metadata(shown, asset_key=key, partition_key=day)
            else:
                context.log_event(dg.AssetMaterialization(key, partition=day, metadata=shown))
    yield from results
    total = {"version": published.version, "files": published.files, "bytes": published.bytes}
    if not staging.partitioned:
        total["dagster/row_count"] = found.rows[""]
    yield dg.MaterializeResult(asset_key=key, metadata=total | dict(metadata or {}))


def check_result(key: dg.AssetKey, found: Audit, check: Any) -> dg.AssetCheckResult:
    """What Dagster is told of one check, with the rows that break it by day."""
    failing = found.failing(check)
    severity = dg.AssetCheckSeverity.ERROR if check.severity == "error" else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        passed=not failing,
        asset_key=key,
        check_name=check.name,
        severity=severity,
        metadata={
            "rows": sum(found.rows.values()),
            "failing": dg.MetadataValue.json(failing),
            "partitions": len(found.rows),
        },
    )


def _day_metadata(
    found: Audit, day: str, published: Published | None, extra: Mapping[str, Mapping[str, Any]] | None
) -> dict[str, Any]:
    version = {"version": published.version} if published else {}
    return {"dagster/partition_row_count": found.rows[day], **version, **(extra or {}).get(day, {})}
