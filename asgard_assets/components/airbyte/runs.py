"""One run of a connection: what is synced, what was not asked for, and what Airbyte tells of each stream."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import dagster as dg
from dagster_airbyte.translator import AirbyteConnection

from asgard_assets import strangers
from asgard_assets.components.airbyte.bronze import say_empty
from asgard_assets.components.airbyte.snapshot import REFRESH, namesakes_of, refuse_namesakes
from asgard_assets.resources.airbyte import Client, JobEnded, Refused

LOG_LINES_SHOWN = 20


def report(
    context: dg.AssetExecutionContext, client: Client
) -> Iterable[dg.AssetMaterialization | dg.MaterializeResult]:
    """Sync the whole connection, wait for its end, and report each stream's figures.

    A sync that already runs is followed; one whose run is cancelled is cancelled. Airbyte's API knows no sync
    of single streams: those that were not asked for are synced all the same, so they are reported too. A
    connection that is paused in Airbyte is skipped. Raises dg.Failure with Airbyte's reason.
    """
    connection_id = next(iter(context.assets_def.specs)).metadata["airbyte/connection_id"]
    try:
        details = client.get_connection_details(connection_id)
        status = details.get("status", "active")
        if status != "active":
            context.log.warning(
                f"skipped: connection {details['name']} is {status} in Airbyte; resume it there"
            )
            return
        refuse_namesakes(details["name"], namesakes_of(details))
        by_stream = {spec.metadata["airbyte/stream"]: spec.key for spec in context.assets_def.specs}
        asked = {name for name, key in by_stream.items() if key in context.selected_asset_keys}
        connection = AirbyteConnection.from_connection_details(details)
        synced = {name for name, stream in connection.streams.items() if stream.selected}
        if beside := sorted(synced - asked):
            context.log.info(
                f"asked for {', '.join(sorted(asked))}; Airbyte's API syncs a connection as a whole, so "
                f"{', '.join(beside)} of {connection.name} are synced too"
            )
        job = client.sync(connection_id)
    except JobEnded as ended:
        raise _explained(client, connection_id, ended.details) from ended
    except Refused as refused:
        if refused.status == 404:
            raise dg.Failure(
                f"{refused.description}; if the connection was deleted, run `{REFRESH}`", allow_retries=False
            ) from refused
        raise
    for name in sorted(synced - set(by_stream)):
        context.log.warning(f"stream {name} is synced, but not in the snapshot; run `{REFRESH}`")
    figures = _figures(client, job)
    replaced = _overwritten(details)
    for name in sorted(synced & set(by_stream)):
        if name in replaced and figures[name].get("dagster/row_count") == 0:
            _tell_the_loader(context, name, job)
        metadata = {
            **figures[name],
            "job_id": job["jobId"],
            "job": dg.MetadataValue.url(client.job_url(connection_id, job["jobId"])),
            "duration_seconds": seconds_of(job.get("duration")),
            "asked_for": name in asked,
        }
        key = by_stream[name]
        if key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=key, metadata=metadata)
        else:
            yield dg.AssetMaterialization(asset_key=key, metadata=metadata)
    if lost := sorted(asked - synced):
        raise dg.Failure(
            f"connection {connection.name} no longer syncs {', '.join(lost)}; run `{REFRESH}`",
            allow_retries=False,
        )


def _tell_the_loader(context: dg.AssetExecutionContext, stream: str, job: Mapping[str, Any]) -> None:
    """That an overwritten stream is empty now: a sync without rows lands no file that would say so."""
    (landing,) = (
        spec.metadata["airbyte/landing"]
        for spec in context.assets_def.specs
        if spec.metadata["airbyte/stream"] == stream
    )
    began = datetime.fromisoformat(str(job["startTime"]))
    if said := say_empty(landing, began.date(), int(began.timestamp() * 1000)):
        context.log.info(f"stream {stream} is empty now; {said} says so to the loader")


def _overwritten(details: Mapping[str, Any]) -> set[str]:
    """Streams whose landing files are replaced by each sync."""
    streams = (details.get("syncCatalog") or {}).get("streams", [])
    modes = {one["stream"]["name"]: str(one["config"].get("destinationSyncMode")) for one in streams}
    return {name for name, mode in modes.items() if mode.startswith("overwrite")}


def _figures(client: Client, job: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Records and bytes by stream; without them (Airbyte Cloud does not tell) the whole job's, on each."""
    try:
        stats = client.get_attempt(job["jobId"]).get("streamStats") or []
    except dg.Failure:
        stats = []
    found = {
        one["streamName"]: {
            "dagster/row_count": one["stats"].get("recordsCommitted", one["stats"].get("recordsEmitted", 0)),
            "bytes": one["stats"].get("bytesCommitted", one["stats"].get("bytesEmitted", 0)),
        }
        for one in stats
    }
    whole = {"job_records": job.get("rowsSynced"), "job_bytes": job.get("bytesSynced")}
    whole = {name: value for name, value in whole.items() if value is not None}
    return defaultdict(lambda: whole, found)


def _explained(client: Client, connection_id: str, job: Mapping[str, Any]) -> dg.Failure:
    """The failure with Airbyte's own reason and the end of the job's log, as far as Airbyte tells them."""
    try:
        attempt = client.get_attempt(job["jobId"])
    except dg.Failure:
        attempt: Mapping[str, Any] = {"logLines": []}
    failures = (attempt.get("failureSummary") or {}).get("failures") or []
    reasons = [one.get("externalMessage") or one.get("internalMessage") or "" for one in failures]
    reason = "; ".join(filter(None, reasons)) or "Airbyte gives no reason"
    return dg.Failure(
        f"Airbyte job {job['jobId']} {job['status']}: {reason}",
        metadata={
            "job_id": job["jobId"],
            "job": dg.MetadataValue.url(client.job_url(connection_id, job["jobId"])),
            "records": job.get("rowsSynced") or 0,
            "log": dg.MetadataValue.md(strangers.block("\n".join(attempt["logLines"][-LOG_LINES_SHOWN:]))),
        },
    )


def seconds_of(duration: str | None) -> float:
    """Seconds of an ISO 8601 duration such as PT1M3.5S."""
    found = re.fullmatch(r"P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?", duration or "")
    days, hours, minutes, seconds = found.groups() if found else (0, 0, 0, 0)
    return int(days or 0) * 86400 + int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0)
