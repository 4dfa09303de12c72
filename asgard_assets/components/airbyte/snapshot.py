"""The committed picture of an Airbyte workspace: what the code location loads from, instead of a server.

`snapshot.json` lies beside `defs.yaml`. The same workspace always gives the same bytes, so a difference is a
change in Airbyte, and CI can refuse a snapshot that has gone stale.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_airbyte.translator import AirbyteConnection, AirbyteDestination, AirbyteWorkspaceData
from dagster_shared.serdes.errors import DeserializationError

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.project import folder as project_folder
from asgard_assets.resources.airbyte import Workspace

SNAPSHOT = "snapshot.json"
REFRESH = "asgard airbyte refresh"


@dataclass(frozen=True)
class StreamMode:
    """How a stream is synced: `full_refresh` or `incremental`; `overwrite`, `append` or `append_dedup`."""

    sync: str = "full_refresh"
    destination: str = "append"
    key: tuple[str, ...] = ()
    cursor: str | None = None

    @property
    def overwrites(self) -> bool:
        return self.destination.startswith("overwrite")


@dataclass(frozen=True)
class Connection:
    """A connection as the snapshot knows it; what a selector is asked about."""

    id: str
    name: str
    status: str
    tags: tuple[str, ...]
    modes: Mapping[str, StreamMode]
    schedule: str = ""
    """How Airbyte schedules it (basic, cron); empty: not at all."""
    namesakes: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Streams that have one name in several namespaces, and those."""

    @property
    def active(self) -> bool:
        return self.status == "active"


@dataclass(frozen=True)
class Snapshot:
    """dagster-airbyte's own state, and what that leaves out of each connection."""

    data: AirbyteWorkspaceData
    connections: Mapping[str, Connection]


def fetch(workspace: Workspace) -> str:
    """The workspace as committed: JSON with sorted keys. Raises SourceError where Airbyte does not give it."""
    client = workspace.get_client()
    try:
        client.validate_workspace_id()
        details = [
            as_synced(client.get_connection_details(c["connectionId"])) for c in client.get_connections()
        ]
        used = {d["destinationId"] for d in details}
        destinations = [client.get_destination_details(i) for i in sorted(used)]
    except dg.Failure as failure:
        raise SourceError(
            f"Airbyte at {client.rest_api_base_url} did not give workspace {workspace.workspace_id}: "
            f"{failure.description}",
            source="airbyte",
        ) from failure
    data = AirbyteWorkspaceData(
        connections_by_id={d["connectionId"]: AirbyteConnection.from_connection_details(d) for d in details},
        destinations_by_id={
            d["destinationId"]: AirbyteDestination.from_destination_details(d) for d in destinations
        },
    )
    content = {
        "workspace_id": workspace.workspace_id,
        "data": json.loads(dg.serialize_value(data)),
        "connections": {d["connectionId"]: _more(d) for d in details},
    }
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def as_synced(details: Mapping[str, Any]) -> Mapping[str, Any]:
    """The connection without the fields that it leaves out; one without a catalog has no streams."""
    catalog = details.get("syncCatalog") or {}
    return {
        **details,
        "syncCatalog": {**catalog, "streams": [_selected_fields(s) for s in catalog.get("streams") or []]},
    }


def _selected_fields(one: Mapping[str, Any]) -> Mapping[str, Any]:
    config, stream = one["config"], one["stream"]
    schema = stream.get("jsonSchema") or {}
    if not config.get("fieldSelectionEnabled") or "properties" not in schema:
        return one
    chosen = {field["fieldPath"][0] for field in config.get("selectedFields") or [] if field.get("fieldPath")}
    kept = {name: about for name, about in schema["properties"].items() if name in chosen}
    return {**one, "stream": {**stream, "jsonSchema": {**schema, "properties": kept}}}


def read(path: Path, workspace_id: str) -> Snapshot:
    """Raises ConfigError where the snapshot is missing, broken or of another workspace."""
    if not path.exists():
        raise ConfigError(f"{path} is missing: start Airbyte, run `{REFRESH}` and commit it", file=str(path))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found, data = content["workspace_id"], json.dumps(content["data"])
        state = dg.deserialize_value(data, AirbyteWorkspaceData)
        more = content.get("connections", {})
        known = {i: _connection(c, more.get(i, {})) for i, c in state.connections_by_id.items()}
    except (ValueError, KeyError, TypeError, AttributeError, DeserializationError) as error:
        raise ConfigError(f"{path} is no snapshot ({error}): run `{REFRESH}`", file=str(path)) from error
    if found != workspace_id:
        raise ConfigError(
            f"{path} is of workspace {found}, but defs.yaml names {workspace_id}: run `{REFRESH}`",
            file=str(path),
        )
    return Snapshot(state, known)


def refresh(folder: Path, workspace: Workspace, *, write: bool) -> str:
    """Compare the snapshot in `folder` with Airbyte, rewrite it if asked to, and return the difference."""
    path = folder / SNAPSHOT
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    after = fetch(workspace)
    if write and after != before:
        part = path.with_name(f".{SNAPSHOT}.part")
        part.write_text(after, encoding="utf-8")
        os.replace(part, path)
    root = project_folder()
    shown = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{shown}", f"b/{shown}")
    return "".join(lines)


def _more(details: Mapping[str, Any]) -> dict[str, Any]:
    """What dagster-airbyte's state leaves out of a connection, of its selected streams."""
    streams = {}
    for one in (details.get("syncCatalog") or {}).get("streams", []):
        stream, config = one["stream"], one["config"]
        if config.get("selected"):
            own = bool(stream.get("sourceDefinedPrimaryKey"))
            key = stream["sourceDefinedPrimaryKey"] if own else config.get("primaryKey")
            streams[stream["name"]] = {
                "sync_mode": config.get("syncMode", "full_refresh"),
                "destination_sync_mode": config.get("destinationSyncMode", "append"),
                "primary_key": key or [],
                "cursor": config.get("cursorField") or [],
            }
    tags = sorted(tag["name"] for tag in details.get("tags") or [])
    more = {"status": details.get("status", "active"), "tags": tags, "streams": streams}
    if several := namesakes_of(details):
        more["namesakes"] = several
    scheduled = details.get("scheduleType") or "manual"
    return more if scheduled == "manual" else more | {"schedule": scheduled}


def namesakes_of(details: Mapping[str, Any]) -> dict[str, list[str]]:
    """Selected streams of a connection that have one name, with their namespaces."""
    found: dict[str, list[str]] = {}
    for one in (details.get("syncCatalog") or {}).get("streams", []):
        if one["config"].get("selected"):
            found.setdefault(one["stream"]["name"], []).append(one["stream"].get("namespace") or "")
    return {name: sorted(spaces) for name, spaces in sorted(found.items()) if len(spaces) > 1}


def refuse_namesakes(connection: str, namesakes: Mapping[str, Sequence[str]]) -> None:
    """Raises ConfigError where two streams of a connection have one name: Airbyte tells its figures, and Asgard its
    tables, by name alone."""
    for name, spaces in namesakes.items():
        shown = " and ".join(f"{space or '(no namespace)'}.{name}" for space in spaces)
        raise ConfigError(
            f"connection {connection} has {shown}: two streams of one name would become one table. Sync each namespace "
            f"by a connection of its own, each with a prefix (or the namespace in the destination's path); then run "
            f"`{REFRESH}`"
        )


def _connection(known: AirbyteConnection, more: Mapping[str, Any]) -> Connection:
    modes = {
        name: StreamMode(
            mode["sync_mode"],
            mode["destination_sync_mode"],
            _names(mode["primary_key"]),
            _name(mode["cursor"]),
        )
        for name, mode in more.get("streams", {}).items()
    }
    status, tags = more.get("status", "active"), tuple(more.get("tags", ()))
    namesakes = {name: tuple(spaces) for name, spaces in more.get("namesakes", {}).items()}
    return Connection(known.id, known.name, status, tags, modes, more.get("schedule", ""), namesakes)


def _names(paths: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Top-level names of a primary key; a nested one is no column of the table, so the key is not used."""
    return tuple(path[0] for path in paths) if all(len(path) == 1 for path in paths) else ()


def _name(path: Sequence[str]) -> str | None:
    return path[0] if len(path) == 1 else None
