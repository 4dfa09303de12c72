"""A file's records in the shape of the Bronze table: known names, unexpected columns as the source declares."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgard_assets.errors import SourceError
from asgard_assets.ingest.files.landing import File
from asgard_assets.ingest.files.readers import Bad, Records
from asgard_assets.ingest.files.readers.json_text import EXACT, as_text, raw_text
from asgard_assets.ingest.files.readers.markup import as_lists
from asgard_assets.ingest.files.readers.records import gathered
from asgard_assets.ingest.files.shape.far_times import listed
from asgard_assets.ingest.files.shape.fitting import fit, infer
from asgard_assets.ingest.files.shape.folders import folder_values
from asgard_assets.ingest.files.shape.iso_time import day_of_text, moment_of_text
from asgard_assets.ingest.files.shape.local_text import localised
from asgard_assets.ingest.files.source.models import TECHNICAL, ByColumn, FileSource, Upsert
from asgard_assets.ingest.files.source.query import CARRIED, QueryError, inputs, run_query
from asgard_assets.ingest.files.source.types import clean_name, unify, unify_or_text
from asgard_assets.lake import DS
from asgard_assets.lake.sql import arrow_type, type_name
from asgard_assets.windows import Calendar

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

log = logging.getLogger(__name__)
_QUARTER = timedelta(minutes=15)


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
class ObservedTypes:
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
        self._taken = {*TECHNICAL, source.second} - {""}
        self._known = {name.lower(): name for name in shape.fields}
        self._began = bool(shape.fields)
        self._typed = source.types == "inferred" or source.format.type == "binary"
        self._type_names: dict[str, str] = {}

    def conform(self, records: Records, file: File, seen: ObservedTypes) -> Conformed:
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
            MemoryError,
            RecursionError,
            pa.ArrowException,
        ) as error:
            if isinstance(error, QueryError):
                raise
            log.warning("%s cannot be brought into the table", file.path, exc_info=True)
            raise SourceError(
                f"{file.path} cannot be brought into the table: {error}", source=file.path
            ) from error

    def _conformed(self, records: Records, file: File, seen: ObservedTypes) -> Conformed:
        rescued: list[str | None] = [None] * len(records.rows)
        for index, values in records.aside.items():
            for path, value in values.items():
                rescued[index] = _with(rescued[index], path, value)
        if self._source.sql:
            records, rescued = self._queried(records, rescued, file)
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
        seen: ObservedTypes,
        unreadable: list[Bad] | None = None,
    ) -> Conformed:
        import pyarrow as pa

        for raw, _ in records.columns:
            raw.encode()  # before anything is kept of a name that no table can have
        columns: dict[str, pa.ChunkedArray] = {}
        used: set[str] = set()
        rule = self._source.ds if isinstance(self._source.ds, ByColumn) else None
        day_values: Any = None
        for raw, values in records.columns:
            name = self._known.get(raw.lower()) or clean_name(raw)
            name = self._known.get(name.lower(), name)
            fresh = name.lower() not in self._known
            if rule and rule.name.lower() == raw.lower() == DS and day_values is None:
                day_values = values  # becomes the table's own `ds`
            elif name.lower() in used or name.lower() in self._taken:
                _rescue_all(rescued, raw, values)
            elif fresh and not self._welcome(raw, values, rescued, file, name):
                continue
            else:
                column = self._column(name, fresh, records, values, rescued, file, seen)
                if column is not None:
                    used.add(name.lower())
                    columns[name] = column
        if not self._source.sql:
            self._add_folders(columns, used, records, rescued, file, seen)
        self._refuse_without(used, file)
        bad = [*records.bad, *(unreadable or ())]
        days: list[str | None] = []
        if rule:
            values = columns.get(self._known.get(rule.name.lower(), rule.name))
            days = _days(
                values if day_values is None else day_values, rule, len(records.rows), self._source.calendar
            )
            if day_values is not None:
                _rescue_all(rescued, DS, _untold(day_values, days))
        table = pa.table(columns | self.technical(records.rows, rescued, file, records.member))
        if rule:
            table = table.append_column(DS, pa.array(days, pa.string()))
            table, lost = _split_off(table, [DS], f"column {rule.name!r} names no day")
            bad += lost
        if isinstance(self._source.write, Upsert):
            key = self._source.write.key
            table, lost = _split_off(table, key, f"has no value for the whole key ({', '.join(key)})")
            bad += lost
        return Conformed(table, table.num_rows - table["_rescued_data"].null_count, bad)

    def _add_folders(
        self,
        columns: dict[str, pa.ChunkedArray],
        used: set[str],
        records: Records,
        rescued: list[str | None],
        file: File,
        seen: ObservedTypes,
    ) -> None:
        """Columns that folders such as `region=EU` name, unless the file has them."""
        import pyarrow as pa

        found = folder_values(file.path, self._source)
        if not found:
            return
        text = replace(records, text=True)
        for raw, value in found.items():
            name = self._known.get(raw.lower()) or clean_name(raw)
            if name.lower() in used or name.lower() in self._taken:
                continue
            values = pa.chunked_array([pa.repeat(pa.scalar(value, pa.string()), len(records.rows))])
            column = self._column(name, name.lower() not in self._known, text, values, rescued, file, seen)
            if column is not None:
                used.add(name.lower())
                columns[name] = column

    def _refuse_without(self, used: set[str], file: File) -> None:
        """Raises SourceError where the file lacks a column that may not be gone."""
        decided = self._source.schema_changes.items()
        kept = {name for name, decision in decided if decision == "refuse" and name in self._fields}
        if gone := sorted(name for name in kept if name.lower() not in used):
            raise SourceError(
                f"{file.path}: has no column {gone[0]!r}, and the source refuses files without it (`schema_changes`)",
                source=file.path,
            )

    def _welcome(self, raw: str, values: Any, rescued: list[str | None], file: File, name: str) -> bool:
        """Whether a column that the table does not have enters it."""
        mode = self._source.mode_of(name)
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
        seen: ObservedTypes,
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
        if declared and records.text and not isinstance(values, list):
            local = localised(values, target, self._source.format)
            values = local.values
            for index, value in local.left.items():
                rescued[index] = _with(rescued[index], name, value)
        fitted = fit(values, target, records.text, declared)
        seen.columns[name] = self._type_name(name, target)
        for index, left in fitted.left.items():
            for path, value in left.items():
                rescued[index] = _with(rescued[index], f"{name}.{path}" if path else name, value)
        refused = self._source.mode_of(name) == "failOnNewColumns" and not declared
        if fitted.want is not None and refused and name in self._source.schema_changes:
            raise _of_another_type(file, name, type_name(target))
        if fitted.left and refused:
            index = min(fitted.left)
            raise SourceError(
                f"{file.path}: record {int(records.rows[index])} has in column {name!r} a value that is no "
                f"{type_name(target)}, and the source fails on a changed schema",
                source=file.path,
            )
        if fitted.shown is not None:
            before = arrow_type(seen.misfits[name]) if name in seen.misfits else fitted.shown
            seen.misfits[name] = type_name(unify_or_text(before, fitted.shown))
        if fitted.want is not None and not declared and self._typed and name not in self._source.kept_types:
            wanted = arrow_type(seen.wants[name]) if name in seen.wants else target
            seen.wants[name] = type_name(unify(wanted, fitted.want) or wanted)
        return fitted.values

    def _type_name(self, name: str, kind: pa.DataType) -> str:
        """A column keeps its type; the words for it are made once."""
        if name not in self._type_names:
            self._type_names[name] = type_name(kind)
        return self._type_names[name]

    def technical(
        self, rows: np.ndarray, rescued: list[str | None], file: File, member: str = ""
    ) -> dict[str, pa.ChunkedArray | pa.Array]:
        import pyarrow as pa

        stamp = pa.timestamp("us", "UTC")
        count = len(rows)
        number = pa.array(rows, pa.int64())

        def always(value: Any, kind: pa.DataType) -> pa.Array:
            return pa.repeat(pa.scalar(value, kind), count)

        path = always(file.path, pa.string())
        about = [
            always(f"{file.path}/{member}", pa.string()) if member else path,
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

    def _queried(
        self, records: Records, rescued: list[str | None], file: File
    ) -> tuple[Records, list[str | None]]:
        """The records after the source's SQL. Columns that it names and the file lacks are null."""
        import pyarrow as pa

        columns: dict[str, Any] = {}
        present: set[str] = set()
        for name, values in records.columns:
            if name.lower() in present or name.lower() in CARRIED:
                _rescue_all(rescued, name, values)
                continue
            present.add(name.lower())
            kind: pa.DataType = pa.string()
            if self._typed:
                # Nothing but nulls has no type, so that the statement fits whatever it makes of them.
                values, kind = infer(values, records.text)
            fitted = fit(values, kind, records.text, True)
            for index, left in fitted.left.items():
                for path, value in left.items():
                    rescued[index] = _with(rescued[index], f"{name}.{path}" if path else name, value)
            columns[name] = pa.nulls(len(records.rows)) if pa.types.is_null(kind) else fitted.values
        for name, value in folder_values(file.path, self._source).items():
            if name.lower() not in present:
                present.add(name.lower())
                columns[name] = pa.repeat(pa.scalar(value, pa.string()), len(records.rows))
        for name in inputs(self._source.sql):
            if name.lower() not in present | set(TECHNICAL):
                columns[name] = pa.nulls(len(records.rows))
        columns |= {
            "_row": pa.array(records.rows, pa.int64()),
            "_rescued_data": pa.array(rescued, pa.string()),
            "_file": pa.repeat(pa.scalar(file.path), len(records.rows)),
        }
        found, rows, carried = run_query(self._source.sql, pa.table(columns))
        made = [(name, found.column(n)) for n, name in enumerate(found.column_names)]
        return replace(
            records, columns=[*made], rows=rows.to_numpy(), text=False, aside={}
        ), carried.to_pylist()


def unwrapped(records: Records, column: str | None) -> Records:
    """The records with the fields of the object in `column` beside the other columns; else as they are.

    A value in it that is no object stays where it is. Of a name that both have, the object's value comes first.
    """
    values = dict(records.columns).get(column) if column else None
    if not isinstance(values, list):
        return records
    objects = [_object(value) for value in values]
    if any(fields is None for fields in objects):
        return records
    rest = [(name, found) for name, found in records.columns if name != column]
    inside = gathered([fields or {} for fields in objects])
    names = {name for name, _ in inside}
    # Behind the object's own: what comes second under a name is rescued.
    doubled = [(name, found) for name, found in rest if name in names]
    return replace(records, columns=[*(each for each in rest if each[0] not in names), *inside, *doubled])


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


def _days(values: Any, rule: ByColumn, count: int, calendar: Calendar | None = None) -> list[str | None]:
    """The window that each value names, None where it names none. A time without a zone is UTC's."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if values is None:
        return [None] * count
    calendar = calendar or Calendar(rule.zone)
    if not isinstance(values, list) and pa.types.is_temporal(values.type):
        if pa.types.is_timestamp(values.type):
            aware = values.cast(pa.timestamp("us", "UTC"))
            if calendar.every != "day":
                return _keys(aware, calendar)
            values = aware.cast(pa.timestamp("us", rule.time_zone))
        days = pc.call_function("strftime", [values], pc.StrftimeOptions("%Y-%m-%d")).to_pylist()
        return days if calendar.every == "day" else [_key(day, calendar) for day in days]
    return [_key(value, calendar) for value in listed(values)]


def _keys(moments: Any, calendar: Calendar) -> list[str | None]:
    """The windows of many moments: each quarter of an hour is looked up once. Only zones of before 1972 cut one."""
    import pyarrow.compute as pc

    floored = pc.call_function("floor_temporal", [moments], pc.RoundTemporalOptions(15, "minute"))
    quarters = floored.to_pylist()
    known = {quarter: calendar.window_at(quarter) for quarter in set(quarters) if quarter is not None}
    cut = {quarter for quarter, window in known.items() if window.end < quarter + _QUARTER}
    found = [known[quarter].key if quarter is not None else None for quarter in quarters]
    if cut:
        exact = moments.to_pylist()
        found = [
            calendar.key_at(exact[at]) if quarter in cut else found[at] for at, quarter in enumerate(quarters)
        ]
    return found


def _key(value: Any, calendar: Calendar) -> str | None:
    """The window of a day or an ISO time, which is UTC's where it names no zone."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    try:
        return calendar.key_of(day_of_text(str(value)))
    except ValueError:
        pass
    try:
        found = moment_of_text(str(value))
        return calendar.key_at(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


def _untold(values: Any, days: list[str | None]) -> list[Any]:
    """The values that say more than their day."""
    return [None if str(value) == day else value for value, day in zip(listed(values), days, strict=True)]


def _split_off(table: pa.Table, needed: Sequence[str], reason: str) -> tuple[pa.Table, list[Bad]]:
    """The rows with a value in each of these columns; the others are told, with all that was read of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    spelled = {name.lower(): name for name in table.column_names}
    here = [spelled[name.lower()] for name in needed if name.lower() in spelled]
    whole = pa.array([len(here) == len(needed)] * table.num_rows, pa.bool_())
    for name in here:
        whole = pc.call_function("and", [whole, pc.call_function("is_valid", [table[name]])])
    lost = table.filter(pc.call_function("invert", [whole]))
    if not lost.num_rows:
        return table, []
    own = lost.drop_columns([n for n in lost.column_names if n.lower() in TECHNICAL])
    bad = []
    for row, rescued, record in zip(
        lost["_row"].to_pylist(), lost["_rescued_data"].to_pylist(), own.to_pylist(), strict=True
    ):
        left = json.loads(rescued) if rescued else {}
        bad.append(Bad(row, reason, raw_text({n: v for n, v in record.items() if n not in left} | left)))
    return table.filter(whole), bad


def _of_another_type(file: File, name: str, kind: str) -> SourceError:
    return SourceError(
        f"{file.path}: has in column {name!r} values of another type than {kind}, and the source refuses that "
        "(`schema_changes`)",
        source=file.path,
    )


def _rescue_all(rescued: list[str | None], name: str, values: Any) -> None:
    for index, value in enumerate(listed(values)):
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

    lists = [(name, listed(v)) for name, v in records.columns]
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
    return replace(records, columns=[*columns], rows=records.rows[good], aside={}), bad


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kept(records: Records, bad: list[Bad]) -> list[int]:
    lost = {each.row for each in bad}
    return [i for i, row in enumerate(records.rows) if int(row) not in lost]


__all__ = ["Conformed", "Conformer", "ObservedTypes", "QueryError", "Shape", "technical_fields"]
