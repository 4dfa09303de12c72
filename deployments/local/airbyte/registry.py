"""The workspace's sources, destinations and connections: those of the YAML file, and those made by the API.

What the API makes is one JSON file each in the state folder, so that it survives restarts. What the file
declares keeps its id on every machine and can be paused and resumed here, but only deleted in the file.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from deployments.local.airbyte.files import write
from deployments.local.airbyte.formats import Format
from deployments.local.airbyte.manifest import INJECTED, LOW_CODE, check
from deployments.local.airbyte.workspace import LANDING, Stream, Workspace, identity


class Declared(Exception):
    """The workspace file declares it, so it cannot be deleted here."""


@dataclass(frozen=True)
class Source:
    id: str
    name: str
    command: str
    config: dict[str, Any] = field(default_factory=dict)
    definition_id: str = ""
    created: int = 0
    now: datetime | None = None


@dataclass(frozen=True)
class Destination:
    id: str
    name: str
    config: dict[str, Any] = field(default_factory=lambda: dict(LANDING))
    created: int = 0

    @property
    def format(self) -> Format:
        return Format.of(self.config)

    def folder(self, landing: Path) -> Path:
        """Where its streams land: in `landing`, or for another path than `airbyte` in a folder beside it.

        Raises ValueError where bucket and path would lead elsewhere.
        """
        bucket = str(self.config.get("s3_bucket_name") or LANDING["s3_bucket_name"])
        place = str(self.config.get("s3_bucket_path") or "").strip("/")
        below = _below(bucket, place or LANDING["s3_bucket_path"])
        if place in ("", LANDING["s3_bucket_path"]):
            return landing
        return landing.parent / (_below(place) if bucket == LANDING["s3_bucket_name"] else below)


@dataclass(frozen=True)
class Definition:
    """A low-code connector: its manifest under a name."""

    id: str
    name: str
    manifest: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """A connection: which streams of a source land in which destination, and how."""

    id: str
    name: str
    source_id: str
    destination_id: str
    streams: tuple[Stream, ...]
    prefix: str = ""
    status: str = "active"
    tags: tuple[str, ...] = ()
    created: int = 0

    @property
    def active(self) -> bool:
        return self.status == "active"


class Registry:
    """Everything that the server offers. Safe to call from several threads."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self.id, self.name = workspace.id, workspace.name
        self._folder = folder / "resources"
        self._lock = threading.Lock()
        for name in ("sources", "destinations", "connections", "definitions", "patches", "configurations"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self.sources, self.destinations, self.connections, self.definitions = _declared(workspace)
        self._declared = {*self.sources, *self.destinations, *self.connections}
        self._configured = {s.id: s.config for s in self.sources.values()}
        for kept in self._read("configurations"):
            if kept["declared"] == self._configured.get(kept["id"]):
                self.sources[kept["id"]] = replace(self.sources[kept["id"]], config=kept["config"])
        self.sources |= {s["id"]: Source(**s) for s in self._read("sources")}
        self.destinations |= {d["id"]: Destination(**d) for d in self._read("destinations")}
        self.definitions |= {d["id"]: Definition(**d) for d in self._read("definitions")}
        self.connections |= {c["id"]: _link(c) for c in self._read("connections")}
        for patch in self._read("patches"):
            if known := self.connections.get(patch["id"]):
                self.connections[patch["id"]] = replace(known, status=patch["status"])

    def by_id(self) -> dict[str, Link]:
        return dict(self.connections)

    def add_source(self, name: str, command: str, config: Mapping[str, Any], definition_id: str) -> Source:
        """Raises UnsafeManifest."""
        check(command, config)
        source = Source(_new(), name, command, dict(config), definition_id, int(time.time()))
        return self._add("sources", self.sources, source)

    def add_destination(self, name: str, config: Mapping[str, Any]) -> Destination:
        """Raises ValueError where its format, bucket or path cannot be landed here."""
        made = Destination(_new(), name, {**LANDING, **config}, int(time.time()))
        _ = made.format, made.folder(Path("landing"))
        return self._add("destinations", self.destinations, made)

    def add_definition(self, name: str, manifest: Mapping[str, Any]) -> Definition:
        """Raises UnsafeManifest."""
        check(LOW_CODE, {INJECTED: manifest})
        return self._add("definitions", self.definitions, Definition(_new(), name, dict(manifest)))

    def add_connection(self, connection: Link) -> Link:
        made = replace(connection, id=_new(), created=int(time.time()))
        return self._add("connections", self.connections, made)

    def change_connection(self, changed: Link) -> Link:
        """Of a connection that the file declares only the status is changed."""
        with self._lock:
            if changed.id in self._declared:
                changed = replace(self.connections[changed.id], status=changed.status)
                path = self._folder / "patches" / f"{changed.id}.json"
                write(path, {"id": changed.id, "status": changed.status})
            else:
                write(self._folder / "connections" / f"{changed.id}.json", _plain(changed))
            self.connections[changed.id] = changed
        return changed

    def delete(self, kind: str, key: str) -> None:
        """Raises Declared, or KeyError where there is no such thing."""
        known: dict[str, Any] = getattr(self, kind)
        with self._lock:
            if key in self._declared:
                raise Declared(f"{known[key].name} is declared in the workspace file; remove it there")
            del known[key]
            (self._folder / kind / f"{key}.json").unlink(missing_ok=True)

    def change_source(self, source_id: str, config: Mapping[str, Any]) -> None:
        """Keep the configuration that a connector sent back, which may hold the only token that still works.

        For a source that the file declares it counts until the file declares another.
        """
        with self._lock:
            known = self.sources[source_id]
            own = {k: v for k, v in config.items() if k != INJECTED}
            if INJECTED in known.config:
                own[INJECTED] = known.config[INJECTED]
            self.sources[source_id] = changed = replace(known, config=own)
            if source_id in self._configured:
                path = self._folder / "configurations" / f"{source_id}.json"
                write(path, {"id": source_id, "declared": self._configured[source_id], "config": own})
            else:
                write(self._folder / "sources" / f"{source_id}.json", _plain(changed))

    def command_of(self, source_id: str) -> tuple[str, dict[str, Any]]:
        """(connector, configuration) of a source. Raises UnsafeManifest: all that is run passes here."""
        source = self.sources[source_id]
        config = source.config
        if made := self.definitions.get(source.definition_id):
            config = {**config, INJECTED: made.manifest}
        check(Path(source.command).name, config)
        return source.command, config

    def _add(self, kind: str, known: dict[str, Any], made: Any) -> Any:
        with self._lock:
            write(self._folder / kind / f"{made.id}.json", _plain(made))
            known[made.id] = made
        return made

    def _read(self, kind: str) -> list[dict[str, Any]]:
        return [orjson.loads(p.read_bytes()) for p in sorted((self._folder / kind).glob("*.json"))]


def _declared(
    workspace: Workspace,
) -> tuple[dict[str, Source], dict[str, Destination], dict[str, Link], dict[str, Definition]]:
    sources, links = {}, {}
    destinations = {workspace.destination_id: Destination(workspace.destination_id, "landing")}
    for connection_id, one in workspace.by_id().items():
        # Each connection of the file has a source of its own, named like it.
        source = Source(identity("source", one.name), one.name, one.source, one.config, now=one.now)
        sources[source.id] = source
        destination = workspace.destination_id
        if one.format:
            destination = identity("destination", f"{workspace.name}/{one.name}")
            config = {**LANDING, "format": one.format}
            destinations[destination] = Destination(destination, f"landing of {one.name}", config)
        links[connection_id] = Link(
            connection_id, one.name, source.id, destination, one.streams, one.prefix, one.status, one.tags
        )
    return sources, destinations, links, {}


def _below(*parts: str) -> Path:
    names = [name for part in parts for name in part.split("/")]
    if not all(re.fullmatch(r"[A-Za-z0-9_=][A-Za-z0-9._=-]*", name) for name in names):
        raise ValueError(
            f"{'/'.join(parts)} is no bucket and path: each part begins with a letter or digit, and has only "
            "letters, digits and . _ = -"
        )
    return Path(*names)


def _plain(made: Any) -> dict[str, Any]:
    if isinstance(made, Link):
        streams = [s.model_dump(mode="json") for s in made.streams]
        return {**asdict(replace(made, streams=())), "streams": streams}
    return asdict(made)


def _link(stored: dict[str, Any]) -> Link:
    streams = tuple(Stream.model_validate(s) for s in stored["streams"])
    return Link(**{**stored, "streams": streams, "tags": tuple(stored["tags"])})


def _new() -> str:
    return str(uuid.uuid4())
