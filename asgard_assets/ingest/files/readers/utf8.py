"""Text of formats that know their types is UTF-8, or so they say: records with other bytes are taken out and told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asgard_assets.ingest.files.readers.records import Bad, Records

if TYPE_CHECKING:
    import pyarrow as pa


def checked(batch: pa.RecordBatch, start: int, text: Mapping[str, pa.DataType]) -> Records:
    """The records of a batch that begins at position `start`. `text`: columns of bytes that are text."""
    import numpy as np
    import pyarrow as pa

    arrays: list[Any] = list(batch.columns)
    rows = np.arange(start, start + batch.num_rows)
    odd: list[int] = []
    for index, name in enumerate(batch.schema.names):
        if name in text:
            arrays[index] = _cast(arrays[index], text[name], unchecked=True)
        if _has_text(arrays[index].type) and not _is_valid(arrays[index]):
            odd.append(index)
    if odd:
        raw = [_cast(array, _bytes(array.type), unchecked=True) for array in arrays]
        good = np.ones(batch.num_rows, bool)
        for index in odd:
            good &= np.array([_is_text(raw[index][i].as_py(), arrays[index].type) for i in range(len(good))])
        bad = [_bad(batch, raw, int(i), int(rows[i])) for i in np.flatnonzero(~good)]
        mask = pa.array(good)
        arrays = [_cast(each.filter(mask), array.type) for each, array in zip(raw, arrays, strict=True)]
        rows = rows[good]
    else:
        bad = []
    columns = [
        (name, pa.chunked_array([array])) for name, array in zip(batch.schema.names, arrays, strict=True)
    ]
    return Records(columns, rows, bad)


def _has_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    t = pa.types
    if t.is_dictionary(kind):
        return _has_text(kind.value_type)
    if t.is_nested(kind):
        return any(_has_text(kind.field(i).type) for i in range(kind.num_fields))
    return t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind)


def _is_valid(array: pa.Array) -> bool:
    """Raises ArrowInvalid where more is wrong than text that is not UTF-8."""
    import pyarrow as pa

    array.validate()
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error).upper().replace("-", ""):
            raise
        return False
    return True


def _bytes(kind: pa.DataType) -> pa.DataType:
    """The type with bytes in place of text."""
    import pyarrow as pa

    t = pa.types
    if t.is_dictionary(kind):
        return _bytes(kind.value_type)
    if t.is_string(kind) or t.is_string_view(kind):
        return pa.binary()
    if t.is_large_string(kind):
        return pa.large_binary()
    if t.is_struct(kind):
        return pa.struct([f.with_type(_bytes(f.type)) for f in kind.fields])
    if t.is_map(kind):
        return pa.map_(_bytes(kind.key_type), _bytes(kind.item_type))
    if t.is_large_list(kind):
        return pa.large_list(_bytes(kind.value_type))
    if t.is_fixed_size_list(kind):
        return pa.list_(_bytes(kind.value_type), kind.list_size)
    return pa.list_(kind.value_field.with_type(_bytes(kind.value_type))) if t.is_list(kind) else kind


def _cast(array: Any, kind: pa.DataType, unchecked: bool = False) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if array.type == kind:
        return array
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return pc.cast(array, options=pc.CastOptions(target_type=kind, allow_invalid_utf8=unchecked))


def _is_text(value: Any, kind: pa.DataType) -> bool:
    """Whether all bytes that should be text are UTF-8."""
    import pyarrow as pa

    t = pa.types
    if value is None:
        return True
    if t.is_dictionary(kind):
        return _is_text(value, kind.value_type)
    if t.is_struct(kind):
        return all(_is_text(value[f.name], f.type) for f in kind.fields)
    if t.is_map(kind):
        return all(_is_text(k, kind.key_type) and _is_text(v, kind.item_type) for k, v in value)
    if t.is_nested(kind):
        return all(_is_text(each, kind.value_type) for each in value)
    if not isinstance(value, bytes) or t.is_binary(kind):
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _bad(batch: pa.RecordBatch, raw: list[Any], index: int, row: int) -> Bad:
    import json

    shown = {name: _shown(array, index) for name, array in zip(batch.schema.names, raw, strict=True)}
    return Bad(row, "holds bytes that are not UTF-8", json.dumps(shown, ensure_ascii=False, default=_text))


def _shown(array: Any, index: int) -> Any:
    try:
        return array[index].as_py()
    except (OverflowError, ValueError):
        return str(array[index])


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
