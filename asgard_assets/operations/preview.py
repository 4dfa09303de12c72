"""`asgard preview SOURCE`: rows as the loader would make them, and the schema against the table's. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import File, Landing
from asgard_assets.ingest.files.source.models import TECHNICAL, FileSource
from asgard_assets.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

_FILES = 5


@dataclass(frozen=True)
class SchemaChange:
    """One difference between what the files hold and the table."""

    kind: str
    column: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Preview:
    """The first rows, every column with its type, and what would change. `bad` are records that do not fit."""

    rows: pa.Table
    columns: Mapping[str, str]
    changes: tuple[SchemaChange, ...]
    files: tuple[str, ...]
    bad: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict[str, str])
    new_table: bool = False


def preview(
    lake: Lake, landing: Landing, source: FileSource, files: Sequence[File], rows: int = 10
) -> Preview:
    """Read the beginning of some of these files, the newest among them, with the loader's own readers."""
    import pyarrow as pa

    from asgard_assets.ingest.files.load import known_columns, present_columns
    from asgard_assets.ingest.files.plan.schedule import sample
    from asgard_assets.ingest.files.readers import how_to_read, read_file
    from asgard_assets.ingest.files.shape.conform import Conformer, ObservedTypes, Shape
    from asgard_assets.ingest.files.shape.schema import differences, evolve
    from asgard_assets.ingest.files.source.query import QueryError
    from asgard_assets.lake.sql import type_name

    table = lake.table("bronze", source.name)
    present = present_columns(pa.schema(table.schema().to_arrow())) if table else {}
    known = known_columns(source, present)
    now = datetime.now(UTC)
    newest = sorted(files, key=lambda file: file.modified_us)[-_FILES:]
    if not present and source.types == "inferred":
        known = sample(landing, source, known, newest, now)
    conformer = Conformer(source, Shape(known), now)
    seen, tables, bad, unreadable = list[ObservedTypes](), list[pa.Table](), list[str](), dict[str, str]()
    for file in newest:
        seen.append(ObservedTypes())
        taken = 0
        try:
            landing.refuse_outside(file.path)
            how = how_to_read(file.path, source.format, source.compression, source.types == "text")
            for records in read_file(landing, file.path, how):
                found = conformer.conform(records, file, seen[-1])
                bad += [f"{file.path} record {b.row}: {b.reason}" for b in found.bad]
                tables.append(found.table.slice(0, rows))
                taken += found.table.num_rows
                if taken >= max(rows, source.sample_rows):
                    break
        except (SourceError, QueryError) as error:
            unreadable[file.path] = str(error)
    after = evolve(known, source.columns, [s.columns for s in seen], [s.wants for s in seen])
    used = {name for s in seen for name in s.columns}
    absent = tuple(name for name in present if name not in used) if used else ()
    stuck = {name: kind for s in seen for name, kind in s.misfits.items()}
    changes = [
        SchemaChange(c.kind, c.column, c.before, c.after) for c in differences(present, after, absent, stuck)
    ]
    shown = pa.concat_tables(tables, promote_options="permissive").slice(0, rows) if tables else pa.table({})
    return Preview(
        shown,
        {name: type_name(kind) for name, kind in after.items() if name not in TECHNICAL},
        tuple(changes) if present else (),
        tuple(file.path for file in newest),
        tuple(bad[:20]),
        unreadable,
        table is None,
    )
