"""Times before year 1 and after 9999: files hold them, and readers of the table in Python fail on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.files.source.types import FarTime

if TYPE_CHECKING:
    import pyarrow as pa

    from asgard_assets.ingest.files.readers.records import Values

# Days from 1970 to 0001-01-01 and to 10000-01-01.
_FIRST, _END = -719_162, 2_932_897
_A_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def beyond_the_calendar(values: pa.ChunkedArray) -> bool:
    """Whether a day or time in the column, or nested in it, is outside of the years 1 to 9999."""
    return has_times(values.type) and any(_beyond(chunk) for chunk in values.chunks)


def has_times(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_nested(kind):
        return any(has_times(kind.field(i).type) for i in range(kind.num_fields))
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def _beyond(array: Any) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if not has_times(kind):
        return False
    if pa.types.is_struct(kind):
        return any(map(_beyond, array.flatten()))
    if pa.types.is_nested(kind):
        return _beyond(array.flatten() if hasattr(array, "flatten") else array.values)
    day = 1 if pa.types.is_date32(kind) else _A_DAY["ms" if pa.types.is_date(kind) else kind.unit]
    limits = pc.call_function("min_max", [array.view(pa.int32() if pa.types.is_date32(kind) else pa.int64())])
    low, high = limits["min"].as_py(), limits["max"].as_py()
    return low is not None and (low < _FIRST * day or high >= _END * day)


def listed(values: Values) -> list[Any]:
    """The values as Python has them; a time that it does not have is its text."""
    if isinstance(values, list):
        return values
    try:
        return values.to_pylist()
    except (OverflowError, ValueError):
        return [_one(values, index) for index in range(len(values))]


def _one(values: pa.ChunkedArray, index: int) -> Any:
    try:
        return values[index].as_py()
    except (OverflowError, ValueError):
        return _plain(values[index])


def _plain(value: Any) -> Any:
    """A scalar, part by part."""
    import pyarrow as pa

    kind = value.type
    if not value.is_valid:
        return None
    if pa.types.is_struct(kind):
        return {kind.field(i).name: _plain(value[i]) for i in range(kind.num_fields)}
    if pa.types.is_map(kind):
        return [(_plain(pair["key"]), _plain(pair["value"])) for pair in value.values]
    if pa.types.is_nested(kind):
        return [_plain(each) for each in value.values]
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        return FarTime(value.cast(pa.string()).as_py())
