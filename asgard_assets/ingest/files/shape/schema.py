"""How a source's schema changed: decided for each load, written down beside the table, version by version."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from asgard_assets.ingest.files.source.types import unify, unify_or_text
from asgard_assets.lake import Lake
from asgard_assets.lake.sql import arrow_type, type_name

if TYPE_CHECKING:
    import pyarrow as pa

ChangeKind = Literal["NEW_COLUMN", "REMOVED_COLUMN", "TYPE_CHANGE"]


_VERSION = re.compile(r"[0-9]{8}\.json")


@dataclass(frozen=True)
class Change:
    """One difference between the table and the files, and what was done about it."""

    kind: ChangeKind
    column: str
    before: str
    after: str
    resolution: str


@dataclass(frozen=True)
class SchemaVersion:
    """Columns and types from one load on, with what changed since the version before."""

    version: int
    columns: Mapping[str, str]
    changes: tuple[Change, ...]
    absent: tuple[str, ...]
    plan: int
    written_at: str


def evolve(
    fields: Mapping[str, pa.DataType],
    fixed: Iterable[str],
    written: Iterable[Mapping[str, str]],
    wanted: Iterable[Mapping[str, str]],
) -> dict[str, pa.DataType]:
    """The table's columns after a load: known ones widened where they may be, new ones of a type that fits all.

    `fixed` are columns whose type a person declared. Two spellings of one new column become the first.
    """
    found = dict(fields)
    names = {name.lower(): name for name in found}
    for columns in written:
        for raw, kind in columns.items():
            name = names.setdefault(raw.lower(), raw)
            if name not in fields:
                new = arrow_type(kind)
                found[name] = unify_or_text(found[name], new) if name in found else new
    stuck = {name.lower() for name in fixed}
    for columns in wanted:
        for raw, kind in columns.items():
            name = names.get(raw.lower())
            if name is None or name.lower() in stuck:
                continue
            new = arrow_type(kind)
            wider = unify(found[name], new)
            found[name] = wider or (found[name] if name in fields else unify_or_text(found[name], new))
    return found


def differences(
    before: Mapping[str, pa.DataType],
    after: Mapping[str, pa.DataType],
    absent: Iterable[str],
    stuck: Mapping[str, str],
) -> tuple[Change, ...]:
    """What a person should see. `stuck`: columns with values of another type that were rescued, and that type."""
    changes = [
        Change("NEW_COLUMN", name, "", type_name(kind), "added")
        for name, kind in after.items()
        if name not in before
    ]
    for name, kind in after.items():
        if name in before and before[name] != kind:
            changes.append(Change("TYPE_CHANGE", name, type_name(before[name]), type_name(kind), "widened"))
        elif name in stuck:
            changes.append(
                Change(
                    "TYPE_CHANGE",
                    name,
                    type_name(kind),
                    stuck[name],
                    "kept; such values are in _rescued_data",
                )
            )
    changes += [
        Change("REMOVED_COLUMN", name, type_name(before[name]), "", "kept; null in these files")
        for name in absent
        if name in before
    ]
    return tuple(changes)


def schema_versions(lake: Lake, source: str) -> list[SchemaVersion]:
    """Every version, oldest first."""
    found = []
    for name in lake.names(_folder(source)):
        # Beside them may lie payload schemas of API sources, in a stage of that name.
        if _VERSION.fullmatch(name):
            told = json.loads(lake.get(f"{_folder(source)}/{name}"))
            changes = tuple(Change(**change) for change in told.pop("changes"))
            found.append(SchemaVersion(changes=changes, absent=tuple(told.pop("absent")), **told))
    return found


def record(
    lake: Lake,
    source: str,
    fields: Mapping[str, pa.DataType],
    changes: tuple[Change, ...],
    absent: Iterable[str],
    plan: int,
) -> SchemaVersion | None:
    """Write the next version down where columns, types or what is absent differ from the last. None otherwise."""
    columns = {name: type_name(kind) for name, kind in fields.items()}
    gone = tuple(sorted(absent))
    while True:
        versions = schema_versions(lake, source)
        last = versions[-1] if versions else None
        same = last is not None and last.columns == columns and last.absent == gone
        if same and not any(change.kind == "TYPE_CHANGE" for change in changes):
            return None
        if last is not None and same and last.changes == changes:
            return None
        number = last.version + 1 if last else 1
        version = SchemaVersion(number, columns, changes, gone, plan, datetime.now(UTC).isoformat())
        content = json.dumps(asdict(version), indent=1, ensure_ascii=False).encode()
        if lake.put_new(f"{_folder(source)}/{number:08d}.json", content):
            return version


def _folder(source: str) -> str:
    return f"_schemas/{source}"
