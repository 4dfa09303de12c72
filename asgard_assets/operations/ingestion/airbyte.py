"""Sources, sinks and syncs of the Airbyte server that the settings name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from asgard_assets.errors import ConfigError, NotBuiltError, NotFoundError
from asgard_assets.operations.ingestion.cron import airbyte_cron, next_tick
from asgard_assets.operations.ingestion.manifest import manifest_of, rest_api
from asgard_assets.resources.airbyte import ACTIVE, Client, Refused, Workspace
from asgard_assets.roots import is_remote
from asgard_assets.settings import Settings

DEFAULT_WORKSPACE = "default"
LATER = ("mongodb",)
"""Sources of the documents that need a connector which not every Airbyte has."""
_API = ("api", "rest", "rest_api")
_SHOWN = ("host", "port", "database", "username", "base_url", "streams", "count", "seed")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]*")
_FORMAT = {
    "format_type": "JSONL",
    "flattening": "Root level flattening",
    "compression": {"compression_type": "GZIP"},
}


@dataclass(frozen=True)
class DataSource:
    """A source, without its secrets."""

    source_id: str
    name: str
    source_type: str
    workspace_name: str
    source_config: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Sink:
    """An S3 destination. `created`: seconds since 1970; 0: declared in a file, and so older than all."""

    destination_id: str
    name: str
    workspace_name: str
    bucket: str
    path: str
    created: int = 0
    destination_type: str = "s3"

    def folder(self, stream: str = "", landing: str = "") -> str:
        """The sink's folder below the landing root, or that of a stream. Raises ConfigError where it lies outside.

        The local Airbyte server keeps each bucket as a folder of the root. Its own folder has the path `airbyte`, and
        the bucket `landing` is the root itself.
        """
        name = re.sub(r"[^A-Za-z0-9_]", "_", stream)
        if is_remote(landing):
            place, root = (
                "/".join(filter(None, [self.bucket, self.path.strip("/")])),
                landing.partition("://")[2].strip("/"),
            )
            if not f"{place}/".startswith(f"{root}/"):
                raise ConfigError(
                    f"the sink {self.name} lies outside of ASGARD_LANDING ({landing}), so its streams cannot be read"
                )
            return "/".join(filter(None, [place[len(root) :].strip("/"), name]))
        if self.path.strip("/") in ("", "airbyte"):
            return "/".join(filter(None, ["airbyte", name]))
        parts = [] if self.bucket == "landing" else [self.bucket]
        return "/".join(filter(None, [*parts, *self.path.split("/"), name]))


@dataclass(frozen=True)
class Ingestion:
    """A connection between a source and a sink, and its last job."""

    connection_id: str
    connection_name: str
    source_id: str
    destination_id: str
    workspace_name: str
    status: str
    job_id: int | None = None
    streams: tuple[str, ...] = ()
    schedule: str = ""


@dataclass(frozen=True)
class IngestionStatus:
    """How a connection stands. Times are ISO 8601; None: never, or not planned."""

    connection_id: str
    status: str
    job_id: int | None
    last_sync: str | None
    next_sync: str | None
    rows: int | None
    reason: str = ""


class Airbyte:
    """What is asked of Airbyte. Each method raises Refused or Unreachable where it does not do as asked."""

    def __init__(self, client: Client, now: Any = lambda: datetime.now(UTC)) -> None:
        self._client, self._now = client, now

    @classmethod
    def from_settings(cls) -> Airbyte:
        from asgard_assets.resources.airbyte import beta_accepted

        with beta_accepted():
            return cls(Workspace(workspace_id="", request_timeout=60).get_client())

    def workspace(self, name: str = DEFAULT_WORKSPACE) -> tuple[str, str]:
        """(id, name) of a workspace; `default` is the first where none is called so. Raises NotFoundError."""
        known = [(str(w["workspaceId"]), str(w["name"])) for w in self._client.pages("/workspaces")]
        found = [one for one in known if one[1] == name] or known[: name == DEFAULT_WORKSPACE]
        if not found:
            raise NotFoundError(f"there is no workspace {name!r}; Airbyte has {_listed(n for _, n in known)}")
        return found[0][0], name

    def _names(self, workspace_id: str) -> list[str]:
        """What a workspace is called; the first is also the default one."""
        known = [(str(w["workspaceId"]), str(w["name"])) for w in self._client.pages("/workspaces")]
        names = [name for number, name in known if number == workspace_id]
        return [*names, DEFAULT_WORKSPACE] if known and known[0][0] == workspace_id else names

    # Sources

    def sources(self, workspace: str = DEFAULT_WORKSPACE) -> list[DataSource]:
        place, name = self.workspace(workspace)
        return [_source(one, name) for one in self._client.pages("/sources", workspaceIds=place)]

    def add_source(self, kind: str, workspace: str, config: Mapping[str, Any], name: str) -> DataSource:
        """Raises ConfigError where the configuration cannot be one, NotBuiltError without a connector."""
        place, shown = self.workspace(workspace)
        body: dict[str, Any] = {"name": name, "workspaceId": place}
        if kind in _API:
            body |= self._low_code(place, name, config)
        else:
            body["configuration"] = {"sourceType": kind, **config}
        try:
            made = self._client.ask("POST", "/sources", body)
        except Refused as refused:
            if refused.status == 501 or (kind in LATER and refused.status == 404):
                raise NotBuiltError(
                    f"{kind}: this Airbyte has no connector source-{kind}. Use an Airbyte that has it (AIRBYTE_BASE_URL)"
                ) from refused
            raise
        return _source({**made, "sourceType": kind}, shown)

    def _low_code(self, place: str, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
        api = rest_api(config)
        path = f"/workspaces/{place}/definitions/declarative_sources"
        made = self._client.ask("POST", path, {"name": name, "manifest": manifest_of(api)})
        token = {"api_token": api.api_token} if api.api_token else {}
        return {"definitionId": made["id"], "configuration": token}

    # Sinks

    def sinks(self, workspace: str = DEFAULT_WORKSPACE) -> list[Sink]:
        """S3 destinations, the oldest first; those that a file declares come last."""
        place, name = self.workspace(workspace)
        found = self._client.pages("/destinations", workspaceIds=place)
        sinks = [_sink(one, name) for one in found if one.get("destinationType") == "s3"]
        return sorted(sinks, key=lambda sink: (not sink.created, sink.created))

    def sink(self, destination_id: str, workspace: str) -> Sink:
        """Raises NotFoundError where there is no such sink."""
        for one in self.sinks(workspace):
            if one.destination_id == destination_id:
                return one
        raise NotFoundError(
            f"there is no S3 sink {destination_id} in the workspace {workspace}; see GET /sink"
        )

    def add_sink(self, workspace: str, config: Mapping[str, Any], name: str) -> Sink:
        """Raises ConfigError where bucket or path is none."""
        place, shown = self.workspace(workspace)
        known = dict(config)
        bucket = _address(str(known.pop("s3_bucket_name", "")), "s3_bucket_name", bucket=True)
        path = _address(str(known.pop("s3_bucket_path", "bronze/")), "s3_bucket_path")
        keys = {
            to: known.pop(name)
            for name, to in (
                ("aws_access_key_id", "access_key_id"),
                ("aws_secret_access_key", "secret_access_key"),
            )
            if known.get(name)
        }
        region = known.pop("s3_bucket_region", Settings().s3_region)
        configuration = {
            "destinationType": "s3",
            "s3_bucket_name": bucket,
            "s3_bucket_path": path,
            "s3_bucket_region": region,
            "s3_path_format": "${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_",
            "format": _FORMAT,
            **keys,
        }
        made = self._client.ask(
            "POST", "/destinations", {"name": name, "workspaceId": place, "configuration": configuration}
        )
        return _sink({**made, "configuration": configuration}, shown)

    # Syncs

    def ingest(
        self, source_id: str, destination_id: str, workspace: str, name: str, cron: str = ""
    ) -> Ingestion:
        """Connect all streams of a source to a sink, and start a sync. Raises NotFoundError, ConfigError."""
        _, shown = self.workspace(workspace)
        if source_id not in {one.source_id for one in self.sources(workspace)}:
            raise NotFoundError(
                f"there is no source {source_id} in the workspace {shown}; see GET /datasource"
            )
        self.sink(destination_id, workspace)
        body: dict[str, Any] = {"name": name, "sourceId": source_id, "destinationId": destination_id}
        if cron:
            body["schedule"] = {"scheduleType": "cron", "cronExpression": airbyte_cron(cron)}
        made = self._client.ask("POST", "/connections", body)
        return self.started(_ingestion({**made, "schedule": body.get("schedule")}, shown))

    def started(self, made: Ingestion) -> Ingestion:
        """The ingestion with its first sync, which is started unless there is one."""
        jobs = self._client.pages("/jobs", connectionId=made.connection_id)
        first = min(jobs, key=lambda job: int(job["jobId"]), default=None) or self._client.ask(
            "POST", "/jobs", {"connectionId": made.connection_id, "jobType": "sync"}
        )
        return replace(made, status=_word(first["status"]), job_id=int(first["jobId"]))

    def ingestions(self, workspace: str = DEFAULT_WORKSPACE) -> list[Ingestion]:
        place, name = self.workspace(workspace)
        found = self._client.pages("/connections", workspaceIds=place)
        return [_ingestion(one, name) for one in sorted(found, key=lambda one: one.get("createdAt") or 0)]

    def status(self, connection_id: str, sees: Callable[[str], bool] = lambda _: True) -> IngestionStatus:
        """Raises NotFoundError where there is no such connection in a workspace that the caller sees."""
        try:
            made = self._client.ask("GET", f"/connections/{_plain_id(connection_id)}")
        except Refused as refused:
            if refused.status == 404:
                raise NotFoundError(f"there is no ingestion {connection_id}") from refused
            raise
        if not any(sees(name) for name in self._names(str(made.get("workspaceId", "")))):
            raise NotFoundError(f"there is no ingestion {connection_id}")
        jobs = self._client.pages("/jobs", connectionId=connection_id)
        last = max(jobs, key=lambda job: int(job["jobId"]), default=None)
        done = [job for job in jobs if job["status"] == "succeeded"]
        newest = max(done, key=lambda job: int(job["jobId"]), default=None)
        return IngestionStatus(
            connection_id,
            _word(last["status"] if last else "pending"),
            int(last["jobId"]) if last else None,
            newest.get("lastUpdatedAt") if newest else None,
            next_tick(str((made.get("schedule") or {}).get("cronExpression", "")), self._now()),
            newest.get("rowsSynced") if newest else None,
        )


def _source(one: Mapping[str, Any], workspace: str) -> DataSource:
    config = {name: value for name, value in (one.get("configuration") or {}).items() if name in _SHOWN}
    return DataSource(
        str(one["sourceId"]), str(one["name"]), str(one.get("sourceType", "")), workspace, config
    )


def _sink(one: Mapping[str, Any], workspace: str) -> Sink:
    config = one.get("configuration") or {}
    bucket, path = str(config.get("s3_bucket_name", "")), str(config.get("s3_bucket_path", ""))
    return Sink(
        str(one["destinationId"]), str(one["name"]), workspace, bucket, path, int(one.get("createdAt") or 0)
    )


def _ingestion(one: Mapping[str, Any], workspace: str) -> Ingestion:
    streams: Sequence[Mapping[str, Any]] = (one.get("configurations") or {}).get("streams") or []
    return Ingestion(
        str(one["connectionId"]), str(one["name"]), str(one["sourceId"]), str(one["destinationId"]), workspace,
        str(one.get("status", "")), None,
        tuple(str(stream["name"]) for stream in streams),
        str((one.get("schedule") or {}).get("cronExpression", "")),
    )  # fmt: skip


def _word(status: str) -> str:
    """Airbyte's word for a job's status, as the API of transforms says it."""
    words = {"pending": "SUBMITTED", "succeeded": "COMPLETED", "failed": "FAILED", "cancelled": "CANCELLED"}
    return "RUNNING" if status in ACTIVE and status != "pending" else words.get(status, status.upper())


def _address(text: str, field: str, bucket: bool = False) -> str:
    parts = [part for part in text.split("/") if part]
    if not parts and not bucket:
        return ""
    if not parts or (bucket and len(parts) > 1) or not all(_PART.fullmatch(part) for part in parts):
        raise ConfigError(
            f"{field}: {text[:100]!r} is not possible; expected {'one name such as data-lake' if bucket else 'a path such as bronze/'}, "
            "with letters, digits and . _ = - only"
        )
    return "/".join(parts)


def _plain_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text):
        raise NotFoundError("there is no ingestion with such an id")
    return text


def _listed(names: Any) -> str:
    return ", ".join(names) or "none"
