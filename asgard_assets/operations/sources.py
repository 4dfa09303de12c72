"""The project's sources: APIs, files, databases and Airbyte connections, by name."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from asgard_assets import project
from asgard_assets.components.api import API_SOURCE
from asgard_assets.components.files import SOURCE
from asgard_assets.components.sql import SQL_SOURCE
from asgard_assets.errors import AsgardError, ConfigError
from asgard_assets.ingest.api.source.models import ApiSource
from asgard_assets.ingest.files.source.models import FileSource
from asgard_assets.ingest.sql.source import SqlSource

if TYPE_CHECKING:
    import dagster as dg
    from pydantic_core import ErrorDetails

CONNECTION = "airbyte/connection_id"


class Kind(StrEnum):
    """What a source reads from."""

    api = "api"
    files = "files"
    database = "database"
    airbyte = "airbyte"


@dataclass(frozen=True)
class Source:
    """One source. `reads`: an address, a folder, or the id of a connection. `assets` are what a run of it makes;
    `tables` are its Bronze tables."""

    name: str
    kind: Kind
    reads: str
    assets: tuple[str, ...]
    tables: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True)
class Catalog:
    """The sources of a project, with what their YAML says. API sources are without their `auth`."""

    definitions: dg.Definitions
    files: Mapping[str, FileSource]
    apis: Mapping[str, ApiSource]
    databases: Mapping[str, SqlSource]
    sources: tuple[Source, ...] = field(default=())

    @property
    def graph(self) -> dg.AssetGraph:
        return self.definitions.resolve_asset_graph()

    def named(self, name: str) -> Source | None:
        """The source of that name; None where there is none. Raises ConfigError where two kinds have one."""
        found = [source for source in self.sources if source.name == name]
        if len(found) > 1:
            raise ConfigError(
                f"{name} is the name of {len(found)} sources; name a table instead: "
                + ", ".join(table for source in found for table in source.tables)
            )
        return found[0] if found else None

    def database_of(self, asset: str) -> SqlSource | None:
        """The database that a Bronze table is read from."""
        for source in self.databases.values():
            if asset in (f"bronze/{source.bronze_name(table)}" for table in source.tables):
                return source
        return None

    def of_table(self, asset: str) -> Source | None:
        """The source that fills a Bronze table, or that syncs a stream."""
        return next((source for source in self.sources if asset in source.assets), None)


def catalog(definitions: dg.Definitions | None = None) -> Catalog:
    """Every source that the code location has an asset for."""
    definitions = definitions or load_definitions()
    files, apis, databases = dict[str, FileSource](), dict[str, ApiSource](), dict[str, SqlSource]()
    streams: dict[tuple[str, str], list[str]] = {}
    for spec in definitions.resolve_all_asset_specs():
        if told := _value(spec.metadata.get(SOURCE)):
            source = FileSource.model_validate(told)
            files[source.name] = source
        elif told := _value(spec.metadata.get(API_SOURCE)):
            api = ApiSource.model_validate(told)
            apis[api.name] = api
        elif told := _value(spec.metadata.get(SQL_SOURCE)):
            database = SqlSource.model_validate(told)
            databases[database.name] = database
        elif connection := _value(spec.metadata.get(CONNECTION)):
            streams.setdefault((spec.tags["connection"], connection), []).append(spec.key.to_user_string())
    found = [
        *map(_of_files, files.values()), *map(_of_api, apis.values()), *map(_of_database, databases.values())
    ]  # fmt: skip
    for (name, connection), assets in streams.items():
        loaded = (f for f in files.values() if any("/".join(dep) in assets for dep in f.deps))
        tables = tuple(sorted(f"bronze/{f.name}" for f in loaded))
        found.append(
            Source(name, Kind.airbyte, connection, tuple(sorted(assets)), tables, "Airbyte connection")
        )
    return Catalog(definitions, files, apis, databases, tuple(sorted(found, key=lambda source: source.name)))


def load_definitions() -> dg.Definitions:
    """The project's definitions. Raises ConfigError, with file and line, where a file of the project is wrong."""
    found = project.current()
    try:
        loaded: dg.Definitions = found.definitions()
        loaded.resolve_all_asset_specs()  # what two files contradict each other in is seen here
        return loaded
    except AsgardError:
        raise
    except Exception as error:
        problem = _problem(error, found)
        if problem is None:
            raise
        raise ConfigError(problem) from error


def _problem(error: BaseException, of: project.Project) -> str | None:
    """What is wrong in which of the project's files; None where the error came from none of them."""
    from dagster import DagsterError

    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    root = causes[-1]
    if isinstance(root, ValidationError):
        return "\n".join(_wrong_field(each) for each in root.errors())
    if isinstance(root, yaml.YAMLError):
        return str(root)
    if isinstance(root, SyntaxError) and root.filename:
        return f"{root.filename}:{root.lineno}: {root.msg}"
    for cause in causes:
        if unknown := re.match(r"Module `(.+?)` (?:has no attribute `(.+)`|not found)", str(cause)):
            return _unknown_component(".".join(filter(None, unknown.groups())), of.defs)
    frames = traceback.extract_tb(root.__traceback__)
    package = of.folder.joinpath(*of.package.split("."))
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(package)]
    loader = str(of.folder.joinpath(*of.module.split(".")).with_suffix(".py"))
    if own and own[-1].filename != loader:
        return f"{own[-1].filename}:{own[-1].lineno}: {type(root).__name__}: {root}"
    if len(causes) > 1:  # Dagster names the component in the first line, and draws the tree of all below it
        return f"{str(causes[-2]).splitlines()[0]} {root}"
    if own:
        return f"{loader}:{own[-1].lineno}: {type(root).__name__}: {root}"
    return str(root) if isinstance(root, DagsterError) else None


def _unknown_component(name: str, folder: Path) -> str:
    """Dagster does not say which file asks for it."""
    for file in sorted(folder.rglob("*.y*ml")):
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            wanted = line.strip("- ").removeprefix("type:").strip("\"' ")
            if f"{wanted}.".startswith(f"{name}."):
                return f"{file}:{number}: there is no component {wanted}; dg list components shows those that exist"
    return f"there is no component {name}; dg list components shows those that exist"


def _wrong_field(error: ErrorDetails) -> str:
    """`file:line: field: what is wrong`. Dagster writes the place into the field's name."""
    field, _, place = ".".join(map(str, error["loc"])).partition(" at ")
    inside = getattr(error.get("ctx", {}).get("error"), "at", "")
    field = ".".join(filter(None, (field.removeprefix("attributes."), inside)))
    return f"{place or 'defs.yaml'}: {field}: {error['msg'].removeprefix('Value error, ')}"


def _of_files(source: FileSource) -> Source:
    table = f"bronze/{source.name}"
    return Source(source.name, Kind.files, f"{source.path}/", (table,), (table,), source.description)


def _of_api(source: ApiSource) -> Source:
    tables = (source.sink.table, *source.sink.child_tables)  # one step makes them all
    address = f"{source.endpoint.base_url}{source.endpoint.path}"
    return Source(source.name, Kind.api, address, tables, tables, source.quality.description)


def _of_database(source: SqlSource) -> Source:
    tables = tuple(f"bronze/{source.bronze_name(table)}" for table in source.tables)
    return Source(
        source.name, Kind.database, source.reads, tables, tables, f"{source.database.type} database"
    )


def _value(told: Any) -> Any:
    """Metadata as it was given, whether Dagster has wrapped it or not."""
    return told.value if hasattr(told, "value") else told
