"""What the server offers: connections from a YAML file, with Airbyte's ids, shapes and sync modes."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from asgard_assets.errors import ConfigError
from deployments.local.airbyte.manifest import INJECTED, UnsafeManifest, check

DEFAULT = Path(__file__).with_name("workspace.yaml")
SyncMode = Literal["full_refresh_overwrite", "full_refresh_append", "incremental_append"]
Status = Literal["active", "inactive"]

LANDING: dict[str, Any] = {
    "destinationType": "s3",
    "s3_bucket_name": "landing",
    "s3_bucket_region": "us-east-1",
    "s3_bucket_path": "airbyte",
    "s3_path_format": "${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_",
    "format": {
        "format_type": "JSONL",
        "flattening": "Root level flattening",
        "compression": {"compression_type": "GZIP"},
    },
}
"""The destination of every connection that names none, in the words of Airbyte's S3 destination."""


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stream(Model):
    name: str
    sync: SyncMode = "full_refresh_overwrite"
    cursor: tuple[str, ...] = Field((), description="Cursor field of an incremental stream that needs one.")
    primary_key: tuple[tuple[str, ...], ...] = Field((), description="Default: as the source says.")

    @property
    def overwrites(self) -> bool:
        return self.sync == "full_refresh_overwrite"

    @property
    def incremental(self) -> bool:
        return self.sync == "incremental_append"

    @property
    def modes(self) -> tuple[str, str]:
        """(sync mode, destination sync mode) in the protocol's words."""
        source, _, destination = self.sync.rpartition("_")
        return source, destination


class Connection(Model):
    """A connection as the workspace file writes it: source, destination and streams in one place."""

    name: str
    source: str = Field(description="A connector: installed `source-*` command, or a path to an executable.")
    config: dict[str, Any] = Field(default_factory=dict)
    now: AwareDatetime | None = Field(
        None,
        description="Moment that a connector of connectors.lock takes for the present; default: it is the present.",
    )
    manifest: str = Field("", description="Low-code connector: YAML file beside the workspace file.")
    streams: tuple[Stream, ...] = Field(min_length=1)
    prefix: str = ""
    status: Status = "active"
    tags: tuple[str, ...] = ()
    format: dict[str, Any] = Field(default_factory=dict, description="`format` of Airbyte's S3 destination.")


class Workspace(Model):
    name: str
    connections: tuple[Connection, ...]

    @classmethod
    def read(cls, path: Path = DEFAULT) -> Workspace:
        """Raises ConfigError that names the file."""
        try:
            workspace = cls.model_validate(yaml.safe_load(path.read_text()))
            manifests = {c.name: yaml.safe_load((path.parent / c.manifest).read_text())
                         for c in workspace.connections if c.manifest}  # fmt: skip
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise ConfigError(f"{path}: {error}", file=str(path)) from error
        names = [c.name for c in workspace.connections]
        if len(set(names)) < len(names):
            raise ConfigError(f"{path}: two connections have one name", file=str(path))
        connections = [
            c.model_copy(update={"config": {**c.config, INJECTED: manifests[c.name]}}) if c.manifest else c
            for c in workspace.connections
        ]
        for connection in connections:
            try:
                check(Path(connection.source).name, connection.config)
            except UnsafeManifest as error:
                raise ConfigError(f"{path}: connection {connection.name}: {error}", file=str(path)) from error
        return workspace.model_copy(update={"connections": tuple(connections)})

    @property
    def id(self) -> str:
        return identity("workspace", self.name)

    @property
    def destination_id(self) -> str:
        return identity("destination", self.name)

    def connection_id(self, connection: Connection) -> str:
        return identity("connection", f"{self.name}/{connection.name}")

    def by_id(self) -> dict[str, Connection]:
        return {self.connection_id(c): c for c in self.connections}


def identity(kind: str, name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"asgard:airbyte:{kind}:{name}"))
