"""Airbyte's public API and the calls of its configuration API that clients use, in Airbyte's own shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError

from asgard_assets.errors import ConfigError
from deployments.local.airbyte import shapes
from deployments.local.airbyte.door import Refused
from deployments.local.airbyte.jobs import Job
from deployments.local.airbyte.login import Login
from deployments.local.airbyte.manifest import INJECTED, LOW_CODE, UnsafeManifest
from deployments.local.airbyte.protocol import ConnectorError
from deployments.local.airbyte.registry import Declared, Destination, Link, Source
from deployments.local.airbyte.syncs import Conflict, Paused, Syncs
from deployments.local.airbyte.workspace import Stream, identity

NOTICE = "Asgard's development server: it answers as Airbyte does, but it is not Airbyte."
PUBLIC, CONFIG = "/api/public/v1", "/api/v1"
MOST_LOG_LINES = 1000


class Api:
    """`answer` is the whole interface: a request in, a JSON value (None: no content) out; raises Refused."""

    def __init__(self, syncs: Syncs, base_url: str, login: Login) -> None:
        self._syncs = syncs
        self._registry = syncs.registry
        self._base_url = base_url
        self._login = login
        lowcode = f"{PUBLIC}/workspaces/([^/]+)/definitions/declarative_sources"
        self._open = {"/", "/health", f"{CONFIG}/health", f"{PUBLIC}/health", f"{PUBLIC}/applications/token"}
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., Any]]] = [
            (method, re.compile(pattern + "$"), handler)
            for method, pattern, handler in (
                ("GET", "/", lambda *_: {"server": NOTICE}),
                ("GET", f"(?:/health|{CONFIG}/health)", lambda *_: {"available": True, "server": NOTICE}),
                ("GET", f"{PUBLIC}/health", lambda *_: {"message": "Successful operation"}),
                ("POST", f"{PUBLIC}/applications/token", self._token),
                ("GET", f"{PUBLIC}/workspaces", self._workspaces),
                ("GET", f"{PUBLIC}/workspaces/([^/]+)", self._one_workspace),
                ("GET", f"{PUBLIC}/sources", self._sources),
                ("POST", f"{PUBLIC}/sources", self._new_source),
                ("GET", f"{PUBLIC}/sources/([^/]+)", self._one_source),
                ("DELETE", f"{PUBLIC}/sources/([^/]+)", self._delete_source),
                ("GET", f"{PUBLIC}/destinations", self._destinations),
                ("POST", f"{PUBLIC}/destinations", self._new_destination),
                ("GET", f"{PUBLIC}/destinations/([^/]+)", self._one_destination),
                ("DELETE", f"{PUBLIC}/destinations/([^/]+)", self._delete_destination),
                ("GET", f"{PUBLIC}/streams", self._streams),
                ("GET", f"{PUBLIC}/connections", self._connections),
                ("POST", f"{PUBLIC}/connections", self._new_connection),
                ("GET", f"{PUBLIC}/connections/([^/]+)", self._one_connection),
                ("PATCH", f"{PUBLIC}/connections/([^/]+)", self._change_connection),
                ("DELETE", f"{PUBLIC}/connections/([^/]+)", self._delete_connection),
                ("GET", lowcode, self._definitions),
                ("POST", lowcode, self._new_definition),
                ("GET", f"{PUBLIC}/jobs", self._jobs),
                ("POST", f"{PUBLIC}/jobs", self._start),
                ("GET", f"{PUBLIC}/jobs/(\\d+)", self._one_job),
                ("DELETE", f"{PUBLIC}/jobs/(\\d+)", self._cancel),
                ("POST", f"{CONFIG}/connections/get", self._connection_details),
                ("POST", f"{CONFIG}/jobs/get", self._job_details),
                ("POST", f"{CONFIG}/source_definition_specifications/get", self._specification),
                ("POST", f"{CONFIG}/sources/check_connection", self._check),
                ("POST", f"{CONFIG}/sources/discover_schema", self._discover),
                ("GET", "/workspaces/([^/]+)/connections/([^/]+)/timeline", self._timeline),
            )
        ]

    def answer(
        self, method: str, path: str, query: Mapping[str, Sequence[str]], body: Any, authorization: str = ""
    ) -> Any:
        if path not in self._open and not self._login.admits(authorization):
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "no valid login: who started this server finds its token in ~/.cache/asgard/airbyte/token-PORT; "
                "send it as password of the user asgard",
            )
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
        token = self._login.token(str(_field(body, "client_id")), str(_field(body, "client_secret")))
        if token is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "client_id and client_secret are not the server's")
        return {"access_token": token, "token_type": "Bearer", "expires_in": self._login.token_seconds}

    # Workspace, sources, destinations --------------------------------------------------------------------

    def _workspaces(self, query: Any, body: Any) -> Any:
        return self._page("/workspaces", query, [self._one_workspace(query, body, self._registry.id)])

    def _one_workspace(self, query: Any, body: Any, workspace_id: str) -> Any:
        self._workspace(workspace_id)
        return {
            "workspaceId": workspace_id,
            "name": self._registry.name,
            "dataResidency": "auto",
            "notifications": {},
        }

    def _sources(self, query: Any, body: Any) -> Any:
        shown = self._registry.sources.values() if self._asked(query) else ()
        return self._page("/sources", query, [shapes.source(s, self._registry.id) for s in shown])

    def _one_source(self, query: Any, body: Any, source_id: str) -> Any:
        return shapes.source(self._source(source_id), self._registry.id)

    def _new_source(self, query: Any, body: Any) -> Any:
        self._workspace(str(_field(body, "workspaceId")))
        config = dict(_field(body, "configuration"))
        kind, definition = str(config.pop("sourceType", "")), str(body.get("definitionId") or "")
        if definition in self._registry.definitions:
            command = LOW_CODE
        elif kind or definition:
            command = next(
                (c for c in shapes.CONNECTORS if identity("definition", c) == definition), f"source-{kind}"
            )
        else:
            raise Refused(HTTPStatus.BAD_REQUEST, "configuration.sourceType or definitionId must be given")
        full = {**config, INJECTED: self._registry.definitions[definition].manifest} if (
            definition in self._registry.definitions
        ) else config  # fmt: skip
        try:
            schema = self._syncs.specification(command).get("connectionSpecification") or {}
        except ConfigError as error:  # no such connector here
            raise Refused(HTTPStatus.NOT_IMPLEMENTED, str(error)) from error
        if problem := shapes.misfit(schema, full):
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY, f"the configuration does not fit {command}: {problem}"
            )
        try:
            made = self._registry.add_source(str(_field(body, "name")), command, config, definition)
        except UnsafeManifest as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        return shapes.source(made, self._registry.id)

    def _delete_source(self, query: Any, body: Any, source_id: str) -> None:
        self._delete("sources", self._source(source_id), "sourceId")

    def _destinations(self, query: Any, body: Any) -> Any:
        shown = self._registry.destinations.values() if self._asked(query) else ()
        return self._page("/destinations", query, [shapes.destination(d, self._registry.id) for d in shown])

    def _one_destination(self, query: Any, body: Any, destination_id: str) -> Any:
        return shapes.destination(self._destination(destination_id), self._registry.id)

    def _new_destination(self, query: Any, body: Any) -> Any:
        self._workspace(str(_field(body, "workspaceId")))
        config = dict(_field(body, "configuration"))
        if (kind := config.get("destinationType", "s3")) != "s3":
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"destination {kind} is not served here: only s3, which lands files locally",
            )
        try:
            made = self._registry.add_destination(str(_field(body, "name")), config)
        except ValueError as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        return shapes.destination(made, self._registry.id)

    def _delete_destination(self, query: Any, body: Any, destination_id: str) -> None:
        self._delete("destinations", self._destination(destination_id), "destinationId")

    def _definitions(self, query: Any, body: Any, workspace_id: str) -> Any:
        self._workspace(workspace_id)
        shown = [shapes.definition(d) for d in self._registry.definitions.values()]
        return self._page(f"/workspaces/{workspace_id}/definitions/declarative_sources", query, shown)

    def _new_definition(self, query: Any, body: Any, workspace_id: str) -> Any:
        self._workspace(workspace_id)
        manifest = _field(body, "manifest")
        if not isinstance(manifest, dict) or not manifest.get("streams"):
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "manifest must be an object that has streams")
        try:
            made = self._registry.add_definition(str(_field(body, "name")), manifest)
        except UnsafeManifest as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        return shapes.definition(made)

    # Connections -----------------------------------------------------------------------------------------

    def _streams(self, query: Any, body: Any) -> Any:
        source = self._source(str(_first(query, "sourceId")))
        anew = str(_first(query, "ignoreCache")).lower() == "true"
        return [shapes.stream_properties(stream) for stream in self._catalog(source, anew=anew)]

    def _connections(self, query: Any, body: Any) -> Any:
        shown = list(self._registry.connections.values()) if self._asked(query) else []
        if tags := [t for v in query.get("tagIds", []) for t in v.split(",")]:
            shown = [c for c in shown if any(identity("tag", t) in tags for t in c.tags)]
        return self._page("/connections", query, [shapes.connection(c, self._registry.id) for c in shown])

    def _one_connection(self, query: Any, body: Any, connection_id: str) -> Any:
        return shapes.connection(self._connection(connection_id), self._registry.id)

    def _new_connection(self, query: Any, body: Any) -> Any:
        source = self._source(str(_field(body, "sourceId")))
        destination = self._destination(str(_field(body, "destinationId")))
        streams = self._chosen(source, body.get("configurations"))
        made = self._registry.add_connection(
            Link(
                "",
                str(body.get("name") or f"{source.name} → {destination.name}"),
                source.id,
                destination.id,
                streams,
                str(body.get("prefix") or ""),
                str(body.get("status") or "active"),
                tuple(tag["name"] for tag in body.get("tags") or ()),
            )
        )
        return shapes.connection(made, self._registry.id)

    def _change_connection(self, query: Any, body: Any, connection_id: str) -> Any:
        known = self._connection(connection_id)
        if not isinstance(body, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
        changed = {n: body[n] for n in ("name", "status", "prefix") if body.get(n) is not None}
        if body.get("tags") is not None:
            changed["tags"] = tuple(tag["name"] for tag in body["tags"])
        if body.get("configurations"):
            source = self._registry.sources[known.source_id]
            changed["streams"] = self._chosen(source, body["configurations"])
        after = self._registry.change_connection(Link(**{**known.__dict__, **changed}))
        return shapes.connection(after, self._registry.id)

    def _delete_connection(self, query: Any, body: Any, connection_id: str) -> None:
        known = self._connection(connection_id)
        if any(j.connection_id == known.id and j.active for j in self._syncs.store.jobs()):
            raise Refused(HTTPStatus.CONFLICT, f"connection {known.name} has a running job")
        self._delete("connections", known, "")

    def _chosen(self, source: Source, configurations: Any) -> tuple[Stream, ...]:
        """The streams that a request configures; all of the source's as full refresh where it names none."""
        offered = {stream["name"]: stream for stream in self._catalog(source)}
        asked = (configurations or {}).get("streams") or [{"name": name} for name in offered]
        chosen = []
        for one in asked:
            if one.get("name") not in offered:
                raise Refused(
                    HTTPStatus.BAD_REQUEST,
                    f"source {source.name} has no stream {one.get('name')}; it has {', '.join(sorted(offered))}",
                )
            try:
                stream = Stream(
                    name=one["name"],
                    sync=one.get("syncMode") or "full_refresh_overwrite",
                    cursor=tuple(one.get("cursorField") or ()),
                    primary_key=tuple(tuple(p) for p in one.get("primaryKey") or ()),
                )
            except ValidationError as error:
                raise Refused(
                    HTTPStatus.BAD_REQUEST,
                    f"stream {one['name']}: {error.errors()[0]['msg']} (the S3 destination keeps no history)",
                ) from error
            if stream.modes[0] not in offered[stream.name].get("supported_sync_modes", []):
                raise Refused(
                    HTTPStatus.BAD_REQUEST, f"stream {stream.name} cannot be read as {stream.modes[0]}"
                )
            chosen.append(stream)
        return tuple(chosen)

    def _connection_details(self, query: Any, body: Any) -> Any:
        connection = self._connection(str(_field(body, "connectionId")))
        return shapes.connection_details(
            connection, self._syncs.discover(connection.source_id), self._registry.id
        )

    # Asking connectors -----------------------------------------------------------------------------------

    def _specification(self, query: Any, body: Any) -> Any:
        definition = str(_field(body, "sourceDefinitionId"))
        command = next((c for c in shapes.CONNECTORS if identity("definition", c) == definition), None)
        command = LOW_CODE if definition in self._registry.definitions else command
        if command is None:
            raise _missing("source definition", definition)
        found = self._syncs.specification(command)
        return {
            "sourceDefinitionId": definition,
            "documentationUrl": found.get("documentationUrl", ""),
            "connectionSpecification": found.get("connectionSpecification", {}),
        }

    def _check(self, query: Any, body: Any) -> Any:
        source = self._source(str(_field(body, "sourceId")))
        reason = self._syncs.check(source.id)
        return {"status": "failed", "message": reason} if reason else {"status": "succeeded"}

    def _discover(self, query: Any, body: Any) -> Any:
        source = self._source(str(_field(body, "sourceId")))
        found = self._catalog(source, anew=bool(body.get("disable_cache")))
        return {"catalog": {"streams": [shapes.catalog_stream(s, None) for s in found]}}

    # Jobs ------------------------------------------------------------------------------------------------

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
        return self._page("/jobs", query, [shapes.job(job) for job in jobs])

    def _start(self, query: Any, body: Any) -> Any:
        if (kind := _field(body, "jobType")) != "sync":
            raise Refused(
                HTTPStatus.NOT_IMPLEMENTED, f"this development server runs syncs, not jobs of type {kind}"
            )
        connection_id = self._connection(str(_field(body, "connectionId"))).id
        try:
            return shapes.job(self._syncs.start(connection_id))
        except Conflict as error:
            raise Refused(HTTPStatus.CONFLICT, str(error)) from error
        except Paused as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error

    def _one_job(self, query: Any, body: Any, job_id: str) -> Any:
        return shapes.job(self._job(int(job_id)))

    def _cancel(self, query: Any, body: Any, job_id: str) -> Any:
        self._syncs.cancel(self._job(int(job_id)).id)
        return shapes.job(self._job(int(job_id)))

    def _job_details(self, query: Any, body: Any) -> Any:
        job = self._job(int(_field(body, "id")))
        return shapes.job_details(job, self._log(job))

    def _timeline(self, query: Any, body: Any, workspace_id: str, connection_id: str) -> Any:
        """What Airbyte's own page of a connection tells, as JSON: its jobs, or one with its log."""
        self._workspace(workspace_id)
        connection = self._connection(connection_id)
        if asked := _first(query, "jobId"):
            return self._job_details(query, {"id": asked})
        jobs = [j for j in self._syncs.store.jobs() if j.connection_id == connection.id]
        return {"connection": connection.name, "jobs": [shapes.job(j) for j in jobs]}

    # Looking up ------------------------------------------------------------------------------------------

    def _log(self, job: Job) -> list[str]:
        path = self._syncs.store.log(job.id)
        return path.read_text("utf-8", "replace").splitlines()[-MOST_LOG_LINES:] if path.exists() else []

    def _workspace(self, workspace_id: str) -> None:
        if workspace_id != self._registry.id:
            raise _missing("workspace", workspace_id)

    def _asked(self, query: Any) -> bool:
        asked = [i for value in query.get("workspaceIds", []) for i in value.split(",")]
        return not asked or self._registry.id in asked

    def _source(self, source_id: str) -> Source:
        return _known("source", self._registry.sources, source_id)

    def _destination(self, destination_id: str) -> Destination:
        return _known("destination", self._registry.destinations, destination_id)

    def _connection(self, connection_id: str) -> Link:
        return _known("connection", self._registry.connections, connection_id)

    def _catalog(self, source: Source, *, anew: bool = False) -> list[dict[str, Any]]:
        try:
            return self._syncs.discover(source.id, anew=anew)
        except ConnectorError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"source {source.name}: {error}") from error

    def _delete(self, kind: str, known: Source | Destination | Link, used_as: str) -> None:
        users = [c.name for c in self._registry.connections.values()
                 if known.id in (c.source_id, c.destination_id)]  # fmt: skip
        if used_as and users:
            raise Refused(HTTPStatus.CONFLICT, f"{known.name} is used by connection {', '.join(users)}")
        try:
            self._registry.delete(kind, known.id)
        except Declared as error:
            raise Refused(HTTPStatus.CONFLICT, str(error)) from error

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
        limit, offset = min(max(limit, 1), 100), max(offset, 0)
        rest = [(n, v) for n, values in query.items() if n not in ("limit", "offset") for v in values]

        def url(start: int) -> str:
            return f"{self._base_url}{PUBLIC}{path}?{urlencode([*rest, ('limit', limit), ('offset', start)])}"

        return {
            "data": items[offset : offset + limit],
            "next": url(offset + limit) if offset + limit < len(items) else "",
            "previous": url(max(offset - limit, 0)) if offset else "",
        }


def _first(query: Mapping[str, Sequence[str]], name: str) -> str | None:
    return next(iter(query.get(name, [])), None)


def _field(body: Any, name: str) -> Any:
    if not isinstance(body, dict) or name not in body:
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body must be JSON with {name}, not {json.dumps(body)}")
    return body[name]


def _known(kind: str, found: Mapping[str, Any], key: str) -> Any:
    if key not in found:
        raise _missing(kind, key)
    return found[key]


def _missing(kind: str, identity: str) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, f"no {kind} {identity}")
