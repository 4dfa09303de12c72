"""Loaded files as Dagster events: audit, one commit, and what each day and check has to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from asgard_assets.components.following.reads import source_code
from asgard_assets.components.tables import Yielded, release, report, unpublished
from asgard_assets.lake import Lake, Published
from asgard_assets.lake.reads import number
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
    run = {"dagster_run_id": context.run.run_id}
    done = release(
        lake,
        staging,
        found,
        lambda good: commit(lake, loaded, good, run, number(source_code(loaded.source))),
        loaded.failed,
        # Days between which rows move are published together or not at all.
        together=loaded.source.merge is not None and loaded.source.files != "snapshot",
    )
    assert done.published is not None
    version = done.published.version
    rows = dict.fromkeys(loaded.days, 0)
    for part in lake.live(staging.stage, staging.name):
        rows[part.day] = rows.get(part.day, 0) + part.rows

    def about(day: str) -> dict[str, Any]:
        shown: dict[str, Any] = {"dagster/partition_row_count": rows.get(day, 0), "version": version}
        return shown | (asdict(loaded.days[day]) if day in loaded.days else {})

    total = _total(loaded, done.published)
    yield from report(context, spec, done, list(loaded.days), about, total, _failure(loaded, done.bad))


def _total(loaded: Loaded, published: Published) -> dict[str, Any]:
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
    if loaded.outdated:
        total["files_of_older_generations"] = len(loaded.outdated)
    if loaded.merged is not None:
        total["superseded_rows"] = loaded.superseded_rows
        total["deleted_rows"] = loaded.deleted_rows
        total["days_rewritten_beside"] = list(loaded.moved_days)
    return total


def _nothing(spec: TableSpec) -> Audit:
    """The audit of a load that found nothing new."""
    return Audit(f"{spec.stage}/{spec.name}", {}, {c.name: {} for c in spec.all_checks}, spec.all_checks)


def _failure(loaded: Loaded, bad: Mapping[str, list[str]]) -> dg.Failure | None:
    """What a run ends with that published not all days, or whose files went to quarantine."""
    told = [unpublished(bad)] if bad else []
    quarantined = [b.reason for b in loaded.bad_files if b.ds not in bad]
    if quarantined:
        more = f" and {len(quarantined) - 5} more" if len(quarantined) > 5 else ""
        told.append(f"{len(quarantined)} files are in quarantine: {'; '.join(quarantined[:5])}{more}.")
    if not bad and not any(b.ds not in loaded.failed for b in loaded.bad_files):
        return None
    return dg.Failure(
        f"{loaded.staging.table}: {' '.join(told)}",
        metadata={
            "bad_partitions": list(bad),
            "published_partitions": [day for day in loaded.days if day not in bad],
            "bad_files": [b.file.path for b in loaded.bad_files],
            "schema_diff": _schema_diff(loaded),
        },
        allow_retries=False,
    )


def _schema_diff(loaded: Loaded) -> dg.JsonMetadataValue:
    return dg.MetadataValue.json([asdict(change) for change in loaded.changes])
