"""What independent readers see of a table, on the Delta side and on the Iceberg side, made comparable.

Types and values are compared as the Delta log has them. Where a side cannot say a type, or a reader cuts a value, it is
said here: Iceberg has no integers below 32 bits; Trino's reader of Delta rounds moments to milliseconds.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

View = tuple[dict[str, str], list[tuple[Any, ...]]]
"""Types by lower-case column name, and the rows in the order of ds and id."""


@dataclass(frozen=True)
class Side:
    """How a reader spells what the log says."""

    iceberg: bool = False
    milliseconds: bool = False


def of_arrow(found: pa.Table, schema: pa.Schema, side: Side) -> View:
    """What a reader gave as Arrow. `schema` is that of the log: it says in which order values are compared."""
    types = {each.name.lower(): type_name(each.type, side) for each in found.schema}
    rows = [{k.lower(): v for k, v in each.items()} for each in found.to_pylist()]
    return types, _in_order([[each[field.name.lower()] for field in schema] for each in rows], schema, side)


def of_trino(types: Mapping[str, str], rows: list[tuple[Any, ...]], schema: pa.Schema, side: Side) -> View:
    """What Trino's client gave, its columns in the order of `schema`."""
    return dict(types), _in_order([list(each) for each in rows], schema, side)


def expected(found: pa.Table, schema: pa.Schema, side: Side) -> View:
    types = {each.name.lower(): type_name(each.type, side) for each in schema}
    rows = found.to_pylist()
    return types, _in_order([[each[field.name] for field in schema] for each in rows], schema, side)


def _in_order(rows: list[list[Any]], schema: pa.Schema, side: Side) -> list[tuple[Any, ...]]:
    plain = [tuple(_plain(v, each.type, side) for v, each in zip(row, schema, strict=True)) for row in rows]
    keys = [schema.get_field_index(name) for name in ("ds", "id") if name in schema.names]
    return sorted(plain, key=lambda row: [str(row[at]) for at in keys])


def _plain(value: Any, kind: pa.DataType, side: Side) -> Any:
    if value is None:
        return None
    if pa.types.is_struct(kind):
        inside = list(value.values()) if isinstance(value, dict) else list(value)
        return tuple(_plain(v, each.type, side) for v, each in zip(inside, kind, strict=True))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_plain(each, kind.value_type, side) for each in value]
    if pa.types.is_map(kind):
        pairs = value.items() if isinstance(value, dict) else value
        return sorted((k, _plain(v, kind.item_type, side)) for k, v in pairs)
    if pa.types.is_timestamp(kind):
        moment = value.astimezone(dt.UTC)
        return _rounded(moment) if side.milliseconds else moment
    if pa.types.is_float32(kind):
        return struct.unpack("f", struct.pack("f", value))[0]
    return bytes(value) if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else value


def _rounded(moment: dt.datetime) -> dt.datetime:
    """To the nearest millisecond."""
    return moment + dt.timedelta(microseconds=(moment.microsecond + 500) // 1000 * 1000 - moment.microsecond)


def type_name(kind: pa.DataType, side: Side) -> str:
    """A type in one spelling for all readers."""
    if pa.types.is_struct(kind):
        return f"row({', '.join(f'{each.name.lower()} {type_name(each.type, side)}' for each in kind)})"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"array({type_name(kind.value_type, side)})"
    if pa.types.is_map(kind):
        return f"map({type_name(kind.key_type, side)}, {type_name(kind.item_type, side)})"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz else "timestamp"
    names = {
        "large_string": "varchar", "string": "varchar", "string_view": "varchar", "binary": "varbinary",
        "large_binary": "varbinary", "int64": "bigint", "int32": "integer", "int16": "smallint", "int8": "tinyint",
        "double": "double", "float": "real", "bool": "boolean", "date32[day]": "date",
    }  # fmt: skip
    found = names[str(kind)]
    return "integer" if side.iceberg and found in ("smallint", "tinyint") else found
