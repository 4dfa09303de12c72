"""Columns of bytes in Parquet that are text: an enum, JSON, or what old writers did not annotate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_LOOKED_AT = 10_000
_SELF_TOLD = (b"ARROW:schema", b"org.apache.spark.sql.parquet.row.metadata")
"""Writers that leave these behind annotate text, so bytes are bytes."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def columns(source: pq.ParquetFile, binary_as_text: bool | None) -> dict[str, pa.DataType]:
    """Top-level columns to be cast, with their types.

    Bytes without an annotation are text where `binary_as_text` says so. Where it says nothing, the first rows decide:
    they are text where all of them are UTF-8 without control characters.
    """
    leaves = [source.schema.column(index) for index in range(len(source.schema))]
    annotated = [leaf.logical_type.type in ("ENUM", "JSON") for leaf in leaves]
    plain = [leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type == "NONE" for leaf in leaves]
    if binary_as_text is False or not any(plain):
        plain = [False] * len(leaves)
    elif binary_as_text is None:
        plain = _guessed(source, plain)
    is_text = [one or other for one, other in zip(annotated, plain, strict=True)]
    if not any(is_text):
        return {}
    told = iter(is_text)
    cast = {field.name: _type(field.type, told) for field in source.schema_arrow}
    return {name: kind for name, kind in cast.items() if kind != source.schema_arrow.field(name).type}


def _guessed(source: pq.ParquetFile, plain: list[bool]) -> list[bool]:
    known: Any = source.metadata.metadata or {}
    if any(key in known for key in _SELF_TOLD) or not source.num_row_groups:
        return [False] * len(plain)
    batch = next(source.iter_batches(_LOOKED_AT, row_groups=[0]), None)
    if batch is None:
        return [False] * len(plain)
    leaves = [leaf for column in batch.columns for leaf in _leaves(column)]
    return [here and _is_text(leaf) for here, leaf in zip(plain, leaves, strict=True)]


def _leaves(array: Any) -> Iterator[Any]:
    import pyarrow as pa

    if pa.types.is_struct(array.type):
        for inner in array.flatten():
            yield from _leaves(inner)
    elif pa.types.is_map(array.type):
        yield from _leaves(array.keys)
        yield from _leaves(array.items)
    elif pa.types.is_nested(array.type):
        yield from _leaves(array.values)
    else:
        yield array


def _is_text(array: Any) -> bool:
    """Whether there is a value, and each is readable text."""
    import pyarrow as pa

    if array.null_count == len(array):
        return False
    try:
        array = array.cast(pa.string())
    except pa.ArrowException:
        return False
    return not any(_CONTROL.search(value) for value in array.to_pylist() if value is not None)


def _type(kind: pa.DataType, told: Iterator[bool]) -> pa.DataType:
    """The type with text in place of those bytes that are; takes one word of `told` for each leaf."""
    import pyarrow as pa

    t = pa.types
    if t.is_struct(kind):
        return pa.struct([f.with_type(_type(f.type, told)) for f in kind.fields])
    if t.is_map(kind):
        key = _type(kind.key_type, told)
        return pa.map_(key, _type(kind.item_type, told))
    if t.is_list(kind):
        return pa.list_(kind.value_field.with_type(_type(kind.value_type, told)))
    return pa.string() if next(told) and t.is_binary(kind) else kind
