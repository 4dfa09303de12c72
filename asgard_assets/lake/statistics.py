"""What a Delta log says of a Parquet file: its statistics, and which Arrow types count as one."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_STATS_COLUMNS = 32


def delta_type(kind: pa.DataType) -> str:
    """Arrow types that Delta stores alike compare equal."""
    text = str(kind)
    for variant, plain in (
        ("large_", ""),
        ("string_view", "string"),
        ("binary_view", "binary"),
        ("timestamp[ns", "timestamp[us"),
        ("timestamp[ms", "timestamp[us"),
        ("element", "item"),
    ):
        text = text.replace(variant, plain)
    return text


def file_statistics(footer: Any) -> dict[str, Any]:
    """Delta per-file statistics from a Parquet footer (Delta protocol, "Per-file Statistics")."""
    lows: dict[str, Any] = {}
    highs: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    usable: dict[str, bool] = {}
    for group in range(footer.num_row_groups):
        for index in range(min(footer.num_columns, _STATS_COLUMNS)):
            column = footer.row_group(group).column(index)
            name = column.path_in_schema
            if "." in name:
                continue
            stats = column.statistics
            if stats is None or not stats.has_null_count:
                usable[name] = False
                continue
            nulls[name] = nulls.get(name, 0) + stats.null_count
            if not stats.has_min_max:
                usable[name] = usable.get(name, True) and stats.null_count == column.num_values
                continue
            low, high = _bounds(stats)
            if low is None or high is None:
                usable[name] = False
                continue
            usable.setdefault(name, True)
            lows[name] = min(lows.get(name, low), low)
            highs[name] = max(highs.get(name, high), high)
    good = {name for name, ok in usable.items() if ok and name in lows}
    return {
        "numRecords": footer.num_rows,
        "minValues": {n: lows[n] for n in sorted(good)},
        "maxValues": {n: highs[n] for n in sorted(good)},
        "nullCount": {n: nulls[n] for n in sorted(nulls)},
    }


_LAST = datetime.max - timedelta(milliseconds=1)


def _bounds(stats: Any) -> tuple[Any, Any]:
    try:
        return _bound(stats.min, up=False), _bound(stats.max, up=True)
    except (OverflowError, ValueError):
        return None, None  # a time that Python does not have, or text that is not UTF-8


def _bound(value: Any, up: bool) -> Any:
    """A JSON value that bounds `value` from below or above; None where it cannot be said safely."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        # Parquet leaves NaN out of its bounds, while readers sort it above every number.
        return None
    if isinstance(value, str):
        return value if len(value) <= 64 and value.isascii() else None
    if isinstance(value, datetime):
        floored = value.replace(microsecond=value.microsecond // 1000 * 1000)
        if up and floored != value:
            if floored > _LAST.replace(tzinfo=value.tzinfo):
                return None  # the next millisecond is in the year 10000
            floored += timedelta(milliseconds=1)
        text = floored.replace(tzinfo=None).isoformat(timespec="milliseconds")
        return text + "Z" if value.tzinfo else text
    if isinstance(value, date):
        return value.isoformat()
    return None


def without_floats(schema: pa.Schema) -> list[str]:
    """Columns whose bounds a Parquet file may tell: those of floats leave NaN out, which readers sort on top."""
    import pyarrow as pa

    return [f.name for f in schema if not pa.types.is_floating(f.type)]
