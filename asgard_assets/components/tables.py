"""The glue between a table's contract and Dagster: specs, checks, and staged files that become events."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from asgard_assets.components.automation import once_ended
from asgard_assets.components.failures import retry_policy
from asgard_assets.components.following.reads import OPEN_WINDOWS, REBUILD
from asgard_assets.errors import ConfigError
from asgard_assets.lake import Lake, Published, Staging
from asgard_assets.lake.reads import Reads
from asgard_assets.quality.audit import Audit, audit
from asgard_assets.quality.tables import TableSpec
from asgard_assets.quality.usage import Usage
from asgard_assets.settings import Settings
from asgard_assets.windows import Calendar, window_of

Yielded = dg.AssetCheckResult | dg.MaterializeResult


def asset_spec(
    spec: TableSpec,
    *,
    deps: Sequence[Any] = (),
    partitions_def: dg.PartitionsDefinition | None = None,
    automation: dg.AutomationCondition | None = None,
    extra_metadata: Mapping[str, Any] | None = None,
    into_open: bool = False,
) -> dg.AssetSpec:
    """The Dagster face of a table: everything that the catalog shows of it.

    `into_open`: automation builds it for a window that has not ended, too.
    """
    columns = [dg.TableColumn(n, c.type, c.description or None) for n, c in spec.columns.items()]
    metadata: dict[str, Any] = {
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/uri": Lake.from_settings().path(spec.stage, spec.name),
        "dagster/table_name": f"{spec.stage}.{spec.name}",
        "key": ", ".join(spec.key),
    }
    if spec.rebuild != "never":
        metadata[REBUILD] = spec.rebuild
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
        automation_condition=once_ended(automation, partitions_def, into_open),
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
    code_version: str | None = None,
    into_open: bool = False,
    checks: Sequence[dg.AssetCheckSpec] | None = None,
    also: Sequence[TableSpec] = (),
    **options: Any,
) -> Callable[[Callable[..., Iterator[Any]]], dg.AssetsDefinition]:
    """Make a function the asset of one table, with the table's checks (or `checks`) in its step.

    A range of partitions is one run. `options` are those of `dg.multi_asset`, and win. `also` are tables that the same
    step makes of this one.
    """
    contract = asset_spec(
        spec,
        deps=deps,
        partitions_def=partitions_def,
        automation=automation,
        extra_metadata={**(extra_metadata or {}), **({OPEN_WINDOWS: True} if into_open else {})},
        into_open=into_open,
    ).replace_attributes(code_version=code_version)
    options = {"retry_policy": retry_policy(spec.retries)} | options
    if partitions_def is not None:
        options = {"backfill_policy": dg.BackfillPolicy.single_run()} | options
    found = [*(check_specs(spec) if checks is None else checks)]
    found += [check for one in also for check in check_specs(one)]
    parent = [dg.AssetKey(spec.asset_key)]
    specs = [contract, *(asset_spec(one, deps=parent, partitions_def=partitions_def) for one in also)]
    make = dg.multi_asset(name=name, specs=specs, check_specs=found, **options)
    return lambda body: make(metered(body))


def metered(body: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The body, whose results say what the run has used until then: `asgard cost` reads it."""

    @functools.wraps(body)
    def run(*given: Any, **named: Any) -> Iterator[Any]:
        start = Usage.now()
        for each in body(*given, **named):
            if isinstance(each, dg.MaterializeResult):
                used, told = Usage.now().since(start), dict(each.metadata or {})
                figures = {
                    "cost/seconds": round(used.seconds, 3),
                    "cost/cpu_seconds": round(used.cpu_seconds, 3),
                    "cost/memory_bytes": used.memory_bytes,
                }
                figures |= {f"cost/{name}": told[name] for name in ("bytes", "requests") if name in told}
                each = each._replace(metadata={**told, **figures})
            yield each

    return run


def days_of(context: dg.AssetExecutionContext) -> list[str]:
    """The days that this run was asked for: one, or a range in order. Raises dg.Failure where none was given."""
    if not (context.has_partition_key or context.has_partition_key_range):
        named = ", ".join(sorted(key.to_user_string() for key in context.selected_asset_keys))
        raise dg.Failure(
            f"{named}: this run names no partition; add --partition 2026-10-05, or --partition-range "
            f"2026-10-05...2026-10-11, or use `asgard run {named}`",
            allow_retries=False,
        )
    return [str(key) for key in context.partition_keys]


@dataclass(frozen=True)
class Release:
    """What became of a run's staged days: their audit, the commit, the good ones, and why the bad ones are none."""

    found: Audit
    published: Published | None
    good: list[str]
    bad: Mapping[str, list[str]]


def release(
    lake: Lake,
    staging: Staging,
    found: Audit,
    commit: Callable[[list[str]], Published | None],
    failed: Mapping[str, str] | None = None,
    together: bool = False,
) -> Release:
    """Commit the good days, and remove what is staged of the bad ones.

    Bad is a day that breaks a blocking check, and one that the engine reports in `failed` with its reason.
    `together`: the staged days belong together, so that one that breaks a check holds all back.
    """
    bad = found.bad_days | {day: [reason] for day, reason in (failed or {}).items()}
    if together and found.bad_days:
        broken = ", ".join(found.bad_days)
        bad = {day: [f"waits for {broken}"] for day in staging.days} | bad
    good = [day for day in found.rows if day not in bad]
    published = commit(good)
    if bad:
        lake.discard(staging, [day for day in bad if day in (staging.days or ("",))])
    return Release(found, published, good, bad)


def report(
    context: dg.AssetExecutionContext,
    spec: TableSpec,
    done: Release,
    days: Sequence[str],
    about: Callable[[str], dict[str, Any]],
    total: Mapping[str, Any],
    failure: dg.Failure | None = None,
) -> Iterator[Yielded]:
    """Tell Dagster about each day and check, and fail with `failure` where there is one.

    `days` were asked for. Others that are published changed because of them; they are recorded too. Of a run that
    fails the good days are recorded one by one, so that only the bad ones show as failed and a resume touches only
    them. `about` gives a day's metadata, `total` is the run's.
    """
    key = dg.AssetKey(spec.asset_key)
    about = _with_open_windows(about, spec.calendar)
    alone = [day for day in done.good if day and day not in days]
    if failure:
        alone += [day for day in days if day not in done.bad]
    for day in alone:
        context.log_event(dg.AssetMaterialization(key, partition=day, metadata=about(day)))
    for day in () if failure else days:
        context.add_asset_metadata(about(day), asset_key=key, partition_key=day)
    yield from (check_result(key, done.found, check) for check in done.found.checks)
    if failure:
        raise failure
    yield dg.MaterializeResult(asset_key=key, metadata=total)


def _with_open_windows(
    about: Callable[[str], dict[str, Any]], calendar: Calendar
) -> Callable[[str], dict[str, Any]]:
    """Metadata that says of an open window that it is open, and until when."""
    now = datetime.now(UTC)

    def shown(day: str) -> dict[str, Any]:
        window = calendar.window(window_of(day)) if day else None
        told = (
            {"window": f"open until {window.end:%Y-%m-%dT%H:%MZ}"} if window and window.is_open(now) else {}
        )
        return {**about(day), **told}

    return shown


def refuse_open(spec: TableSpec, days: Sequence[str], now: datetime | None = None) -> None:
    """Raises ConfigError for windows that have not ended: what is computed of them changes with each new row."""
    calendar, now = spec.calendar, now or datetime.now(UTC)
    if found := [window for window in map(calendar.window, map(window_of, days)) if window.is_open(now)]:
        raise ConfigError(
            f"{spec.stage}/{spec.name}: {found[0].key} is open until {found[0].end:%Y-%m-%dT%H:%MZ}, and features and "
            "models wait for the end of a window. Ask for an earlier one, or set open_windows: true for this table"
        )


def publish(
    context: dg.AssetExecutionContext,
    lake: Lake,
    spec: TableSpec,
    staging: Staging,
    metadata: Mapping[str, Any] | None = None,
    day_metadata: Mapping[str, Mapping[str, Any]] | None = None,
    plans: Mapping[str, int] | None = None,
    first: Callable[[list[str]], None] | None = None,
    failed: Mapping[str, str] | None = None,
    beside: Callable[[Release], Iterator[Yielded]] | None = None,
    reads: Reads | None = None,
) -> Iterator[Yielded]:
    """Audit what is staged, publish the good days in one commit, and tell Dagster about each day.

    A day that breaks a blocking check stays unpublished, and dg.Failure names it. `plans` (`source/ds` to number) of
    bad days are not committed. `first` is called with the good days right before they become visible, to publish
    what belongs to them; `beside` tells of that afterwards. `failed` are days that must not be published, with why.
    `reads` is what the rows were made from.
    """

    def commit(good: list[str]) -> Published | None:
        if not good:
            return None
        if first:
            first(good)
        wanted = {app: n for app, n in (plans or {}).items() if app.rsplit("/", 1)[-1] in good}
        run = {"dagster_run_id": context.run.run_id}
        chosen = good if staging.partitioned else None
        return lake.publish(staging, chosen, wanted, run, reads=reads, volatile=spec.volatile)

    done = release(lake, staging, audit(lake, staging, spec), commit, failed)
    published, rows = done.published, done.found.rows

    def about(day: str) -> dict[str, Any]:
        version = {"version": published.version} if published else {}
        return {"dagster/partition_row_count": rows[day], **version, **(day_metadata or {}).get(day, {})}

    total = (
        {"version": published.version, "files": published.files, "bytes": published.bytes}
        if published
        else {}
    )
    if not staging.partitioned:
        total["dagster/row_count"] = rows[""]
    asked = [day for day in days_of(context) if day in rows] if staging.partitioned else []
    failure = _refused(staging, done)
    if beside and failure:  # after which nothing more is told
        yield from beside(done)
    yield from report(context, spec, done, asked, about, total | dict(metadata or {}), failure)
    if beside:  # Dagster wants what is made of a table after the table
        yield from beside(done)


def unpublished(bad: Mapping[str, Sequence[str]]) -> str:
    """Which days are not published, and why."""
    named = "; ".join(f"{day or 'the whole table'} ({', '.join(reasons)})" for day, reasons in bad.items())
    return f"not published for {named}. The tables that readers see are unchanged for these partitions."


def _refused(staging: Staging, done: Release) -> dg.Failure | None:
    if not done.bad:
        return None
    return dg.Failure(
        f"{staging.table}: {unpublished(done.bad)}",
        metadata={"bad_partitions": list(done.bad), "published_partitions": done.good},
        allow_retries=False,
    )


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
