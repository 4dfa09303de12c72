"""How Airbyte's APIs write things down: plain functions from this server's records to their JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from deployments.local.airbyte.install import CONNECTORS
from deployments.local.airbyte.jobs import Job
from deployments.local.airbyte.registry import Definition, Destination, Link, Source
from deployments.local.airbyte.workspace import Stream, identity

__all__ = [
    "CONNECTORS", "catalog_stream", "connection", "connection_details", "definition", "destination", "job",
    "job_details", "misfit", "source", "stream_properties",
]  # fmt: skip

_HIDDEN = "**********"
_SECRET = re.compile(r"secret|password|token|api_?key|access_key", re.IGNORECASE)


def source(one: Source, workspace_id: str) -> dict[str, Any]:
    kind = one.command.rsplit("/", 1)[-1].removeprefix("source-")
    return {
        "sourceId": one.id,
        "name": one.name,
        "sourceType": kind,
        "definitionId": one.definition_id or identity("definition", one.command),
        "workspaceId": workspace_id,
        "configuration": masked(one.config),
        "createdAt": one.created,
    }


def destination(one: Destination, workspace_id: str) -> dict[str, Any]:
    return {
        "destinationId": one.id,
        "name": one.name,
        "destinationType": "s3",
        "definitionId": identity("definition", "destination-s3"),
        "workspaceId": workspace_id,
        "configuration": masked(one.config),
        "createdAt": one.created,
    }


def definition(one: Definition) -> dict[str, Any]:
    return {"id": one.id, "name": one.name, "manifest": one.manifest, "version": 1}


def connection(one: Link, workspace_id: str) -> dict[str, Any]:
    """A connection as the public API shows it."""
    return {
        "connectionId": one.id,
        "name": one.name,
        "sourceId": one.source_id,
        "destinationId": one.destination_id,
        "workspaceId": workspace_id,
        "status": one.status,
        "schedule": {"scheduleType": "manual"},
        "dataResidency": "auto",
        "nonBreakingSchemaUpdatesBehavior": "ignore",
        "namespaceDefinition": "destination",
        "prefix": one.prefix,
        "createdAt": one.created,
        "tags": _tags(one, workspace_id),
        "configurations": {
            "streams": [
                {
                    "name": s.name,
                    "syncMode": s.sync,
                    "cursorField": list(s.cursor),
                    "primaryKey": [list(p) for p in s.primary_key],
                }
                for s in one.streams
            ]
        },
    }


def connection_details(one: Link, offered: Sequence[Mapping[str, Any]], workspace_id: str) -> dict[str, Any]:
    """A connection as the configuration API shows it: with every stream's schema and configuration."""
    chosen = {stream.name: stream for stream in one.streams}
    streams = sorted(offered, key=lambda stream: stream["name"])
    return {
        "connectionId": one.id,
        "name": one.name,
        "prefix": one.prefix,
        "sourceId": one.source_id,
        "destinationId": one.destination_id,
        "namespaceDefinition": "destination",
        "status": one.status,
        "scheduleType": "manual",
        "tags": _tags(one, workspace_id),
        "syncCatalog": {"streams": [catalog_stream(s, chosen.get(s["name"])) for s in streams]},
    }


def catalog_stream(offered: Mapping[str, Any], chosen: Stream | None) -> dict[str, Any]:
    mode, destination_mode = chosen.modes if chosen else ("full_refresh", "overwrite")
    cursor = list(chosen.cursor) if chosen else []
    key = [list(path) for path in chosen.primary_key] if chosen else []
    return {
        "stream": {
            "name": offered["name"],
            "jsonSchema": offered.get("json_schema", {}),
            "supportedSyncModes": offered.get("supported_sync_modes", []),
            "sourceDefinedCursor": bool(offered.get("source_defined_cursor")),
            "sourceDefinedPrimaryKey": offered.get("source_defined_primary_key") or [],
            "defaultCursorField": offered.get("default_cursor_field") or [],
        },
        "config": {
            "selected": chosen is not None,
            "syncMode": mode,
            "destinationSyncMode": destination_mode,
            "cursorField": cursor or offered.get("default_cursor_field") or [],
            "primaryKey": key or offered.get("source_defined_primary_key") or [],
            "aliasName": offered["name"],
        },
    }


def stream_properties(offered: Mapping[str, Any]) -> dict[str, Any]:
    """A stream that a source offers, as the public API shows it."""
    supported = offered.get("supported_sync_modes") or []
    modes = ["full_refresh_overwrite", "full_refresh_append"] if "full_refresh" in supported else []
    modes += ["incremental_append"] if "incremental" in supported else []
    return {
        "streamName": offered["name"],
        "syncModes": modes,
        "defaultCursorField": offered.get("default_cursor_field") or [],
        "sourceDefinedCursorField": bool(offered.get("source_defined_cursor")),
        "sourceDefinedPrimaryKey": offered.get("source_defined_primary_key") or [],
        "propertyFields": [[name] for name in (offered.get("json_schema") or {}).get("properties") or {}],
    }


def job(one: Job) -> dict[str, Any]:
    end = one.updated if not one.active else max(one.updated, one.started)
    return {
        "jobId": one.id,
        "status": one.status,
        "jobType": "sync",
        "startTime": _time(one.started or one.created),
        "connectionId": one.connection_id,
        "lastUpdatedAt": _time(one.updated),
        "duration": f"PT{max(end - (one.started or one.created), 0):.3f}S",
        "bytesSynced": one.bytes,
        "rowsSynced": one.records,
    }


def job_details(one: Job, log: Sequence[str]) -> dict[str, Any]:
    """A job with its last attempt: figures by stream, the reason of a failure, the log's last lines."""
    attempt: dict[str, Any] = {
        "id": one.attempt - 1,
        "status": one.status,
        "createdAt": int(one.started or one.created),
        "updatedAt": int(one.updated),
        "bytesSynced": one.bytes,
        "recordsSynced": one.records,
        "totalStats": _stats(one.records, one.bytes),
        "streamStats": [
            {"streamName": name, "stats": _stats(s["records"], s["bytes"])} for name, s in one.streams.items()
        ],
    }
    if one.reason:
        stamp = int(one.updated * 1000)
        failure = {"failureOrigin": "source", "externalMessage": one.reason, "timestamp": stamp}
        attempt["failureSummary"] = {"failures": [failure], "partialSuccess": one.records > 0}
    known = {"id": one.id, "configType": "sync", "configId": one.connection_id, "status": one.status}
    return {
        "job": {**known, "createdAt": int(one.created), "updatedAt": int(one.updated)},
        "attempts": [{"attempt": attempt, "logType": "formatted", "logs": {"logLines": list(log)}}],
    }


def masked(config: Any) -> Any:
    """A configuration without what its names say is secret."""
    if isinstance(config, Mapping):
        return {
            key: _HIDDEN if isinstance(value, str) and _SECRET.search(key) else masked(value)
            for key, value in config.items()
        }
    return [masked(each) for each in config] if isinstance(config, list) else config


def misfit(schema: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Why a configuration does not fit the connector's schema; empty where it does."""
    import jsonschema

    errors = jsonschema.Draft7Validator(schema).iter_errors(config)
    found = min(errors, key=lambda e: list(map(str, e.path)), default=None)
    if found is None:
        return ""
    where = ".".join(map(str, found.path))
    value = "a secret" if _SECRET.search(where) else found.message
    return f"{where}: {value}" if where else found.message


def _tags(one: Link, workspace_id: str) -> list[dict[str, str]]:
    return [
        {"tagId": identity("tag", name), "name": name, "color": "75DCFF", "workspaceId": workspace_id}
        for name in one.tags
    ]


def _stats(records: int, size: int) -> dict[str, int]:
    return {
        "recordsEmitted": records,
        "bytesEmitted": size,
        "recordsCommitted": records,
        "bytesCommitted": size,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
