"""How the schema of an ingestion changed, and what a person decided about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from asgard_assets.components.platform.definitions import ManagedDefinition
from asgard_assets.errors import ConfigError, NotFoundError
from asgard_assets.ingest.files.shape.schema import ChangeKind, SchemaVersion, schema_versions
from asgard_assets.ingest.files.source.models import Decision
from asgard_assets.lake import Lake
from asgard_assets.operations.autoloader.ingestions import IngestionInfo, Ingestions
from asgard_assets.revisions import Numbered


@dataclass(frozen=True)
class ColumnChange:
    """One change of a column. `resolution`: what a load did about it; `decision`: what a person said; empty: nothing yet."""

    version: int
    at: str
    kind: ChangeKind
    column: str
    before: str
    after: str
    resolution: str
    decision: Literal["", "accept", "rescue", "refuse"]


@dataclass(frozen=True)
class Schema:
    """The columns of the newest version, and every change, the newest first."""

    version: int
    columns: Mapping[str, str]
    changes: tuple[ColumnChange, ...]
    decisions: Mapping[str, str]


def schema_of(lake: Lake, found: Numbered[ManagedDefinition]) -> Schema:
    """Of a source of files. Version 0 has no columns: nothing was loaded yet."""
    decisions = decided(found.document)
    versions = schema_versions(lake, found.document.name)
    changes = [_change(version, change, decisions) for version in versions for change in version.changes]
    newest = versions[-1] if versions else None
    return Schema(
        newest.version if newest else 0, newest.columns if newest else {}, tuple(reversed(changes)), decisions
    )


def decide(ingestions: Ingestions, found: Numbered[ManagedDefinition], column: str, decision: Decision, account: str) -> IngestionInfo:  # fmt: skip
    """Loads from now on treat the column so: a new revision of the definition.

    Raises ConfigError where that is not possible, NotFoundError where the table has no such column and never saw one.
    """
    one = found.document
    if one.kind != "files":
        raise ConfigError(
            f"{one.name}: columns are decided upon for sources of files; change `schema_mode` of its tables"
        )
    schema = schema_of(ingestions.lake, found)
    known = {change.column for change in schema.changes} | set(schema.columns)
    if column not in known:
        raise NotFoundError(
            f"{one.name} has no column {column[:100]!r}; it has {', '.join(sorted(known))[:500] or 'none yet'}"
        )
    kind = next((change.kind for change in schema.changes if change.column == column), None)
    if kind == "REMOVED_COLUMN" and decision == "rescue":
        raise ConfigError(f"{column}: a column that is gone has no values to rescue; accept or refuse it")
    changes: dict[str, Any] = {**decided(one), column: decision}
    document = one.model_copy(
        update={"attributes": {**one.attributes, "schema_changes": changes}, "owner": account}
    )
    return ingestions.save(document, expected=found.number)


def decided(one: ManagedDefinition) -> dict[str, str]:
    """What was decided about single columns."""
    told = one.attributes.get("schema_changes")
    return {name: str(value) for name, value in told.items()} if isinstance(told, dict) else {}


def _change(version: SchemaVersion, change: Any, decisions: Mapping[str, str]) -> ColumnChange:
    decision = decisions.get(change.column, "")
    assert decision in ("", *get_args(Decision))
    return ColumnChange(
        version.version, version.written_at, change.kind, change.column, change.before, change.after, change.resolution,
        decision,  # type: ignore[arg-type]
    )  # fmt: skip
