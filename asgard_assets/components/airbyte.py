"""Airbyte connections as assets `[airbyte, <stream>]`, from a snapshot that is committed beside `defs.yaml`.

The code location loads from `snapshot.json` and never asks a server: not under `dagster dev`, not in a run.
`refresh_snapshot` (command `asgard airbyte refresh`) rewrites it. A sync is unpartitioned; it lands files,
and the loader that takes them to Bronze gives their rows a `ds`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import yaml
from dagster.components.resolved.base import resolve_fields
from dagster.components.utils.defs_state import DefsStateConfig, DefsStateConfigArgs, ResolvedDefsStateConfig
from dagster_airbyte import AirbyteConnectionTableProps, AirbyteWorkspace, AirbyteWorkspaceComponent
from dagster_airbyte.components.workspace_component.component import BaseAirbyteWorkspaceModel
from dagster_airbyte.resources import AirbyteClient, BaseAirbyteWorkspace
from dagster_airbyte.translator import AirbyteConnection, AirbyteJob, AirbyteWorkspaceData
from dagster_shared.serdes.errors import DeserializationError
from dagster_shared.serdes.objects.models.defs_state_info import DefsStateManagementType
from pydantic import Field, PrivateAttr

from asgard_assets.components.failures import clear_failures
from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.settings import ROOT, Settings

SNAPSHOT = "snapshot.json"
REFRESH = "asgard airbyte refresh"
LOG_LINES_SHOWN = 20


class Client(AirbyteClient):
    """dagster-airbyte's client, and the one call that it lacks."""

    def get_attempt(self, job_id: int) -> Mapping[str, Any]:
        """The job's last attempt, with figures by stream, failures and log. Raises dg.Failure without it."""
        url = f"{self.configuration_api_base_url}/jobs/get"
        info = self._single_request("POST", url, data={"id": job_id})
        last = (info.get("attempts") or [{}])[-1]
        return {**(last.get("attempt") or {}), "logLines": (last.get("logs") or {}).get("logLines") or []}


class Workspace(AirbyteWorkspace):
    """An Airbyte workspace at the address in setting ASGARD_AIRBYTE_URL, read when a client is made."""

    rest_api_base_url: str = ""
    configuration_api_base_url: str = ""

    def get_client(self) -> Client:
        url = Settings().airbyte_url.rstrip("/")
        given = {name: getattr(self, name) for name in AirbyteClient.model_fields if hasattr(self, name)}
        given["rest_api_base_url"] = self.rest_api_base_url or f"{url}/api/public/v1"
        given["configuration_api_base_url"] = self.configuration_api_base_url or f"{url}/api/v1"
        for name in ("client_id", "client_secret", "username", "password"):
            given[name] = _secret(name, given[name])
        with _beta_accepted():
            return Client(**given)


class WorkspaceModel(BaseAirbyteWorkspaceModel):
    """The `workspace:` of a defs.yaml. The server's address is a deployment's setting, so it is not here."""

    workspace_id: str = Field(description="Airbyte's id of the workspace; the snapshot must be of the same.")
    request_timeout: int = Field(default=60, ge=1, description="Seconds to wait for an answer of the API.")
    poll_interval: float = Field(
        default=1.0, gt=0, description="Seconds between two looks at a running sync."
    )
    poll_previous_running_sync: bool = Field(
        default=True, description="Follow a sync that already runs; else fail."
    )
    client_id: str | None = Field(default=None, description="Reference to a client id: env:NAME.")
    client_secret: str | None = Field(default=None, description="Reference to a client secret: env:NAME.")
    username: str | None = Field(default=None, description="Reference to a user name: env:NAME.")
    password: str | None = Field(default=None, description="Reference to a password: env:NAME.")


def _workspace(context: dg.ResolutionContext, model: Any) -> Workspace:
    # Through the model: `resolve_fields` leaves out what the YAML leaves out, and so would lose its defaults.
    values = WorkspaceModel(**resolve_fields(model, WorkspaceModel, context))
    with _beta_accepted():
        return Workspace(**values.model_dump())


class AirbyteSyncs(AirbyteWorkspaceComponent):
    """Assets for the selected streams of a workspace's connections; one op, and one pool, a connection."""

    # Narrower than in the parent: no Cloud class, whose addresses are fixed.
    workspace: Annotated[Workspace, dg.Resolver(_workspace, model_field_type=WorkspaceModel)]  # pyright: ignore[reportIncompatibleVariableOverride]
    owners: tuple[str, ...] = Field(
        default=(), description="Owners of the streams; default: setting ASGARD_OWNER."
    )
    tags: dict[str, str] = Field(default_factory=dict, description="Tags of every stream.")
    descriptions: dict[str, str] = Field(
        default_factory=dict, description="What a stream holds, by its name."
    )
    # The state is the committed file. These fields keep `dagster dev` from asking the server at each load.
    defs_state: ResolvedDefsStateConfig = DefsStateConfigArgs(
        management_type=DefsStateManagementType.LOCAL_FILESYSTEM, refresh_if_dev=False
    )

    _folder: Path | None = PrivateAttr(None)

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> AirbyteSyncs:
        component = super().load(attributes, context)
        component._folder = context.path
        return component

    @property
    def defs_state_config(self) -> DefsStateConfig:
        key = f"airbyte-{self.workspace.workspace_id}"
        return DefsStateConfig.from_args(self.defs_state, default_key=key)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return self.build_defs_from_state(context, context.path / SNAPSHOT)

    async def refresh_state(self, project_root: Path) -> str:
        """What `dg utils refresh-defs-state` calls: rewrites the committed snapshot."""
        assert self._folder is not None
        refresh_snapshot(self._folder)
        return "committed"

    async def write_state_to_path(self, state_path: Path) -> None:
        state_path.write_text(snapshot_text(self.workspace), encoding="utf-8")

    def build_defs_from_state(
        self, context: dg.ComponentLoadContext, state_path: Path | None
    ) -> dg.Definitions:
        """Raises ConfigError where there is no snapshot, a broken one, or one of another workspace."""
        assert state_path is not None
        state = read_snapshot(state_path, self.workspace.workspace_id)
        select = self.connection_selector or (lambda connection: True)
        specs: dict[str, list[dg.AssetSpec]] = defaultdict(list)
        owner_of: dict[dg.AssetKey, str] = {}
        for props in state.to_airbyte_connection_table_props_data():
            if select(state.connections_by_id[props.connection_id]):
                spec = self.translator.get_asset_spec(props)
                other = owner_of.setdefault(spec.key, props.connection_name)
                if spec in specs[props.connection_id] or other != props.connection_name:
                    raise ConfigError(
                        f"{state_path}: connections {other} and {props.connection_name} both have "
                        f"{spec.key.to_user_string()}; give one a prefix in Airbyte, or a `translation` here",
                        file=str(state_path),
                    )
                specs[props.connection_id].append(spec)
        return dg.Definitions(
            assets=[self._syncs(state.connections_by_id[i].name, found) for i, found in specs.items()]
        )

    def get_asset_spec(self, props: AirbyteConnectionTableProps) -> dg.AssetSpec:
        """The asset of a stream. Uses nothing of the destination: at run time it is not known."""
        known = self.descriptions.get(props.stream_name)
        return dg.AssetSpec(
            key=["airbyte", _name(props.table_name)],
            group_name="airbyte",
            description=f"{known or f'Stream {props.stream_name}'} "
            f"Synced by the Airbyte connection {props.connection_name} into landing files.",
            owners=list(self.owners or (Settings().owner,)),
            tags={"stage": "airbyte", "connection": _name(props.connection_name), **self.tags},
            kinds={"airbyte"},
            metadata={
                "dagster/column_schema": _columns(props.json_schema),
                "airbyte/connection_id": props.connection_id,
                "airbyte/stream": props.stream_name,
            },
        )

    def execute(
        self, context: dg.AssetExecutionContext, airbyte: BaseAirbyteWorkspace
    ) -> Iterable[dg.AssetMaterialization | dg.MaterializeResult]:
        """Sync the whole connection, wait for its end, and report each stream's figures.

        A sync that already runs is followed; one whose run is cancelled is cancelled. Streams that were not
        asked for were synced all the same, so they are reported too. Raises dg.Failure with Airbyte's reason.
        """
        connection_id = next(iter(context.assets_def.specs)).metadata["airbyte/connection_id"]
        client = airbyte.get_client()
        assert isinstance(client, Client)
        try:
            output = client.sync_and_poll(connection_id)
        except dg.Failure as failure:
            raise _explained(client, connection_id, failure) from failure
        job = AirbyteJob.from_job_details(output.job_details)
        figures = _figures(client, output.job_details)
        connection = AirbyteConnection.from_connection_details(output.connection_details)
        by_stream = {spec.metadata["airbyte/stream"]: spec.key for spec in context.assets_def.specs}
        synced = {name for name, stream in connection.streams.items() if stream.selected}
        for name in sorted(synced - set(by_stream)):
            context.log.warning(f"stream {name} is synced, but not in the snapshot; run `{REFRESH}`")
        for name in sorted(synced & set(by_stream)):
            key = by_stream[name]
            metadata = {
                **figures.get(name, {}),
                "job_id": job.id,
                "job": dg.MetadataValue.url(f"{client.rest_api_base_url}/jobs/{job.id}"),
                "duration_seconds": _seconds(output.job_details.get("duration")),
            }
            if key in context.selected_asset_keys:
                yield dg.MaterializeResult(asset_key=key, metadata=metadata)
            else:
                yield dg.AssetMaterialization(asset_key=key, metadata=metadata)
        lost = [
            n
            for n, key in sorted(by_stream.items())
            if key in context.selected_asset_keys and n not in synced
        ]
        if lost:
            raise dg.Failure(
                f"connection {connection.name} no longer syncs {', '.join(lost)}; run `{REFRESH}`",
                allow_retries=False,
            )

    def _syncs(self, connection_name: str, specs: Sequence[dg.AssetSpec]) -> dg.AssetsDefinition:
        name = _name(connection_name)

        # Airbyte refuses a second sync of a connection; the pool makes runs wait for each other instead.
        @dg.multi_asset(name=f"airbyte_{name}", can_subset=True, specs=specs, pool=f"airbyte/{name}")
        def sync(context):  # Dagster cannot read the annotation as the string that it is here
            with clear_failures():
                yield from self.execute(context, self.workspace)

        return sync


def refresh_snapshot(folder: Path | None = None, *, write: bool = True) -> str:
    """Ask Airbyte for its connections, rewrite the snapshot in `folder`, and return the difference as text.

    Without a folder, every instance of the component in this project. The same workspace gives the same
    bytes; an empty text means that nothing changed. `write=False` only compares, for CI. Raises SourceError
    when Airbyte does not answer.
    """
    if folder is None:
        return "".join(refresh_snapshot(found, write=write) for found in snapshot_folders())
    attributes = yaml.safe_load((folder / "defs.yaml").read_text())["attributes"]
    component = AirbyteSyncs.resolve_from_dict(attributes)
    path = folder / SNAPSHOT
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    after = snapshot_text(component.workspace)
    if write and after != before:
        part = path.with_name(f".{SNAPSHOT}.part")
        part.write_text(after, encoding="utf-8")
        os.replace(part, path)
    shown = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{shown}", f"b/{shown}")
    return "".join(lines)


def snapshot_folders(root: Path = ROOT / "asgard_assets" / "defs") -> list[Path]:
    """Folders below `root` whose defs.yaml is an instance of this component."""
    wanted = f"type: {AirbyteSyncs.__module__}.{AirbyteSyncs.__name__}"
    return [path.parent for path in sorted(root.rglob("defs.yaml")) if wanted in path.read_text()]


def snapshot_text(workspace: Workspace) -> str:
    """The workspace as committed: JSON with sorted keys, so that a difference is a change in Airbyte."""
    try:
        data = workspace.fetch_airbyte_workspace_data()
    except dg.Failure as failure:
        url = workspace.get_client().rest_api_base_url
        raise SourceError(
            f"Airbyte at {url} did not give workspace {workspace.workspace_id}: {failure.description} "
            "Is it running, and does ASGARD_AIRBYTE_URL name it?",
            source="airbyte",
        ) from failure
    content = {"workspace_id": workspace.workspace_id, "data": json.loads(dg.serialize_value(data))}
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_snapshot(path: Path, workspace_id: str) -> AirbyteWorkspaceData:
    """Raises ConfigError where the snapshot is missing, broken or of another workspace."""
    if not path.exists():
        raise ConfigError(f"{path} is missing: start Airbyte, run `{REFRESH}` and commit it", file=str(path))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found, data = content["workspace_id"], json.dumps(content["data"])
        state = dg.deserialize_value(data, AirbyteWorkspaceData)
    except (ValueError, KeyError, TypeError, DeserializationError) as error:
        raise ConfigError(f"{path} is no snapshot ({error}): run `{REFRESH}`", file=str(path)) from error
    if found != workspace_id:
        raise ConfigError(
            f"{path} is of workspace {found}, but defs.yaml names {workspace_id}: run `{REFRESH}`",
            file=str(path),
        )
    return state


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


def _explained(client: Client, connection_id: str, failure: dg.Failure) -> dg.Failure:
    """The failure with Airbyte's own reason and the end of the job's log, as far as Airbyte tells them."""
    try:
        since = datetime.now(UTC) - timedelta(days=2)
        jobs = client.get_jobs_for_connection(connection_id, since)
        job = max(jobs, key=lambda one: one.id, default=None)
        if job is None or str(job.id) not in (failure.description or ""):
            return failure
        attempt = client.get_attempt(job.id)
    except dg.Failure:
        return dg.Failure(
            f"{failure.description} Airbyte at {client.rest_api_base_url} does not answer: "
            "is it running, and does ASGARD_AIRBYTE_URL name it?"
        )
    failures = (attempt.get("failureSummary") or {}).get("failures") or []
    reasons = [one.get("externalMessage") or one.get("internalMessage") or "" for one in failures]
    reason = "; ".join(filter(None, reasons)) or "Airbyte gives no reason"
    # A time-out of ours cancels the job; then it is our own reason that counts.
    ours = "" if job.status == "failed" else f" ({failure.description})"
    return dg.Failure(
        f"Airbyte job {job.id} {job.status}: {reason}{ours}",
        metadata={
            "job_id": job.id,
            "job": dg.MetadataValue.url(f"{client.rest_api_base_url}/jobs/{job.id}"),
            "log": dg.MetadataValue.md("```\n" + "\n".join(attempt["logLines"][-LOG_LINES_SHOWN:]) + "\n```"),
        },
    )


@contextmanager
def _beta_accepted() -> Iterator[None]:
    """dagster-airbyte's classes warn that they are beta at every use; one exact version is locked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield


def _columns(schema: Mapping[str, Any]) -> dg.TableSchema:
    """A stream's JSON schema as columns; nulls are not shown, for any column may be null."""
    columns = []
    for name, column in (schema.get("properties") or {}).items():
        kinds = column.get("type", "unknown")
        kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        text = " or ".join(kind for kind in kinds if kind != "null") or "null"
        columns.append(dg.TableColumn(name, column.get("format", text), column.get("description")))
    return dg.TableSchema(columns)


def _secret(name: str, reference: str | None) -> str | None:
    if reference is None:
        return None
    kind, _, variable = reference.partition(":")
    if kind != "env" or variable not in os.environ:
        shown = (
            f"environment variable {variable} is not set" if kind == "env" else "it is no reference env:NAME"
        )
        raise ConfigError(f"airbyte workspace: {name} cannot be read: {shown}")
    return os.environ[variable]


def _seconds(duration: str | None) -> float:
    """Seconds of an ISO 8601 duration such as PT1M3.5S."""
    found = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?", duration or "")
    hours, minutes, seconds = found.groups() if found else (0, 0, 0)
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0)


def _name(text: str) -> str:
    """A name that asset keys, ops, pools and folders can hold; landing folders are named in the same way."""
    return re.sub(r"[^A-Za-z0-9_]", "_", text)
