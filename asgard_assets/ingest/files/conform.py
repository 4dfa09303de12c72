"""A file's records in the shape of the Bronze table: known names, unexpected columns as the source declares."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.fitting import fit, infer
from asgard_assets.ingest.files.landing import File
from asgard_assets.ingest.files.models import TECHNICAL, ByColumn, FileSource
from asgard_assets.ingest.files.query import QueryError, run_query
from asgard_assets.ingest.files.readers import Bad, Records
from asgard_assets.ingest.files.readers.json_text import EXACT, as_text, raw_text
from asgard_assets.ingest.files.readers.markup import as_lists
from asgard_assets.ingest.files.types import arrow_type, clean_name, type_name, unify, unify_or_text
from asgard_assets.lake import DS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shape:
    """The columns that the table has or declares, with their types. No columns: all are welcome.

    `fixed`: the schema of this load was decided; what it does not have is rescued, whatever the source's mode.
    """

    fields: dict[str, pa.DataType]
    fixed: bool = False


@dataclass
class Conformed:
    """Rows of the table, and what happened to the rest."""

    table: pa.Table
    rescued: int
    bad: list[Bad]


@dataclass
class Seen:
    """What a file has: the type that each column was written with, the wider one that it would need, and the type of
    values that did not fit."""

    columns: dict[str, str] = field(default_factory=dict[str, str])
    wants: dict[str, str] = field(default_factory=dict[str, str])
    misfits: dict[str, str] = field(default_factory=dict[str, str])


class Conformer:
    """Puts records into shape, one file after the other. A new column keeps the type that it was first seen with."""

    def __init__(self, source: FileSource, shape: Shape, ingested_at: datetime) -> None:
        self._source, self._shape, self._at = source, shape, ingested_at
        self._fields = dict(shape.fields)
        self._known = {name.lower(): name for name in shape.fields}
        self._began = bool(shape.fields)
        self._typed = source.types == "inferred" or source.format.type == "binary"

    def conform(self, records: Records, file: File, seen: Seen) -> Conformed:
        """The records as rows of the table. Raises SourceError where the source fails on a new column or type, and
        where they cannot be brought into the table at all: one such file must not hold up the others."""
        import pyarrow as pa

        try:
            return self._conformed(unwrapped(records, self._source.unwrap), file, seen)
        except (
            ValueError,
            TypeError,
            LookupError,
            ArithmeticError,
            RecursionError,
            pa.ArrowException,
        ) as error:
            if isinstance(error, QueryError):
                raise
            log.warning("%s cannot be brought into the table", file.path, exc_info=True)
            raise SourceError(
                f"{file.path} cannot be brought into the table: {error}", source=file.path
            ) from error

    def _conformed(self, records: Records, file: File, seen: Seen) -> Conformed:
        rescued: list[str | None] = [None] * len(records.rows)
        if self._source.sql:
            records, rescued = self._queried(records)
        try:
            return self._shaped(records, rescued, file, seen)
        except (UnicodeEncodeError, RecursionError):
            good, bad = _encodable(records)
            return self._shaped(good, [rescued[i] for i in _kept(records, bad)], file, seen, bad)

    def _shaped(
        self,
        records: Records,
        rescued: list[str | None],
        file: File,
        seen: Seen,
        unreadable: list[Bad] | None = None,
    ) -> Conformed:
        import pyarrow as pa

        for raw, _ in records.columns:
            raw.encode()  # before anything is kept of a name that no table can have
        columns: dict[str, pa.ChunkedArray] = {}
        used: set[str] = set()
        for raw, values in records.columns:
            name = self._known.get(raw.lower()) or clean_name(raw)
            name = self._known.get(name.lower(), name)
            fresh = name.lower() not in self._known
            if name.lower() in used or name.lower() in TECHNICAL:
                _rescue_all(rescued, raw, values)
            elif fresh and not self._welcome(raw, values, rescued, file, name):
                continue
            else:
                column = self._column(name, fresh, records, values, rescued, file, seen)
                if column is not None:
                    used.add(name.lower())
                    columns[name] = column
        bad = [*records.bad, *(unreadable or ())]
        table = pa.table(columns | self.technical(records.rows, rescued, file))
        if isinstance(self._source.ds, ByColumn):
            table, misplaced = _with_days(table, self._source.ds.name)
            bad += misplaced
        return Conformed(table, table.num_rows - table["_rescued_data"].null_count, bad)

    def _welcome(self, raw: str, values: Any, rescued: list[str | None], file: File, name: str) -> bool:
        """Whether a column that the table does not have enters it."""
        mode = self._source.schema_mode
        if not self._began or (mode == "addNewColumns" and not self._shape.fixed):
            return True
        if mode == "failOnNewColumns":
            raise SourceError(
                f"{file.path}: has a new column {name!r} and the source fails on new columns; name it under "
                "`columns` in the source's defs.yaml, or choose another `schema_mode`",
                source=file.path,
            )
        if mode != "none":
            _rescue_all(rescued, raw, values)
        return False

    def _column(
        self,
        name: str,
        fresh: bool,
        records: Records,
        values: Any,
        rescued: list[str | None],
        file: File,
        seen: Seen,
    ) -> pa.ChunkedArray | None:
        import pyarrow as pa

        if fresh:
            kind: pa.DataType = pa.string()
            if self._typed:
                values, kind = infer(values, records.text)
                if pa.types.is_null(kind):
                    return None  # nothing but nulls tells no type
            self._fields[name] = kind
            self._known[name.lower()] = name
        target = self._fields[name]
        declared = name in self._source.columns
        if pa.types.is_list(target) and self._source.format.type == "xml" and isinstance(values, list):
            values = as_lists(values)
        fitted = fit(values, target, records.text, declared)
        seen.columns[name] = type_name(target)
        for index, left in fitted.left.items():
            for path, value in left.items():
                rescued[index] = _with(rescued[index], f"{name}.{path}" if path else name, value)
        if fitted.left and self._source.schema_mode == "failOnNewColumns" and not declared:
            index = min(fitted.left)
            raise SourceError(
                f"{file.path}: record {int(records.rows[index])} has in column {name!r} a value that is no "
                f"{type_name(target)}, and the source fails on a changed schema",
                source=file.path,
            )
        if fitted.shown is not None:
            before = arrow_type(seen.misfits[name]) if name in seen.misfits else fitted.shown
            seen.misfits[name] = type_name(unify_or_text(before, fitted.shown))
        if fitted.want is not None and not declared and self._typed:
            wanted = arrow_type(seen.wants[name]) if name in seen.wants else target
            seen.wants[name] = type_name(unify(wanted, fitted.want) or wanted)
        return fitted.values

    def technical(
        self, rows: np.ndarray, rescued: list[str | None], file: File
    ) -> dict[str, pa.ChunkedArray | pa.Array]:
        import pyarrow as pa

        stamp = pa.timestamp("us", "UTC")
        count = len(rows)
        number = pa.array(rows, pa.int64())

        def always(value: Any, kind: pa.DataType) -> pa.Array:
            return pa.repeat(pa.scalar(value, kind), count)

        path = always(file.path, pa.string())
        about = [
            path,
            always(file.size, pa.int64()),
            always(file.version, pa.string()),
            always(file.modified, stamp),
            number,
        ]
        return {
            "_rescued_data": pa.array(rescued, pa.string()),
            "_file": path,
            "_row": number,
            "_metadata": pa.StructArray.from_arrays(about, names=["path", "size", "etag", "modified", "row"]),
            "_ingested_at": always(self._at, stamp),
        }

    def _queried(self, records: Records) -> tuple[Records, list[str | None]]:
        """The records after the source's SQL. Columns that it names and the file lacks are null."""
        import pyarrow as pa
        import sqlglot
        from sqlglot import exp

        columns: dict[str, Any] = {}
        rescued: list[str | None] = [None] * len(records.rows)
        for name, values in records.columns:
            if name.lower() in {known.lower() for known in columns}:
                _rescue_all(rescued, name, values)
                continue
            kind: pa.DataType = pa.string()
            if self._typed:
                values, kind = infer(values, records.text)
            columns[name] = fit(
                values, pa.string() if pa.types.is_null(kind) else kind, records.text, True
            ).values
        present = {name.lower() for name in columns}
        for column in sqlglot.parse_one(self._source.sql, read="duckdb").find_all(exp.Column):
            if column.name.lower() not in present | set(TECHNICAL):
                present.add(column.name.lower())
                columns[column.name] = pa.nulls(len(records.rows), pa.string())
        columns |= {
            "_row": pa.array(records.rows, pa.int64()),
            "_rescued_data": pa.array(rescued, pa.string()),
        }
        found = run_query(self._source.sql, pa.table(columns))
        kept = [n for n in range(found.num_columns) if found.column_names[n] not in ("_row", "_rescued_data")]
        return (
            Records(
                [(found.column_names[n], found.column(n)) for n in kept],
                found["_row"].to_numpy(),
                records.bad,
            ),
            found["_rescued_data"].to_pylist(),
        )


def unwrapped(records: Records, column: str | None) -> Records:
    """The records with the fields of the object in `column` beside the other columns; else as they are.

    A value in it that is no object stays where it is.
    """
    values = dict(records.columns).get(column) if column else None
    if not isinstance(values, list):
        return records
    objects = [_object(value) for value in values]
    if any(fields is None for fields in objects):
        return records
    names = dict.fromkeys(name for fields in objects for name in fields or ())
    rest = [(name, found) for name, found in records.columns if name != column and name not in names]
    inside = [(name, [(fields or {}).get(name) for fields in objects]) for name in names]
    return replace(records, columns=[*rest, *inside])


def _object(value: Any) -> dict[str, Any] | None:
    """A JSON object, also one written as text; None where it is none."""
    if isinstance(value, str):
        try:
            value = EXACT.decode(value)
        except ValueError:
            return None
    return {} if value is None else value if isinstance(value, dict) else None


def technical_fields() -> list[tuple[str, pa.DataType]]:
    """The loader's own columns, without `ds`."""
    return [(name, arrow_type(column.type)) for name, column in TECHNICAL.items() if name != DS]


def _with_days(table: pa.Table, name: str) -> tuple[pa.Table, list[Bad]]:
    """The rows with the day that their column names; those where it names none are told."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = next((n for n in table.column_names if n.lower() == name.lower()), None)
    count = table.num_rows
    if found is None:
        days: list[str | None] = [None] * count
    elif pa.types.is_temporal(table[found].type):
        days = pc.call_function("strftime", [table[found]], pc.StrftimeOptions("%Y-%m-%d")).to_pylist()
    else:
        days = [_day(value) for value in table[found].to_pylist()]
    table = table.append_column(DS, pa.array(days, pa.string()))
    if None not in days:
        return table, []
    lost = table.filter(pc.field(DS).is_null())
    raw = lost.drop_columns([n for n in lost.column_names if n.lower() in TECHNICAL]).to_pylist()
    rows = lost["_row"].to_pylist()
    bad = [
        Bad(row, f"column {name!r} names no day", raw_text(record))
        for row, record in zip(rows, raw, strict=True)
    ]
    return table.filter(pc.field(DS).is_valid()), bad


def _day(value: Any) -> str | None:
    """`2026-10-05` of a day or an ISO time in UTC."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    if found.tzinfo is not None:
        from datetime import UTC

        found = found.astimezone(UTC)
    return found.date().isoformat()


def _rescue_all(rescued: list[str | None], name: str, values: Any) -> None:
    listed = values if isinstance(values, list) else values.to_pylist()
    for index, value in enumerate(listed):
        if value is not None:
            rescued[index] = _with(rescued[index], name, value)


def _with(rescued: str | None, name: str, value: Any) -> str:
    """Add a value under `name`; a second value of one name becomes `name#2`."""
    found = json.loads(rescued) if rescued else {}
    key, number = name, 1
    while key in found:
        number += 1
        key = f"{name}#{number}"
    return json.dumps(found | {key: value}, ensure_ascii=False, default=str)


def _encodable(records: Records) -> tuple[Records, list[Bad]]:
    """The records that UTF-8 can hold, and the others."""
    import numpy as np

    lists = [(name, v if isinstance(v, list) else v.to_pylist()) for name, v in records.columns]
    good, bad = np.ones(len(records.rows), bool), list[Bad]()
    for index in range(len(records.rows)):
        record = {name: values[index] for name, values in lists if values[index] is not None}
        try:
            "".join(as_text(value) for value in (*record, *record.values())).encode()
        except (UnicodeEncodeError, RecursionError) as error:
            good[index] = False
            reason = (
                "is nested too deeply"
                if isinstance(error, RecursionError)
                else f"no text can hold it: {error.reason}"
            )
            bad.append(Bad(int(records.rows[index]), reason, raw_text(record)))
    kept = np.flatnonzero(good)
    columns = [(name, [values[i] for i in kept]) for name, values in lists if _is_text(name)]
    return Records([*columns], records.rows[good], records.bad, records.text), bad


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kept(records: Records, bad: list[Bad]) -> list[int]:
    lost = {each.row for each in bad}
    return [i for i, row in enumerate(records.rows) if int(row) not in lost]


__all__ = ["Conformed", "Conformer", "QueryError", "Seen", "Shape", "technical_fields"]
