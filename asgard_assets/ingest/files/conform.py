"""A file's records in the shape of the Bronze table: known names, unexpected columns as the source declares."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import File
from asgard_assets.ingest.files.models import TECHNICAL, SchemaMode
from asgard_assets.ingest.files.records import Records, parsed, text_of

if TYPE_CHECKING:
    import pyarrow as pa

# Characters that a Delta column name must not hold.
_FORBIDDEN = re.compile(r"[ ,;{}()\n\t=]+")


@dataclass(frozen=True)
class Shape:
    """The columns that the table has or declares, and what becomes of others. No columns: all are welcome."""

    mode: SchemaMode
    known: tuple[str, ...]


def technical_fields() -> list[tuple[str, pa.DataType]]:
    """The loader's own columns, without `ds`."""
    import pyarrow as pa

    stamp = pa.timestamp("us", "UTC")
    types = {"bigint": pa.int64(), "timestamp": stamp, "string": pa.string()}
    return [(name, types[column.type]) for name, column in TECHNICAL.items() if name != "ds"]


def conform(records: Records, shape: Shape, file: File, ingested_at: datetime) -> tuple[pa.Table, int]:
    """The records as rows of the table, and how many of them have something in `_rescued_data`.

    Names are matched without regard to case. Raises SourceError where the source fails on new columns.
    """
    import pyarrow as pa

    known = {name.lower(): name for name in shape.known}
    columns: dict[str, pa.ChunkedArray] = {}
    extra: list[tuple[str, pa.ChunkedArray]] = []
    used: set[str] = set()
    for raw, values in zip(records.columns.column_names, records.columns.columns, strict=True):
        name = known.get(raw.lower()) or _FORBIDDEN.sub("_", raw)
        name = known.get(name.lower(), name)
        fresh = bool(known) and name.lower() not in known
        if name.lower() in used or name.lower() in TECHNICAL:
            extra.append((raw, values))
        elif fresh and shape.mode == "failOnNewColumns":
            raise SourceError(
                f"{file.path}: has a new column {name!r} and the source fails on new columns; name it under "
                "`columns` in the source's defs.yaml, or choose another `schema_mode`",
                source=file.path,
            )
        elif fresh and shape.mode == "rescue":
            extra.append((raw, values))
        elif not (fresh and shape.mode == "none"):
            used.add(name.lower())
            columns[name] = values
    rows = records.columns.num_rows
    rescued = list(records.rescued or [None] * rows)
    for name, values in extra:
        for index, value in enumerate(values.to_pylist()):
            if value is not None:
                rescued[index] = _with(rescued[index], name, value)
    stamp = pa.timestamp("us", "UTC")
    columns |= {
        "_rescued_data": pa.chunked_array([pa.array(rescued, pa.string())]),
        "_file": pa.chunked_array([pa.repeat(pa.scalar(file.path, pa.string()), rows)]),
        "_row": pa.chunked_array([pa.array(records.rows, pa.int64())]),
        "_file_modified": pa.chunked_array(
            [pa.repeat(pa.scalar(file.modified_us, pa.int64()), rows).cast(stamp)]
        ),
        "_ingested_at": pa.chunked_array([pa.repeat(pa.scalar(ingested_at, stamp), rows)]),
    }
    return pa.table(columns), rows - rescued.count(None)


def unwrapped(records: Records, column: str | None) -> Records:
    """The records with the fields of the object in `column` beside the other columns; else as they are.

    A value in it that is no object stays where it is.
    """
    import pyarrow as pa

    if column is None or column not in records.columns.column_names:
        return records
    found = [_object(text) for text in records.columns[column].to_pylist()]
    objects = [fields for fields in found if fields is not None]
    if len(objects) < len(found):
        return records
    rest = records.columns.drop_columns([column])
    names = dict.fromkeys(name for fields in objects for name in fields)
    for name in names:
        values = pa.array([fields.get(name) for fields in objects], pa.string())
        rest = rest.drop_columns([name]) if name in rest.column_names else rest
        rest = rest.append_column(name, values)
    return replace(records, columns=rest)


def _object(text: str | None) -> dict[str, str | None] | None:
    """A JSON object's fields as text, numbers as they were written; None where it is none."""
    if text is None:
        return {}
    found, reason = parsed(text.encode())
    if reason is not None or not isinstance(found, dict):
        return None
    return {name: text_of(value) for name, value in found.items()}


def _with(rescued: str | None, name: str, value: str) -> str:
    """Add a value under `name`; a second value of one name becomes `name#2`."""
    found = json.loads(rescued) if rescued else {}
    key, number = name, 1
    while key in found:
        number += 1
        key = f"{name}#{number}"
    return json.dumps(found | {key: value}, ensure_ascii=False)
