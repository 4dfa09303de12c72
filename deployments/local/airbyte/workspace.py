"""What the server offers: connections from a YAML file, with Airbyte's ids, shapes and sync modes."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from asgard_assets.errors import ConfigError

DEFAULT = Path(__file__).with_name("workspace.yaml")
SyncMode = Literal["full_refresh_overwrite", "full_refresh_append", "incremental_append"]


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stream(Model):
    name: str
    sync: SyncMode = "full_refresh_overwrite"
    cursor: tuple[str, ...] = Field((), description="Cursor field of an incremental stream that needs one.")

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
    name: str
    source: str = Field(description="A command of connectors.lock, or a path to an executable.")
    config: dict[str, Any] = Field(default_factory=dict)
    streams: tuple[Stream, ...] = Field(min_length=1)
    prefix: str = ""


class Workspace(Model):
    name: str
    connections: tuple[Connection, ...]

    @classmethod
    def read(cls, path: Path = DEFAULT) -> Workspace:
        """Raises ConfigError that names the file."""
        try:
            workspace = cls.model_validate(yaml.safe_load(path.read_text()))
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise ConfigError(f"{path}: {error}", file=str(path)) from error
        names = [c.name for c in workspace.connections]
        if len(set(names)) < len(names):
            raise ConfigError(f"{path}: two connections have one name", file=str(path))
        return workspace

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
