"""Loaded files as Dagster events: audit, one commit, and what each day and check has to say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from asgard_assets.components.tables import Yielded, check_result
from asgard_assets.lake import Lake
from asgard_assets.quality.audit import Audit, audit
from asgard_assets.quality.tables import TableSpec

if TYPE_CHECKING:
    from asgard_assets.ingest.files.load import Loaded


def publish_loaded(
    context: dg.AssetExecutionContext, lake: Lake, spec: TableSpec, loaded: Loaded
) -> Iterator[Yielded]:
    """Audit the staged rows, commit the good days, record each, and fail for what is bad.

    A day that breaks a blocking check stays unpublished, as does one that the load names in `failed`: the good
    days are recorded one by one, and then dg.Failure names the bad ones. A run whose files went to quarantine is
    not green, although the days within the source's limits are published.
    """
    from asgard_assets.ingest.files.load import commit

    staging = loaded.staging
    found = audit(lake, staging, spec) if staging.days else _nothing(spec)
    bad = {day: [reason] for day, reason in loaded.failed.items()}
    bad |= {day: names for day, names in found.bad_days.items() if day not in bad}
    if loaded.source.merge is not None and loaded.source.files != "snapshot" and found.bad_days:
        # Days between which rows move are published together or not at all.
        broken = ", ".join(found.bad_days)
        bad = {day: [f"waits for {broken}"] for day in staging.days} | bad
    good = [day for day in staging.days if day not in bad]
    published = commit(lake, loaded, good, {"dagster_run_id": context.run.run_id})
    if bad:
        lake.discard(staging, [day for day in bad if day in staging.days])
    rows = dict.fromkeys(loaded.days, 0)
    for part in lake.live(staging.stage, staging.name):
        rows[part.day] = rows.get(part.day, 0) + part.rows

    def about(day: str) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "dagster/partition_row_count": rows.get(day, 0),
            "version": published.version,
        }
        return shown | (asdict(loaded.days[day]) if day in loaded.days else {})

    asset = dg.AssetKey(spec.asset_key)
    results = [check_result(asset, found, check) for check in found.checks]
    quarantined = [b for b in loaded.bad_files if b.ds not in loaded.failed]
    # Days that rows of these files belong to, though nobody asked for them: what is downstream must hear of them.
    for day in good:
        if day not in loaded.days:
            context.log_event(dg.AssetMaterialization(asset, partition=day, metadata=about(day)))
    if bad or quarantined:
        fine = [day for day in loaded.days if day not in bad]
        for day in fine:
            context.log_event(dg.AssetMaterialization(asset, partition=day, metadata=about(day)))
        yield from results
        raise dg.Failure(_complaint(loaded, bad), metadata=_failure(loaded, bad, fine), allow_retries=False)
    for day in loaded.days:
        context.add_asset_metadata(about(day), asset_key=asset, partition_key=day)
    yield from results
    total: dict[str, Any] = {
        "version": published.version,
        "parts": published.files,
        "published_bytes": published.bytes,
        "rescued_rows": sum(day.rescued_rows for day in loaded.days.values()),
        "quarantined_rows": sum(day.quarantined_rows for day in loaded.days.values()),
        "undated_files": len(loaded.undated),
        "schema_diff": _schema_diff(loaded),
    }
    if loaded.links_out:
        total["links_not_followed"] = list(loaded.links_out)
    if loaded.merged is not None:
        total["superseded_rows"] = loaded.superseded_rows
        total["deleted_rows"] = loaded.deleted_rows
        total["days_rewritten_beside"] = list(loaded.moved_days)
    yield dg.MaterializeResult(asset_key=asset, metadata=total)


def _nothing(spec: TableSpec) -> Audit:
    """The audit of a load that found nothing new."""
    return Audit(f"{spec.stage}/{spec.name}", {}, {c.name: {} for c in spec.all_checks}, spec.all_checks)


def _complaint(loaded: Loaded, bad: dict[str, list[str]]) -> str:
    told = []
    if bad:
        named = "; ".join(f"{day} ({', '.join(reasons)})" for day, reasons in bad.items())
        told.append(
            f"not published for {named}. The tables that readers see are unchanged for these partitions."
        )
    quarantined = [b.reason for b in loaded.bad_files if b.ds not in bad]
    if quarantined:
        more = f" and {len(quarantined) - 5} more" if len(quarantined) > 5 else ""
        told.append(f"{len(quarantined)} files are in quarantine: {'; '.join(quarantined[:5])}{more}.")
    return f"{loaded.staging.table}: {' '.join(told)}"


def _failure(loaded: Loaded, bad: dict[str, list[str]], fine: list[str]) -> dict[str, Any]:
    return {
        "bad_partitions": list(bad),
        "published_partitions": fine,
        "bad_files": [b.file.path for b in loaded.bad_files],
        "schema_diff": _schema_diff(loaded),
    }


def _schema_diff(loaded: Loaded) -> dg.JsonMetadataValue:
    return dg.MetadataValue.json([asdict(change) for change in loaded.changes])
