"""Scaffolds of sources: files, APIs, databases, Airbyte."""

from __future__ import annotations

import json
from typing import Any, Literal

import dagster as dg
from pydantic import BaseModel, Field

from asgard_assets.components.authoring.defs_file import inline, name_for, write
from asgard_assets.ingest.api.source.schemes import SecretRef


class FileParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.files.FileIngest`."""

    name: str | None = Field(
        default=None, description="Name of the source and of its Bronze table. Default: the last folder."
    )
    path: str | None = Field(
        default=None, description="Folder of the files, below the landing root. Default: the name."
    )
    ds: Literal["folder", "filename", "arrival"] = Field(
        default="folder", description="What says to which day a file belongs."
    )
    description: str | None = Field(default=None, description="What one row of the table is.")


class FileScaffolder(dg.Scaffolder[FileParams]):
    """A source of files."""

    @classmethod
    def get_scaffold_params(cls) -> type[FileParams]:
        return FileParams

    def scaffold(self, request: dg.ScaffoldRequest[FileParams]) -> None:
        given = request.params
        name = given.name or name_for(request.target_path)
        path = given.path or name
        description = given.description or f"Records of the files in {path}, one row each."
        example = {"folder": "ds=2026-10-05/", "filename": "2026-10-05.csv", "arrival": "when it was written"}
        write(
            request,
            f"New files become rows of the table bronze/{name}. See them before a run: asgard preview {name}",
            f"""\
  name: {inline(name)}
  path: {inline(path)} # folder below ASGARD_LANDING
  ds: {{type: {given.ds}}} # what says to which day a file belongs, here: {example[given.ds]}
  description: {inline(description)}
  # columns: # columns that the table always has, even if no file has them
  #   id: {{type: string, description: Number of the record.}}
""",
        )


class ApiParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.api.ApiIngest`."""

    name: str | None = Field(
        default=None, description="Name of the source and of its Bronze table. Default: the last folder."
    )
    base_url: str = Field(default="https://api.example.com", description="Scheme, host and base path.")
    path: str | None = Field(
        default=None, description="Path of the list, such as /v1/orders. Default: /NAME."
    )
    items: str = Field(default="", description="Where the items are in an answer, such as data.")
    token: SecretRef | None = Field(
        default=None,
        description="Bearer token, by reference: env:NAME, file:/path, aws-secret:NAME#KEY or vault:PATH#KEY.",
    )


class ApiScaffolder(dg.Scaffolder[ApiParams]):
    """A list of an API."""

    @classmethod
    def get_scaffold_params(cls) -> type[ApiParams]:
        return ApiParams

    def scaffold(self, request: dg.ScaffoldRequest[ApiParams]) -> None:
        given = request.params
        name = given.name or name_for(request.target_path)
        path = given.path or f"/{name}"
        auth = {"type": "bearer", "token": given.token} if given.token else {"type": "none"}
        write(
            request,
            f"A list of an API becomes the table bronze/{name}. Ask for a few answers: asgard preview {name}",
            f"""\
  source:
    name: {inline(name)}
    kind: snapshot # how things are now; events: the API knows every day; changes: what changed since a cursor
    form:
      type: pull # a list; row: one request for each row of a table or query
      items: {inline(given.items)} # where the items are in an answer, such as data; empty: the answer is the list
      pagination: {{type: auto}} # told from the first answer; or page, offset, cursor, next_url, link, none
    endpoint:
      base_url: {inline(given.base_url)}
      path: {inline(path)}
      # query: {{date: "{{partition.key}}"}}
    auth: {inline(auth)} # secrets by reference only, such as env:SHOP_TOKEN
    sink: {{table: bronze/{name}}}
    quality:
      description: {inline(f"Items of {path}, one row each.")}
""",
        )


class AirbyteParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.airbyte.AirbyteSyncs`."""

    workspace_id: str = Field(
        default="00000000-0000-0000-0000-000000000000", description="Airbyte's id of the workspace."
    )


class AirbyteScaffolder(dg.Scaffolder[AirbyteParams]):
    """A workspace of Airbyte, with a snapshot that has no connections yet."""

    @classmethod
    def get_scaffold_params(cls) -> type[AirbyteParams]:
        return AirbyteParams

    def scaffold(self, request: dg.ScaffoldRequest[AirbyteParams]) -> None:
        workspace_id = request.params.workspace_id
        write(
            request,
            "Each stream of the workspace becomes a table. Streams are read from snapshot.json; nothing asks Airbyte at\n"
            "load time. Write it with `asgard airbyte refresh`, and commit it.",
            f"""\
  workspace:
    workspace_id: {inline(workspace_id)}
  # connection_selector: {{by_name: [crm]}} # default: all connections
""",
        )
        snapshot = request.target_path / "snapshot.json"
        if not request.append and not snapshot.exists():
            snapshot.write_text(
                json.dumps(_empty(workspace_id), indent=2, sort_keys=True) + "\n", encoding="utf-8"
            )


def _empty(workspace_id: str) -> dict[str, Any]:
    data = {"__class__": "AirbyteWorkspaceData", "connections_by_id": {}, "destinations_by_id": {}}
    return {"workspace_id": workspace_id, "data": data, "connections": {}}


class SqlParams(BaseModel):
    """Options of `dg scaffold defs asgard_assets.components.sql.SqlIngest`."""

    name: str | None = Field(default=None, description="Name of the source. Default: the last folder.")
    type: Literal["postgres", "mysql", "mariadb"] = Field(
        default="postgres", description="Kind of the database."
    )
    host: str = Field(default="127.0.0.1", description="Name or address of the server.")
    database: str | None = Field(
        default=None, description="Name of the database. Default: the source's name."
    )
    user: str = Field(default="reader", description="User, who needs no more than the right to read.")
    password: SecretRef | None = Field(
        default=None,
        description="Password, by reference: env:NAME, file:/path, aws-secret:NAME#KEY or vault:PATH#KEY.",
    )
    table: str | None = Field(
        default=None, description="Table, such as public.orders. Default: the source's name."
    )


class SqlScaffolder(dg.Scaffolder[SqlParams]):
    """Tables of a database."""

    @classmethod
    def get_scaffold_params(cls) -> type[SqlParams]:
        return SqlParams

    def scaffold(self, request: dg.ScaffoldRequest[SqlParams]) -> None:
        given = request.params
        name = given.name or name_for(request.target_path)
        password = given.password or f"env:{name.upper()}_PASSWORD"
        write(
            request,
            f"Tables of a database become tables in Bronze, one asset each. See their rows before a run: asgard preview {name}",
            f"""\
  name: {inline(name)}
  database:
    type: {given.type}
    host: {inline(given.host)}
    database: {inline(given.database or name)}
    user: {inline(given.user)}
    password: {inline(password)} # by reference only
  tables:
    - table: {inline(given.table or name)}
      # key: [id]
      # load: {{type: incremental, cursor: updated_at, overlap: 10 minutes}} # default: the whole table each time
  # pull: {{every: day, at: "02:00"}}
""",
        )
