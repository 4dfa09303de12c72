"""An ingestion is tried: some rows as a load would make them, the columns, and what would change. Nothing is written."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from asgard_assets.components.file_sensor import landing_exists
from asgard_assets.components.platform.definitions import ManagedDefinition, component_of
from asgard_assets.errors import ConfigError, NotBuiltError
from asgard_assets.ingest.files.landing import Landing
from asgard_assets.ingest.files.source.models import TECHNICAL, FileSource
from asgard_assets.ingest.sql.source import SqlSource
from asgard_assets.lake import Lake
from asgard_assets.operations.outside import source_file as outside
from asgard_assets.operations.preview import FilesPreview, SchemaChange, preview_in

_MASK = "***"


@dataclass(frozen=True)
class Trial:
    """What a load would bring. `ok` is False where a file or request could not be read, or nothing was found."""

    ok: bool
    rows: tuple[dict[str, Any], ...]
    columns: Mapping[str, str]
    changes: tuple[SchemaChange, ...] = ()
    files: tuple[str, ...] = ()
    bad_records: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()


def trial(lake: Lake, landing: Landing, one: ManagedDefinition, limit: int, masked: frozenset[str]) -> Trial:
    """Try a source that need not be made yet. Values of `masked` columns are hidden. Raises ConfigError or SourceError."""
    if one.kind == "files":
        source = component_of(one).source
        refuse_missing(landing, source)
        return _of_files(preview_in(lake, landing, source, limit), masked)
    if one.kind == "api":
        return _of_api(one, limit, masked)
    if one.kind == "database":
        return _of_database(lake, one, limit, masked)
    raise NotBuiltError("a topic is not tried: POST …/run reads it, and `quarantine` shows what does not fit")


def refuse_missing(landing: Landing, source: FileSource) -> None:
    """Raises ConfigError where a local folder is not there: nothing can be said of it yet."""
    if not landing_exists(landing, source):
        raise ConfigError(
            f"source.path: there is no folder {source.path} below the landing root yet; put a file there first"
        )


def _of_files(found: FilesPreview, masked: frozenset[str]) -> Trial:
    shown, notes = found.preview, []
    if not shown.files:
        notes.append("no file lies there that the source reads; check source.path and source.glob")
    elif not found.waiting:
        notes.append("every file is loaded: these rows are in the table")
    rows = tuple(
        plain({k: v for k, v in row.items() if k not in TECHNICAL}, masked) for row in shown.rows.to_pylist()
    )
    return Trial(
        bool(shown.files) and not shown.unreadable, rows, shown.columns, shown.changes, shown.files, shown.bad,
        shown.unreadable, tuple(notes),
    )  # fmt: skip


def _of_api(one: ManagedDefinition, limit: int, masked: frozenset[str]) -> Trial:
    """A few requests and their answers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "defs.yaml"
        path.write_text(yaml.safe_dump({"type": one.type, "attributes": one.attributes}))
        answers = outside.preview(outside.ApiFile(path, limit=min(limit, 3)))
    rows = tuple(plain(row, masked) for row in answers.rows[:limit])
    columns = dict.fromkeys((name for row in rows for name in row), "string")
    notes = (f"pages: {answers.pagination}",) if answers.pagination else ()
    return Trial(bool(rows) and all(row.get("success") for row in rows), rows, columns, notes=notes)


def _of_database(lake: Lake, one: ManagedDefinition, limit: int, masked: frozenset[str]) -> Trial:
    from asgard_assets.ingest.sql.preview import preview
    from asgard_assets.lake.sql import type_name

    source = SqlSource.model_validate(component_of(one).model.model_dump(by_alias=True, exclude={"pull"}))
    rows, columns, changes = list[dict[str, Any]](), dict[str, str](), list[SchemaChange]()
    for table in source.tables:
        found = preview(lake, source, table, limit)
        name = source.bronze_name(table)
        rows += [{"_table": name, **plain(row, masked)} for row in found.rows.to_pylist()]
        columns |= {f"{name}.{column}": type_name(kind) for column, kind in found.shape.columns.items()}
        changes += [
            SchemaChange(c.kind, f"{name}.{c.column}", c.before, c.after) for c in found.shape.changes
        ]
    return Trial(True, tuple(rows), columns, tuple(changes))


def plain(row: Mapping[str, Any], masked: frozenset[str]) -> dict[str, Any]:
    """A row as JSON has it, with masked columns hidden."""
    return {name: _MASK if name.lower() in masked else _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes):
        return value[:200].hex()
    return json.loads(json.dumps(value, default=str))
