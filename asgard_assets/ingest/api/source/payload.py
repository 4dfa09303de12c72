"""Typed payloads: a schema declared in YAML or told from the answers, and what of an answer fits it.

A schema is plain data: a type's name, a mapping of fields, or a list of one element type, such as
`{id: bigint, address: {city: string}, tags: [string]}`. `json` keeps whatever stands there as JSON text.
None is a place without a type yet (a field that was always null), `{}` one that was an empty object at most: text,
until a value tells its type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.api.values.exact import Exact, dumps, loads
from asgard_assets.lake.sql import arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

_FINER = re.compile(r"[.,]\d{6}\d*[1-9]")  # than a microsecond

Schema = Any  # str | dict[str, Schema] | list[Schema]

SCALARS = ("bigint", "double", "boolean", "string", "timestamp", "date", "json")
_NAME = re.compile(r"[^ ,;{}()\n\t=`.]+")  # what Delta takes for a column's name
_LONG = "long"  # while a schema is inferred: whole numbers that a double would round
_MOST_FIELDS = 200  # an object with more is a map whose keys are data


def checked(schema: Any) -> Schema:
    """The schema itself. Raises ValueError, which names the place, where it is none."""
    _check(schema, "")
    return schema


def _check(schema: Any, at: str) -> None:
    where = at or "the payload"
    if isinstance(schema, str):
        if schema not in SCALARS:
            raise ValueError(f"{where} has the unknown type {schema!r}; there are {', '.join(SCALARS)}")
    elif isinstance(schema, Mapping) and schema:
        if len({name.lower() for name in schema}) < len(schema):
            raise ValueError(f"{where} has fields that differ only in case, which tables cannot tell apart")
        for name, inner in schema.items():
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{where}: a field cannot be named {name!r} in a table; use type json above it"
                )
            _check(inner, f"{at}.{name}".strip("."))
    elif isinstance(schema, list) and len(schema) == 1:
        _check(schema[0], f"{at}[]")
    else:
        raise ValueError(f"{where} must be a type, a mapping of fields, or a list of one element type")


def sql_type(schema: Schema) -> str:
    """As the catalog shows it."""
    if untyped(schema):
        return "string"
    if isinstance(schema, Mapping):
        return f"struct<{','.join(f'{name}:{sql_type(inner)}' for name, inner in schema.items())}>"
    if isinstance(schema, list):
        return f"array<{sql_type(schema[0])}>"
    return "string" if schema == "json" else schema


def payload_type(schema: Schema) -> pa.DataType:
    import pyarrow as pa

    if isinstance(schema, Mapping) and schema:
        return pa.struct([(name, payload_type(inner)) for name, inner in schema.items()])
    if isinstance(schema, list):
        return pa.list_(payload_type(schema[0]))
    return arrow_type(sql_type(schema))


# Telling a schema from values ------------------------------------------------------------------------------


def shape(value: Any) -> Schema | None:
    """The schema of one JSON value; None where it says nothing (null)."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            return "json"
        return "bigint" if -(2**53) <= value <= 2**53 else _LONG
    if isinstance(value, float):
        return "double"
    if isinstance(value, Mapping):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, Exact):
        return "json" if value.double is None else "double"
    if isinstance(value, list):
        merged = None
        for inner in value:
            merged = merge(merged, shape(inner))
        return [merged]
    return "string"


def merge(one: Schema | None, other: Schema | None) -> Schema | None:
    """The schema that holds both; `json` where nothing else does."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return {name: merge(one.get(name), other.get(name)) for name in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        return [merge(one[0], other[0])]
    if one == other:
        return one
    both = {str(one), str(other)}
    if both == {"bigint", _LONG}:
        return _LONG
    return "double" if both == {"bigint", "double"} else "json"


def settled(schema: Schema | None, unknown: str | None = "json") -> Schema:
    """A schema that a table can have: what cannot be columns is `json`, what stayed unknown is `unknown`."""
    if isinstance(schema, Mapping):
        plain = all(_NAME.fullmatch(name) for name in schema)
        distinct = len({name.lower() for name in schema}) == len(schema)
        if not schema:
            return unknown or {}
        if len(schema) > _MOST_FIELDS or not plain or not distinct:
            return "json"
        return {name: settled(inner, unknown) for name, inner in schema.items()}
    if isinstance(schema, list):
        return [settled(schema[0], unknown)]
    if schema is None:
        return unknown
    return "bigint" if schema == _LONG else schema


# Places without a type -------------------------------------------------------------------------------------


_NONE_OPEN: Any = ()


def untyped(schema: Schema | None) -> bool:
    return schema is None or schema == {}


def open_places(schema: Schema | None) -> Schema | None:
    """The schema with nothing but its places without a type; `()` where there are none."""
    if untyped(schema):
        return schema
    if isinstance(schema, Mapping):
        found = {name: open_places(inner) for name, inner in schema.items()}
        return {name: inner for name, inner in found.items() if inner != _NONE_OPEN} or _NONE_OPEN
    if isinstance(schema, list):
        inner = open_places(schema[0])
        return _NONE_OPEN if inner == _NONE_OPEN else [inner]
    return _NONE_OPEN


def told_of(value: Any, places: Schema | None) -> Schema | None:
    """What a value tells of the places without a type; None where it tells nothing."""
    if value is None:
        return None
    if untyped(places):
        return shape(value)
    if isinstance(places, Mapping) and isinstance(value, Mapping):
        told = {name: told_of(value.get(name), inner) for name, inner in places.items()}
        return {name: inner for name, inner in told.items() if inner is not None} or None
    if isinstance(places, list) and isinstance(value, list):
        merged = None
        for inner in value:
            merged = merge(merged, told_of(inner, places[0]))
        return None if merged is None else [merged]
    return None


def filled(schema: Schema | None, told: Schema | None) -> Schema | None:
    """The schema with the types that were told for places without one; no other place changes."""
    if told is None:
        return schema
    if untyped(schema):
        return settled(merge(schema, told), None)
    if isinstance(schema, Mapping) and isinstance(told, Mapping):
        return {name: filled(inner, told.get(name)) for name, inner in schema.items()}
    if isinstance(schema, list) and isinstance(told, list):
        return [filled(schema[0], told[0])]
    return schema


def refitted(value: Any, before: Schema | None, after: Schema | None) -> Any:
    """A value that was fitted to `before`, as `after` has it, which fills places without a type."""
    if value is None or before == after:
        return value
    if untyped(before):
        return fit(loads(value), after, Misfits())
    if isinstance(before, Mapping):
        return {name: refitted(value.get(name), inner, after[name]) for name, inner in before.items()}  # type: ignore[index]
    return [refitted(inner, before[0], after[0]) for inner in value]  # type: ignore[index]


def newly_typed(before: Schema | None, after: Schema | None, at: str = "") -> list[str]:
    """The places of `before` that got a type, with it."""
    if before == after or untyped(after):
        return []
    if untyped(before):
        return [f"{at}: {sql_type(after)}"]
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        pairs = ((_inside(at, name), inner, after[name]) for name, inner in before.items())
        return [place for path, inner, other in pairs for place in newly_typed(inner, other, path)]
    if isinstance(before, list) and isinstance(after, list):
        return newly_typed(before[0], after[0], f"{at}[]")
    return []


# Fitting values to a schema --------------------------------------------------------------------------------


class Misfits:
    """What of one value did not fit, by path, and why: `new` (no such field) or `type`."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.kinds: dict[str, str] = {}

    def add(self, at: str, kind: str, value: Any) -> None:
        while at in self.values:  # a key with a dot reads like a path
            at += "'"
        self.values[at] = value
        self.kinds[re.sub(r"\.\d+(?=\.|$)", "[]", at)] = kind


def fit(value: Any, schema: Schema, misfits: Misfits, at: str = "") -> Any:
    """What of `value` the schema holds; the rest goes to `misfits`, nothing is lost."""
    if value is None:
        return None
    if untyped(schema):
        return dumps(value).decode()
    if isinstance(schema, Mapping):
        if not isinstance(value, Mapping):
            return misfits.add(at, "type", value)
        for name in value.keys() - schema.keys():
            misfits.add(_inside(at, name), "new", value[name])
        return {
            name: fit(value.get(name), inner, misfits, _inside(at, name)) for name, inner in schema.items()
        }
    if isinstance(schema, list):
        if not isinstance(value, list):
            return misfits.add(at, "type", value)
        return [fit(inner, schema[0], misfits, f"{at}.{index}") for index, inner in enumerate(value)]
    fitted = _scalar(value, schema)
    return misfits.add(at, "type", value) if fitted is None else fitted


def _inside(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _scalar(value: Any, kind: str) -> Any:
    """The value as a column holds it; None where it does not fit."""
    if kind == "json":
        return dumps(value).decode()
    if kind == "string":
        return value if isinstance(value, str) else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind in ("timestamp", "date"):
        return _time(value, kind)
    if isinstance(value, Exact):
        value = value.double
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind == "double":
        return float(value) if abs(value) < 2**53 or float(value) == value else None
    return int(value) if value == int(value) and -(2**63) <= value < 2**63 else None


def _time(value: Any, kind: str) -> datetime | date | None:
    if not isinstance(value, str):
        return None
    try:
        if kind == "date":
            return date.fromisoformat(value)
        if _FINER.search(value):
            return None
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        moment.astimezone(UTC)  # a table keeps UTC, where it may be in the year 10000
    except (ValueError, OverflowError):
        return None
    return moment
