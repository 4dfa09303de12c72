"""The part of Airbyte's public and configuration API that dagster-airbyte uses, in Airbyte's own shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from deployments.local.airbyte.jobs import Job
from deployments.local.airbyte.syncs import Conflict, Syncs
from deployments.local.airbyte.workspace import Connection, identity

NOTICE = "Asgard's development server: it answers as Airbyte does, but it is not Airbyte and checks no login."
PUBLIC, CONFIG = "/api/public/v1", "/api/v1"
MOST_LOG_LINES = 1000


class Refused(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Api:
    """`answer` is the whole interface: a request in, a JSON value out; raises Refused."""

    def __init__(self, syncs: Syncs, base_url: str) -> None:
        self._syncs = syncs
        self._workspace = syncs.workspace
        self._base_url = base_url
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., Any]]] = [
            (method, re.compile(pattern + "$"), handler)
            for method, pattern, handler in (
                ("GET", "/", lambda *_: {"server": NOTICE}),
                ("GET", "(?:/health|/api/v1/health)", lambda *_: {"available": True, "server": NOTICE}),
                ("GET", f"{PUBLIC}/health", lambda *_: {"message": "Successful operation"}),
                ("POST", f"{PUBLIC}/applications/token", self._token),
                ("GET", f"{PUBLIC}/workspaces", self._workspaces),
                ("GET", f"{PUBLIC}/workspaces/([^/]+)", self._one_workspace),
                ("GET", f"{PUBLIC}/connections", self._connections),
                ("GET", f"{PUBLIC}/connections/([^/]+)", self._one_connection),
                ("POST", f"{CONFIG}/connections/get", self._connection_details),
                ("GET", f"{PUBLIC}/destinations/([^/]+)", self._one_destination),
                ("GET", f"{PUBLIC}/jobs", self._jobs),
                ("POST", f"{PUBLIC}/jobs", self._start),
                ("GET", f"{PUBLIC}/jobs/(\\d+)", self._one_job),
                ("DELETE", f"{PUBLIC}/jobs/(\\d+)", self._cancel),
                ("POST", f"{CONFIG}/jobs/get", self._job_details),
            )
        ]

    def answer(self, method: str, path: str, query: Mapping[str, Sequence[str]], body: Any) -> Any:
        known = False
        for allowed, pattern, handler in self._routes:
            if match := pattern.match(path):
                known = True
                if allowed == method:
                    return handler(query, body, *match.groups())
        if known:
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not possible on {path}")
        raise Refused(HTTPStatus.NOT_FOUND, f"this development server has no {path}")

    def _token(self, query: Any, body: Any) -> Any:
        return {"access_token": "development", "token_type": "Bearer", "expires_in": 180}

    def _workspaces(self, query: Any, body: Any) -> Any:
        return self._page("/workspaces", query, [self._one_workspace(query, body, self._workspace.id)])

    def _one_workspace(self, query: Any, body: Any, workspace_id: str) -> Any:
        if workspace_id != self._workspace.id:
            raise _missing("workspace", workspace_id)
        return {"workspaceId": workspace_id, "name": self._workspace.name, "dataResidency": "auto"}

    def _connections(self, query: Any, body: Any) -> Any:
        asked = [i for value in query.get("workspaceIds", []) for i in value.split(",")]
        shown = [] if asked and self._workspace.id not in asked else list(self._workspace.by_id().items())
        return self._page("/connections", query, [self._public(i, c) for i, c in shown])

    def _one_connection(self, query: Any, body: Any, connection_id: str) -> Any:
        return self._public(connection_id, self._connection(connection_id))

    def _connection_details(self, query: Any, body: Any) -> Any:
        connection_id = str(_field(body, "connectionId"))
        connection = self._connection(connection_id)
        offered = {stream["name"]: stream for stream in self._syncs.catalog(connection)}
        chosen = {stream.name: stream for stream in connection.streams}
        streams = []
        for name, stream in sorted(offered.items()):
            source, destination = chosen[name].modes if name in chosen else ("full_refresh", "overwrite")
            streams.append(
                {
                    "stream": {
                        "name": name,
                        "jsonSchema": stream.get("json_schema", {}),
                        "supportedSyncModes": stream.get("supported_sync_modes", []),
                        "sourceDefinedPrimaryKey": stream.get("source_defined_primary_key", []),
                        "defaultCursorField": stream.get("default_cursor_field", []),
                    },
                    "config": {
                        "selected": name in chosen,
                        "syncMode": source,
                        "destinationSyncMode": destination,
                        "aliasName": name,
                    },
                }
            )
        return {
            "connectionId": connection_id,
            "name": connection.name,
            "prefix": connection.prefix,
            "sourceId": self._public(connection_id, connection)["sourceId"],
            "destinationId": self._workspace.destination_id,
            "namespaceDefinition": "destination",
            "status": "active",
            "syncCatalog": {"streams": streams},
        }

    def _one_destination(self, query: Any, body: Any, destination_id: str) -> Any:
        if destination_id != self._workspace.destination_id:
            raise _missing("destination", destination_id)
        return {
            "destinationId": destination_id,
            "name": "landing",
            "destinationType": "s3",
            "workspaceId": self._workspace.id,
            "configuration": {
                "s3_bucket_path": "airbyte",
                "s3_path_format": "${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_",
                "format": {
                    "format_type": "JSONL",
                    "flattening": "Root level flattening",
                    "compression": {"compression_type": "GZIP"},
                },
            },
        }

    def _jobs(self, query: Any, body: Any) -> Any:
        jobs = self._syncs.store.jobs()
        if connection := _first(query, "connectionId"):
            jobs = [job for job in jobs if job.connection_id == connection]
        if status := _first(query, "status"):
            jobs = [job for job in jobs if job.status == status]
        if since := _first(query, "createdAtStart"):
            try:
                earliest = datetime.fromisoformat(since).timestamp()
            except ValueError as error:
                raise Refused(HTTPStatus.BAD_REQUEST, f"createdAtStart is no time: {since}") from error
            jobs = [job for job in jobs if job.created >= earliest]
        return self._page("/jobs", query, [_public_job(job) for job in jobs])

    def _start(self, query: Any, body: Any) -> Any:
        if (kind := _field(body, "jobType")) != "sync":
            raise Refused(
                HTTPStatus.NOT_IMPLEMENTED, f"this development server runs syncs, not jobs of type {kind}"
            )
        connection_id = str(_field(body, "connectionId"))
        self._connection(connection_id)
        try:
            return _public_job(self._syncs.start(connection_id))
        except Conflict as error:
            raise Refused(HTTPStatus.CONFLICT, str(error)) from error

    def _one_job(self, query: Any, body: Any, job_id: str) -> Any:
        return _public_job(self._job(int(job_id)))

    def _cancel(self, query: Any, body: Any, job_id: str) -> Any:
        self._syncs.cancel(self._job(int(job_id)).id)
        return _public_job(self._job(int(job_id)))

    def _job_details(self, query: Any, body: Any) -> Any:
        """A job with its attempt: figures by stream, the reason of a failure, the log's last lines."""
        job = self._job(int(_field(body, "id")))
        log = self._syncs.store.log(job.id)
        lines = log.read_text("utf-8", "replace").splitlines()[-MOST_LOG_LINES:] if log.exists() else []
        attempt: dict[str, Any] = {
            "id": 0,
            "status": job.status,
            "createdAt": int(job.started or job.created),
            "updatedAt": int(job.updated),
            "bytesSynced": job.bytes,
            "recordsSynced": job.records,
            "totalStats": _stats(job.records, job.bytes),
            "streamStats": [
                {"streamName": name, "stats": _stats(s["records"], s["bytes"])}
                for name, s in job.streams.items()
            ],
        }
        if job.reason:
            failure = {
                "failureOrigin": "source",
                "externalMessage": job.reason,
                "timestamp": int(job.updated * 1000),
            }
            attempt["failureSummary"] = {"failures": [failure], "partialSuccess": False}
        return {
            "job": {
                "id": job.id,
                "configType": "sync",
                "configId": job.connection_id,
                "status": job.status,
                "createdAt": int(job.created),
                "updatedAt": int(job.updated),
            },
            "attempts": [{"attempt": attempt, "logType": "formatted", "logs": {"logLines": lines}}],
        }

    def _public(self, connection_id: str, connection: Connection) -> dict[str, Any]:
        return {
            "connectionId": connection_id,
            "name": connection.name,
            "sourceId": identity("source", connection.name),
            "destinationId": self._workspace.destination_id,
            "workspaceId": self._workspace.id,
            "status": "active",
            "prefix": connection.prefix,
            "schedule": {"scheduleType": "manual"},
            "configurations": {"streams": [{"name": s.name, "syncMode": s.sync} for s in connection.streams]},
        }

    def _connection(self, connection_id: str) -> Connection:
        connection = self._workspace.by_id().get(connection_id)
        if connection is None:
            raise _missing("connection", connection_id)
        return connection

    def _job(self, job_id: int) -> Job:
        job = self._syncs.store.job(job_id)
        if job is None:
            raise _missing("job", str(job_id))
        return job

    def _page(self, path: str, query: Any, items: list[Any]) -> Any:
        try:
            limit, offset = int(_first(query, "limit") or 20), int(_first(query, "offset") or 0)
        except ValueError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "limit and offset are numbers") from error
        limit = min(max(limit, 1), 100)

        def url(start: int) -> str:
            return f"{self._base_url}{PUBLIC}{path}?limit={limit}&offset={start}"

        return {
            "data": items[offset : offset + limit],
            "next": url(offset + limit) if offset + limit < len(items) else "",
            "previous": url(max(offset - limit, 0)) if offset else "",
        }


def _public_job(job: Job) -> dict[str, Any]:
    end = job.updated if not job.active else max(job.updated, job.started)
    return {
        "jobId": job.id,
        "status": job.status,
        "jobType": "sync",
        "startTime": _time(job.started or job.created),
        "connectionId": job.connection_id,
        "lastUpdatedAt": _time(job.updated),
        "duration": f"PT{max(end - (job.started or job.created), 0):.3f}S",
        "bytesSynced": job.bytes,
        "rowsSynced": job.records,
    }


def _stats(records: int, size: int) -> dict[str, int]:
    return {
        "recordsEmitted": records,
        "bytesEmitted": size,
        "recordsCommitted": records,
        "bytesCommitted": size,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _first(query: Mapping[str, Sequence[str]], name: str) -> str | None:
    return next(iter(query.get(name, [])), None)


def _field(body: Any, name: str) -> Any:
    if not isinstance(body, dict) or name not in body:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body must be JSON with {name}, not {json.dumps(body)}")
    return body[name]


def _missing(kind: str, identity: str) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, f"no {kind} {identity}")
