"""Values into a column's type, without losing any: what does not fit is given back, never nulled in silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.files.readers.json_text import as_text
from asgard_assets.ingest.files.shape.far_times import beyond_the_calendar, listed
from asgard_assets.ingest.files.shape.scalars import Misfit, scalar
from asgard_assets.ingest.files.source.types import (
    Number,
    clean_name,
    normal,
    type_of_one,
    type_of_text,
    type_of_value,
    unify,
    unify_or_text,
    widened,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from asgard_assets.ingest.files.readers.records import Values

MAX_DEPTH = 16
"""Values nested deeper than this are kept as JSON text where types are inferred."""


@dataclass
class Fitted:
    """A column of the wanted type. `left` has, by row, what did not fit, under the path where it stood ('' is
    the whole value) and `shown` the type of such values; `want` is the type that holds more of them, if there is one."""

    values: pa.ChunkedArray
    left: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    want: pa.DataType | None = None
    shown: pa.DataType | None = None


def infer(values: Values, text: bool) -> tuple[Values, pa.DataType]:
    """The type that a column's values show, and the values to be fitted into it."""
    import pyarrow as pa

    if not isinstance(values, list):
        if pa.types.is_string(values.type) and text:
            return values, type_of_text(values)
        return values, pa.null() if values.null_count == len(values) else normal(values.type)
    values = [_shallow(value) for value in values]
    try:
        array = pa.chunked_array([pa.array(values)])
    except (pa.ArrowException, OverflowError):
        kind: pa.DataType = pa.null()
        for value in values:
            kind = unify_or_text(kind, type_of_value(value))
        return values, kind if pa.types.is_null(kind) else normal(kind)
    if text and pa.types.is_string(array.type):
        return array, type_of_text(array)
    if pa.types.is_string(array.type) and _are_numbers(values):
        kind = pa.null()
        for value in values:
            kind = unify_or_text(kind, type_of_value(value))
        return values, kind
    return values, array.type if pa.types.is_null(array.type) else normal(array.type)


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(value is None or isinstance(value, Number) for value in values)


def _shallow(value: Any) -> Any:
    if isinstance(value, (dict, list)) and _deeper(value, MAX_DEPTH):
        return as_text(value)
    return value


def _deeper(value: Any, left: int) -> bool:
    if left == 0:
        return True
    inner = value.values() if isinstance(value, dict) else value
    return any(_deeper(each, left - 1) for each in inner if isinstance(each, (dict, list)))


def fit(values: Values, target: pa.DataType, text: bool, declared: bool) -> Fitted:
    """The values as `target`. `text`: strings are text whose type the file does not tell; `declared`: a person
    chose the type, so that text such as `007` may become a number."""
    import pyarrow as pa

    if pa.types.is_string(target):
        return _as_texts(values, declared)
    return _halved(values, target, text, declared)


_FEW = 32


def _halved(values: Values, target: pa.DataType, text: bool, declared: bool) -> Fitted:
    """Whole columns at once. Where some value does not fit, half of them, and so on: an odd one costs its neighbours
    little."""
    import pyarrow as pa

    fast = _fast(values, target, text, declared)
    if fast is not None:
        return Fitted(fast)
    if len(values) <= _FEW:
        return _one_by_one(values, target, text, declared)
    middle = len(values) // 2
    halves = [
        _halved(part, target, text, declared)
        for part in ((values[:middle], values[middle:]) if isinstance(values, list) else (values.slice(0, middle), values.slice(middle)))
    ]  # fmt: skip
    left = halves[0].left | {index + middle: rest for index, rest in halves[1].left.items()}
    want, shown = target, pa.null()
    for half in halves:
        want = widened(want, half.want) if half.want is not None else want
        shown = unify_or_text(shown, half.shown) if half.shown is not None else shown
    whole = pa.chunked_array([pa.concat_arrays([c for half in halves for c in half.values.chunks])], target)
    return Fitted(whole, left, want if want != target else None, shown if left else None)


def _one_by_one(values: Values, target: pa.DataType, text: bool, declared: bool) -> Fitted:
    import pyarrow as pa

    found, left, want = list[Any](), dict[int, dict[str, Any]](), target
    kind: pa.DataType = pa.null()
    for index, value in enumerate(listed(values)):
        rest: dict[str, Any] = {}
        try:
            found.append(_value(value, target, declared, text, "", rest))
        except Misfit:
            found.append(None)
            rest = {"": value}
        if rest:
            left[index] = rest
            shown = normal(_shown(value, text, target))
            want, kind = widened(want, shown), unify_or_text(kind, shown)
    array = pa.chunked_array([pa.array(found, target)])
    return Fitted(array, left, want if want != target else None, kind if left else None)


def _as_texts(values: Values, declared: bool) -> Fitted:
    """Any column as text. Bytes are base64; where a person chose text, UTF-8 is text, and other bytes do not fit."""
    import pyarrow as pa

    if not declared or isinstance(values, list) or not pa.types.is_binary(normal(values.type)):
        return Fitted(pa.chunked_array([_texts(values)]))
    try:
        return Fitted(pa.chunked_array([values.combine_chunks().cast(pa.binary()).cast(pa.string())]))
    except pa.ArrowInvalid:
        pass
    found, left = list[str | None](), dict[int, dict[str, Any]]()
    for index, value in enumerate(values.to_pylist()):
        try:
            found.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            found.append(None)
            left[index] = {"": as_text(value)}
    return Fitted(pa.chunked_array([pa.array(found, pa.string())]), left, None, pa.binary())


def _shown(value: Any, text: bool, target: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if isinstance(value, str) and text and not isinstance(value, Number):
        return type_of_one(value, number=pa.types.is_floating(target))
    return type_of_value(_shallow(value))


def _fast(values: Values, target: pa.DataType, text: bool, declared: bool) -> pa.ChunkedArray | None:
    """Whole columns at once; None where some value needs a closer look."""
    import pyarrow as pa

    array: Any = values
    if isinstance(values, list):
        try:
            array = pa.chunked_array([pa.array(values)])
        except (pa.ArrowException, OverflowError):
            return None
        if pa.types.is_string(array.type):
            text = text or _are_numbers(values)
    return _fast_array(array, target, text, declared)


def _fast_array(
    values: pa.ChunkedArray, target: pa.DataType, text: bool, declared: bool
) -> pa.ChunkedArray | None:
    import pyarrow as pa

    if beyond_the_calendar(values):
        return None
    if values.type == target:
        return values
    if pa.types.is_null(values.type):
        return pa.chunked_array([pa.nulls(len(values), target)])
    if pa.types.is_string(values.type):
        if not (text or declared) or not (declared or unify(target, type_of_text(values)) == target):
            return None
        if declared and pa.types.is_integer(target) and _any_hex(values):
            return None
        return _parsed(values, target)
    kind = normal(values.type)
    if unify(target, kind) != target:
        return None
    try:
        return pa.chunked_array([_cast(values.combine_chunks(), target)])
    except (pa.ArrowException, Misfit):
        return None


def _parsed(values: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_nested(target) or pa.types.is_timestamp(target) or pa.types.is_binary(target):
        if not pa.types.is_timestamp(target):
            return None
        try:
            return pc.assume_timezone(values.cast(pa.timestamp("us")), "UTC")  # pyright: ignore[reportAttributeAccessIssue]
        except pa.ArrowException:
            pass
    try:
        found = values.cast(target)
    except pa.ArrowException:
        return None
    return None if pa.types.is_floating(target) and _may_overflow(values, found) else found


def _any_hex(texts: pa.ChunkedArray) -> bool:
    """Whether Arrow would take some text such as `0x10` for sixteen."""
    import pyarrow.compute as pc

    found = pc.call_function("match_substring_regex", [texts], pc.MatchSubstringOptions("[xX]"))
    return bool(pc.call_function("any", [found]).as_py())


def _may_overflow(texts: pa.ChunkedArray, found: pa.ChunkedArray) -> bool:
    """Whether a number stands where a double is infinite or 0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    zero = pc.call_function("equal", [found, pa.scalar(0, found.type)])
    odd = texts.filter(pc.call_function("or", [zero, pc.call_function("is_inf", [found])]))
    digits = pc.call_function("match_substring_regex", [odd], pc.MatchSubstringOptions("^[^eE]*[1-9]"))
    return bool(pc.call_function("any", [digits]).as_py())


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    """A lossless cast; struct fields by name without regard to case, missing ones null."""
    import pyarrow as pa

    t = pa.types
    if array.type == target:
        return array
    if t.is_dictionary(array.type):
        return _cast(array.dictionary_decode(), target)
    if t.is_struct(target) and t.is_struct(array.type):
        inside = {clean_name(f.name).lower(): array.field(i) for i, f in enumerate(array.type.fields)}
        if len(inside) != array.type.num_fields:
            raise Misfit  # two fields that differ in case only
        children = [
            _cast(inside[f.name.lower()], f.type)
            if f.name.lower() in inside
            else pa.nulls(len(array), f.type)
            for f in target.fields
        ]
        mask = array.is_null()
        return pa.StructArray.from_arrays(children, fields=list(target.fields), mask=mask)
    if t.is_list(target) and (t.is_list(array.type) or t.is_large_list(array.type)):
        if array.offset:
            array = pa.concat_arrays([array])
        offsets = array.offsets.cast(pa.int32())
        return pa.ListArray.from_arrays(offsets, _cast(array.values, target.value_type), mask=array.is_null())
    if t.is_timestamp(target) and t.is_timestamp(array.type) and array.type.tz is None:
        # Naive times are taken as UTC: no shift.
        return array.cast(pa.timestamp("us")).cast(target)
    return array.cast(target)


def _value(v: Any, target: pa.DataType, declared: bool, text: bool, path: str, rest: dict[str, Any]) -> Any:
    """One value as `target` takes it. Raises Misfit; what is left of a struct's fields goes to `rest`."""
    import pyarrow as pa

    t = pa.types
    if v is None:
        return None
    if (
        isinstance(v, str)
        and not isinstance(v, Number)
        and not (text or declared)
        and not t.is_string(target)
    ):
        raise Misfit
    if isinstance(v, str) and not declared and not t.is_string(target) and not t.is_nested(target):
        if unify(target, _shown(v, True, target)) != target:
            raise Misfit
    if t.is_string(target):
        return as_text(v)
    if t.is_struct(target):
        return _struct(v, target, declared, text, path, rest)
    if t.is_list(target):
        if not isinstance(v, (list, tuple)):
            raise Misfit
        return [_whole(each, target.value_type, declared, text) for each in v]
    if t.is_map(target):
        pairs = list(v.items()) if isinstance(v, dict) else v
        if not isinstance(pairs, list):
            raise Misfit
        return [
            (_whole(k, target.key_type, declared, text), _whole(x, target.item_type, declared, text))
            for k, x in pairs
        ]
    return scalar(v, target)


def _whole(v: Any, target: pa.DataType, declared: bool, text: bool) -> Any:
    """A value inside an array or map: it fits as a whole or not at all."""
    rest: dict[str, Any] = {}
    found = _value(v, target, declared, text, "", rest)
    if rest:
        raise Misfit
    return found


def _struct(v: Any, target: pa.DataType, declared: bool, text: bool, path: str, rest: dict[str, Any]) -> Any:
    if not isinstance(v, dict):
        raise Misfit
    fields = {f.name.lower(): f for f in target.fields}
    found: dict[str, Any] = {}
    for name, inner in v.items():
        known = fields.get(clean_name(str(name)).lower())
        where = f"{path}.{name}" if path else str(name)
        if known is None or known.name in found:
            if inner is not None:
                rest[where] = inner
            continue
        try:
            found[known.name] = _value(inner, known.type, declared, text, where, rest)
        except Misfit:
            rest[where] = inner
    return found


def _texts(values: Values) -> pa.Array:
    """Any column as text: strings as they are, numbers as they were written, nested values as JSON."""
    import pyarrow as pa

    if isinstance(values, list):
        return pa.array([None if v is None else as_text(v) for v in values], pa.string())
    kind = values.type
    if pa.types.is_string(kind):
        return values.combine_chunks()
    plain = pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_large_string(kind)
    if plain:
        try:
            return values.combine_chunks().cast(pa.string())
        except pa.ArrowException:
            pass
    return pa.array([None if v is None else as_text(v) for v in listed(values)], pa.string())


def retyped(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows that a table already has, in its wider types; columns that they lack are null."""
    import pyarrow as pa

    columns = {
        f.name: _cast(rows[f.name].combine_chunks(), f.type)
        if f.name in rows.column_names
        else pa.nulls(len(rows), f.type)
        for f in schema
        if f.name in rows.column_names or f.name != "ds"
    }
    return pa.table(columns)
