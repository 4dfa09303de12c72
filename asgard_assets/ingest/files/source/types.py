"""Column types: what a value shows, which type holds two others without losing a digit."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# Characters that a Delta column name must not hold.
_FORBIDDEN = re.compile(r"[\x00-\x20,;{}()=]+")


def clean_name(name: str) -> str:
    """A name as a table can have it, of a column or of a field within one."""
    return _FORBIDDEN.sub("_", name) or "_"


class Number(str):
    """A JSON number as it was written: no digit is lost on the way."""

    __slots__ = ()


class FarTime(str):
    """A day or time that Python's calendar does not have, as text."""

    __slots__ = ()


def normal(kind: pa.DataType) -> pa.DataType:
    """The type in which a table keeps values of `kind` without losing any; null becomes string."""
    import pyarrow as pa

    t = pa.types
    if t.is_dictionary(kind):
        return normal(kind.value_type)
    if (
        t.is_null(kind)
        or t.is_large_string(kind)
        or t.is_string_view(kind)
        or t.is_time(kind)
        or t.is_interval(kind)
    ):
        return pa.string()
    if t.is_uint64(kind):
        return pa.decimal128(20, 0)
    if t.is_unsigned_integer(kind) or t.is_duration(kind):
        return pa.int64()
    if t.is_float16(kind):
        return pa.float32()
    if t.is_date64(kind):
        return pa.date32()
    if t.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    if t.is_large_binary(kind) or t.is_fixed_size_binary(kind) or t.is_binary_view(kind):
        return pa.binary()
    if t.is_decimal(kind):
        return pa.decimal128(min(kind.precision, 38), kind.scale) if 0 <= kind.scale <= 38 else pa.string()
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind) or t.is_list_view(kind):
        return pa.list_(normal(kind.value_type))
    if t.is_map(kind):
        return pa.map_(normal(kind.key_type), normal(kind.item_type))
    if t.is_struct(kind):
        # A table's struct needs a field, and its names differ in more than case.
        fields: dict[str, pa.Field] = {}
        for f in kind.fields:
            name, inner = clean_name(f.name), normal(f.type)
            old = fields.get(name.lower())
            fields[name.lower()] = (
                old.with_type(unify_or_text(old.type, inner)) if old else pa.field(name, inner)
            )
        return pa.struct(list(fields.values())) if fields else pa.string()
    return kind if t.is_primitive(kind) or t.is_string(kind) or t.is_binary(kind) else pa.string()


def unify(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The narrowest type that holds both without losing a digit; None where only text would."""
    import pyarrow as pa

    t = pa.types
    if one == other or t.is_null(other):
        return one
    if t.is_null(one):
        return other
    if t.is_integer(one) and t.is_integer(other):
        return max(one, other, key=lambda kind: kind.bit_width)
    if t.is_decimal(one) or t.is_decimal(other):
        return _unify_decimal(one, other)
    if _is_number(one) and _is_number(other):
        return pa.float64()
    if {str(one), str(other)} == {"date32[day]", "timestamp[us, tz=UTC]"}:
        return pa.timestamp("us", "UTC")
    if t.is_list(one) and t.is_list(other):
        inner = unify(one.value_type, other.value_type)
        return None if inner is None else pa.list_(inner)
    if t.is_map(one) and t.is_map(other):
        key, item = unify(one.key_type, other.key_type), unify(one.item_type, other.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if t.is_struct(one) and t.is_struct(other):
        return _unify_struct(one, other)
    return None


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _unify_decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    import pyarrow as pa

    digits = {8: 3, 16: 5, 32: 10, 64: 19}
    whole, scale = 0, 0
    for kind in (one, other):
        if pa.types.is_integer(kind):
            whole = max(whole, digits[kind.bit_width])
        elif pa.types.is_decimal(kind):
            whole, scale = max(whole, kind.precision - kind.scale), max(scale, kind.scale)
        else:
            return None
    return pa.decimal128(whole + scale, scale) if whole + scale <= 38 else None


def _unify_struct(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Fields by name without regard to case, in the spelling of `one`."""
    import pyarrow as pa

    fields = {f.name.lower(): f for f in one.fields}
    for new in other.fields:
        old = fields.get(new.name.lower())
        inner = new.type if old is None else unify(old.type, new.type)
        if inner is None:
            return None
        fields[new.name.lower()] = pa.field(old.name if old else new.name, inner)
    return pa.struct(list(fields.values()))


def widened(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """`one`, made as wide as it can be for `other`: parts that nothing holds stay as they are."""
    import pyarrow as pa

    t = pa.types
    found = unify(one, other)
    if found is not None:
        return found
    if t.is_list(one) and t.is_list(other):
        return pa.list_(widened(one.value_type, other.value_type))
    if t.is_struct(one) and t.is_struct(other):
        fields = {f.name.lower(): f for f in one.fields}
        for new in other.fields:
            old = fields.get(new.name.lower())
            kind = widened(old.type, new.type) if old else new.type
            fields[new.name.lower()] = pa.field(old.name if old else new.name, kind)
        return pa.struct(list(fields.values()))
    return one


def unify_or_text(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """As `unify`, and text where nothing else holds both: for columns that no table has yet."""
    import pyarrow as pa

    t = pa.types
    found = unify(one, other)
    if found is not None:
        return found
    if t.is_list(one) and t.is_list(other):
        return pa.list_(unify_or_text(one.value_type, other.value_type))
    if t.is_struct(one) and t.is_struct(other):
        fields = {f.name.lower(): f for f in one.fields}
        for new in other.fields:
            old = fields.get(new.name.lower())
            fields[new.name.lower()] = pa.field(
                old.name if old else new.name, unify_or_text(old.type, new.type) if old else new.type
            )
        return pa.struct(list(fields.values()))
    return pa.string()


_INTEGER = r"0|-?[1-9][0-9]{0,17}"
_LONG_INTEGER = r"0|-?[1-9][0-9]{0,37}"
_ODD_NUMBER = r"NaN|-?Infinity|nan|-?inf"
_POINTED = r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][+-]?[0-9]+)?"
_DOUBLE = rf"{_INTEGER}|{_POINTED}|-?(?:0|[1-9][0-9]*)[eE][+-][0-9]+|{_ODD_NUMBER}"
_ANY_DOUBLE = rf"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|{_ODD_NUMBER}"
_BOOLEAN = "true|false|True|False|TRUE|FALSE"
_EXACT_CHARS = 15
"""A double holds any number of so many digits."""


def type_of_text(values: pa.ChunkedArray) -> pa.DataType:
    """What a column of text shows: bigint, decimal for longer integers, double, boolean, else string.

    Nothing that would be written differently counts as a number: `007`, `+1`, `-0` and more digits than a double holds
    stay text. `12E5`, which may be an id, is a number only beside one with a point.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    some = values.drop_null()
    if not len(some):
        return pa.null()

    def match(pattern: str, how: str) -> bool:
        options = pc.MatchSubstringOptions(f"^(?:{pattern})$")
        return bool(
            pc.call_function(how, [pc.call_function("match_substring_regex", [some], options)]).as_py()
        )

    if match(_INTEGER, "all"):
        return pa.int64()
    if match(_LONG_INTEGER, "all"):
        return pa.decimal128(38, 0)
    if match(_DOUBLE, "all") or (match(_ANY_DOUBLE, "all") and match(_POINTED, "any")):
        return pa.float64() if _all_exact(some) else pa.string()
    return pa.bool_() if match(_BOOLEAN, "all") else pa.string()


def _all_exact(numbers: pa.ChunkedArray) -> bool:
    """Whether a double holds each number in all the digits that it was written with."""
    import pyarrow as pa
    import pyarrow.compute as pc

    length = pc.call_function("binary_length", [numbers])
    long = numbers.filter(pc.call_function("greater", [length, pa.scalar(_EXACT_CHARS, length.type)]))
    if not len(long):
        return True
    again = long.cast(pa.float64()).cast(pa.string())
    odd = long.filter(pc.call_function("not_equal", [long, again]))
    return all(map(is_exact, odd.to_pylist()))


def is_exact(number: str) -> bool:
    """Whether a double holds the number in all the digits that it was written with. What only infinity or 0 stands for counts."""
    found = float(number)
    return found - found != 0 or found == 0 or Decimal(repr(found)) == Decimal(number)


def type_of_one(text: str, number: bool = False) -> pa.DataType:
    """What one value shows, as `type_of_text` says it. `number`: it is known to be one, such as a number of JSON."""
    import pyarrow as pa

    if re.fullmatch(_INTEGER, text):
        return pa.int64()
    if re.fullmatch(_LONG_INTEGER, text):
        return pa.decimal128(38, 0)
    if re.fullmatch(_ANY_DOUBLE if number else _DOUBLE, text):
        return pa.float64() if is_exact(text) else pa.string()
    return pa.bool_() if re.fullmatch(_BOOLEAN, text) else pa.string()


def type_of_value(value: Any) -> pa.DataType:
    """What one JSON value shows."""
    import pyarrow as pa

    match value:
        case None:
            return pa.null()
        case FarTime():
            return pa.timestamp("us", "UTC") if ":" in value else pa.date32()
        case Number():
            return type_of_one(str(value), number=True)
        case bool():
            return pa.bool_()
        case int():
            return (
                pa.int64()
                if -(2**63) <= value < 2**63
                else (pa.decimal128(38, 0) if abs(value) < 10**38 else pa.string())
            )
        case float():
            return pa.float64()
        case bytes():
            return pa.binary()
        case dict():
            fields: dict[str, pa.Field] = {}
            for name, inner in value.items():
                kind = type_of_value(inner)
                old = fields.get(name.lower())
                fields[name.lower()] = pa.field(
                    old.name if old else name, unify_or_text(old.type, kind) if old else kind
                )
            return pa.struct(list(fields.values()))
        case list() | tuple():
            kind: pa.DataType = pa.null()
            for inner in value:
                kind = unify_or_text(kind, type_of_value(inner))
            return pa.list_(kind)
        case _:
            import datetime
            import decimal

            if isinstance(value, datetime.datetime):
                return pa.timestamp("us", "UTC")
            if isinstance(value, datetime.date):
                return pa.date32()
            if isinstance(value, decimal.Decimal):
                return normal(pa.scalar(value).type)
            return pa.string()
